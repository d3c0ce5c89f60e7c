"""What the stage `train` leaves."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common import engine
from common import trainer as trainer_module
from common.dataset import Metadata, write_dataset
from common.model import Model
from common.saved_model import read_model
from common.trainer import Trainer
from pipeline.stages import train
from pipeline.stages.task import Task
from pipeline.stages.train import History
from pipeline.validation import find_faults
from tests.datasets import make_dataset, make_loader


@dataclass(frozen=True)
class Config:
    """Params of the model below."""

    hidden: int = 4


class TwoLayers(Model):
    """A small network."""

    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(16, config.hidden), nn.Linear(config.hidden, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits of shape (batch, 3)."""
        logits: Tensor = self.layers(inputs)
        return logits


def _make_task(folder: Path, model: dict[str, Any] | None) -> Task:
    """Return a task that trains the small network on dots; without `model`, its params have no such section."""
    data = folder / "data"
    data.mkdir()
    write_dataset(make_dataset(), data)
    target = folder / "target"
    target.mkdir()
    components = {
        "engine": ["common.engine", "Engine"],
        "loader": ["common.loader", "Loader"],
        "model": [__name__, "TwoLayers"],
        "trainer": ["common.trainer", "Trainer"],
    }
    params: dict[str, dict[str, Any]] = {
        "loader": {"batch_size": 16},
        "runtime": {"device": "cpu"},
        "train": {"epochs": 2},
    }
    if model is not None:
        params["model"] = model
    return Task("train", str(folder), str(target), {"prepare": str(data)}, components, params)


def test_history_is_on_disk_after_each_row(tmp_path: Path) -> None:
    history = History(tmp_path)
    assert (tmp_path / "history.jsonl").read_text() == ""
    for epoch in (1, 2):
        history.record({"epoch": epoch, "loss": 0.5})
        lines = (tmp_path / "history.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == list(range(1, epoch + 1))


def test_table_has_a_column_for_each_key_when_rows_differ(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.record({"epoch": 1, "loss": 0.5})
    history.record({"epoch": 2, "loss": 0.25, "rate": 0.1})
    history.write_table()
    assert (tmp_path / "history.csv").read_text() == "epoch,loss,rate\n1,0.5,\n2,0.25,0.1\n"


def test_stage_leaves_model_history_and_config(tmp_path: Path) -> None:
    task = _make_task(tmp_path, {"hidden": 6})
    figures = train.run(task)
    assert figures["num_samples"] == 2 * len(make_dataset().train)
    assert len((task.target_dir / "history.jsonl").read_text().splitlines()) == 2
    assert len((task.target_dir / "history.csv").read_text().splitlines()) == 3
    model = read_model(TwoLayers, make_dataset().metadata, task.target_dir / "model")
    assert model.state_dict()["layers.1.weight"].shape == (6, 16)
    config = json.loads((task.target_dir / "config.json").read_text())
    assert config["components"]["model"] == "TwoLayers"
    assert find_faults("config", config) == []


def test_model_is_that_of_the_trainer_on_shuffled_batches_when_seeded_alike(tmp_path: Path) -> None:
    task = _make_task(tmp_path, {"hidden": 6})
    train.run(task)
    dataset, trainer = make_dataset(), Trainer(trainer_module.Config(epochs=2), engine.Config(device="cpu"))
    model = TwoLayers(Config(hidden=6), dataset.metadata)
    shuffled = make_loader(dataset.train, training=True, batch_size=16)
    trainer.fit(model, shuffled, make_loader(dataset.valid), lambda row: None)
    built = read_model(TwoLayers, dataset.metadata, task.target_dir / "model").state_dict()
    assert all(torch.equal(built[name], tensor) for name, tensor in model.state_dict().items())


def test_model_has_its_default_config_when_the_params_say_nothing_of_it(tmp_path: Path) -> None:
    task = _make_task(tmp_path, None)
    train.run(task)
    assert json.loads((task.target_dir / "model" / "model.json").read_text())["config"] == {"hidden": 4}


@pytest.mark.parametrize("name", ["history.jsonl", "history.csv", "config.json", "model"])
def test_stage_writes_only_below_its_target(tmp_path: Path, name: str) -> None:
    task = _make_task(tmp_path, {})
    train.run(task)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "target"]
    assert (task.target_dir / name).exists()
