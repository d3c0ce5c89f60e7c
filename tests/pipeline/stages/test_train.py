"""What the stage `train` leaves."""

import csv
import json
import logging
import os
import random
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from common import engine
from common import trainer as trainer_module
from common.dataset import Metadata
from common.loader import Loader
from common.loggers import History
from common.model import Model
from common.model_files.sources import ModelFileError
from common.saved_model import WeightsError, find_seeds, load_model, read_model, write_model
from common.trainer import Trainer
from common.vectorising import NotVectorisableError
from pipeline.bars import read_progress
from pipeline.modelforms import hash_file
from pipeline.stages import train
from pipeline.stages.task import Task
from pipeline.stages.trackers import ProgressFile
from pipeline.validation import find_faults
from pipeline.workspace import write_json
from tests.checkouts import ROOT
from tests.datasets import make_dataset, make_loader, write_dataset
from tests.models import SAVERS
from tests.stages import read_log, start_stage
from tests.trainings import is_near


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


class OwnTrainer(Trainer):
    """Takes the params of this module's `Config`, and trains nothing."""

    def __init__(self, config: Any, runtime: engine.Config) -> None:
        engine.Engine.__init__(self, runtime)
        self.config = config

    def fit(self, model: nn.Module, train: Loader, valid: Loader) -> nn.Module:
        """Return the model as it is."""
        return model


class Killed(BaseException):
    """The process ends here."""


def _run_until(task: Task, num_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the stage until it has recorded so many rows and is killed; clear what it wrote, as the next run does."""
    log_epoch = History.log_epoch

    def record_until(history: History, row: dict[str, Any]) -> None:
        log_epoch(history, row)
        if len(history.rows) == num_rows:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(History, "log_epoch", record_until)
        with pytest.raises(Killed):
            train.run(task)
    for thread in threading.enumerate():
        if thread.name == "checkpoint":  # a process that is killed has none that goes on
            thread.join()
    _clear(task)


def _clear(task: Task) -> None:
    shutil.rmtree(task.target_dir)
    task.target_dir.mkdir()


def _read_results(task: Task) -> dict[str, Any]:
    """Return what the stage left, without times."""
    lines = (task.target_dir / "history.jsonl").read_text().splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    with (task.target_dir / "history.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    for row in (*rows, *table):
        assert float(row.pop("samples_per_s")) > 0
    files = [task.target_dir / name for name in ("model/weights.safetensors", "model/model.json", "config.json")]
    return {"rows": rows, "table": table, **{path.name: path.read_bytes() for path in files}}


@contextmanager
def _start(task: Task) -> Iterator[subprocess.Popen[str]]:
    """Start the process of the stage in an empty target."""
    _clear(task)
    write_json(task.target_dir / "task.json", asdict(task))
    with start_stage(task.target, ROOT) as process:
        yield process


def test_trainer_may_have_a_config_without_the_keys_of_the_common_one(tmp_path: Path) -> None:
    task = _make_task(tmp_path, {"hidden": 6})
    task.components["trainer"] = [__name__, "OwnTrainer"]
    task.params["train"] = {"hidden": 3}
    train.run(task)
    assert (task.target_dir / "model/weights.safetensors").exists()


def test_stage_leaves_model_history_and_config(tmp_path: Path) -> None:
    task = _make_task(tmp_path, {"hidden": 6})
    figures = train.run(task)
    assert figures["num_samples"] == 2 * len(make_dataset().train)
    assert len((task.target_dir / "history.jsonl").read_text().splitlines()) == 2
    assert len((task.target_dir / "history.csv").read_text().splitlines()) == 3
    model = read_model(TwoLayers, task.target_dir / "model")
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
    trainer.fit(model, shuffled, make_loader(dataset.valid))
    built = read_model(TwoLayers, task.target_dir / "model").state_dict()
    assert all(torch.equal(built[name], tensor) for name, tensor in model.state_dict().items())


def test_model_of_each_seed_is_that_of_a_run_with_this_seed(tmp_path: Path) -> None:
    task = _make_task(tmp_path, {"hidden": 6})
    task.params["runtime"]["seed"] = 7
    task.params["train"]["vectorised_seeds"] = 3
    train.run(task)
    folder = task.target_dir / "model"
    built = {7: folder, **find_seeds(folder)}
    assert sorted(built) == [7, 8, 9]
    states = {seed: read_model(TwoLayers, place).state_dict() for seed, place in built.items()}
    del task.params["train"]["vectorised_seeds"]
    for seed, state in states.items():
        _clear(task)
        task.params["runtime"]["seed"] = seed
        train.run(task)
        alone = read_model(TwoLayers, task.target_dir / "model").state_dict()
        assert not find_seeds(task.target_dir / "model")
        assert is_near(state, alone)


def test_history_has_means_and_deviations_when_there_are_several_seeds(tmp_path: Path) -> None:
    task = _make_task(tmp_path, {})
    task.params["train"]["vectorised_seeds"] = 2
    assert train.run(task)["num_samples"] == 2 * len(make_dataset().train)
    results = _read_results(task)
    names = {"train_loss", "valid_loss", "valid_accuracy"}
    for row in (*results["rows"], *results["table"]):
        assert row.keys() == {"epoch", "step", "learning_rate", *names, *(f"{name}_std" for name in names)}


def test_several_seeds_are_refused_when_they_would_start_from_one_model(tmp_path: Path, other_dir: Path) -> None:
    task = _take(_make_task(tmp_path, {}), other_dir, hidden=6, init_from="other")
    task.params["train"]["vectorised_seeds"] = 2
    with pytest.raises(
        NotVectorisableError, match=r"with model\.init_from: every seed would start from the same weights"
    ):
        train.run(task)


def test_model_has_its_default_config_when_the_params_say_nothing_of_it(tmp_path: Path) -> None:
    task = _make_task(tmp_path, None)
    train.run(task)
    assert json.loads((task.target_dir / "model" / "model.json").read_text())["config"] == {"hidden": 4}


def test_stage_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = replace(_make_task(tmp_path, {}), experiment="x")
    fractions: list[float] = []
    log_epoch = ProgressFile.log_epoch

    def keep_fraction(file: ProgressFile, row: Mapping[str, float]) -> None:
        log_epoch(file, row)
        progress = read_progress(task.target_dir / "progress.json")
        assert progress
        fractions.append(progress["fraction"])

    monkeypatch.setattr(ProgressFile, "log_epoch", keep_fraction)
    train.run(task)
    progress = read_progress(task.target_dir / "progress.json")
    assert fractions == [0.5, 1]
    assert progress
    assert (progress["experiment"], progress["status"], progress["fraction"]) == ("x", "finished", 1)
    assert {"train_loss", "valid_accuracy", "samples_per_s"} <= set(progress["metrics"])


def test_failure_is_told_when_training_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(trainer: Trainer, *_: Any) -> None:
        raise FloatingPointError("the training loss is nan in epoch 1")

    monkeypatch.setattr(Trainer, "compute_loss", fail)
    task = _make_task(tmp_path, {})
    with pytest.raises(FloatingPointError):
        train.run(task)
    progress = read_progress(task.target_dir / "progress.json")
    assert progress
    assert progress["status"] == "failed"


def test_events_are_written_when_a_logger_is_asked_for(tmp_path: Path) -> None:
    log_dir = tmp_path / "logs"
    task = replace(_make_task(tmp_path, {}), experiment="x", log_dir=str(log_dir))
    train.run(replace(task, monitoring={"loggers": ["tensorboard"]}))
    assert len(list((log_dir / "tensorboard/x").glob("events.*"))) == 1


def test_model_is_that_of_a_file_when_the_task_names_one(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    file.write_text('{"layers": ["Flatten", {"Linear": {"out_features": "classes"}, "name": "head"}]}')
    task = _make_task(tmp_path, {})
    components = {**task.components, "model": ["common.architecture", "DeclaredModel"]}
    task = replace(task, components=components, files={"model": str(file)})
    train.run(task)
    model = load_model(task.target_dir / "model")
    assert list(model.state_dict()) == ["head.weight", "head.bias"]
    built = task.target_dir.rename(tmp_path / "built") / "model"
    task.target_dir.mkdir()
    other = {"other": {"folder": str(built), "component": ["common.architecture", "DeclaredModel"]}}
    train.run(
        replace(
            task, params={**task.params, "model": {"init_from": "other"}, "train": {"epochs": 0}}, built_models=other
        )
    )
    again = load_model(task.target_dir / "model").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())


# Models and weights in files


def _make_saved(folder: Path, model_class: str = "PickledModel") -> Task:
    """Return the task of an experiment whose model is a program that is trusted."""
    path = folder / "model.any"
    SAVERS[model_class](path)
    task = _make_task(folder, None)
    components = {**task.components, "model": ["common.model_files.whole_models", model_class]}
    return replace(task, components=components, files={"model": str(path)}, trust={"model": hash_file(path)})


def test_model_is_that_of_a_program_when_it_is_trusted(tmp_path: Path) -> None:
    task = _make_saved(tmp_path)
    train.run(task)
    assert load_model(task.target_dir / "model").state_dict().keys() == {"model.1.weight", "model.1.bias"}
    with pytest.raises(ModelFileError, match="is not the file that is trusted"):
        train.run(replace(task, trust={}))


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning")
@pytest.mark.parametrize("model_class", SAVERS)
def test_training_of_a_program_goes_on_to_the_bit_when_it_was_killed(
    model_class: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _make_saved(tmp_path, model_class)
    task.params["train"] = {"epochs": 3}
    train.run(task)
    whole = _read_results(task)
    assert whole["rows"][0]["train_loss"] > whole["rows"][-1]["train_loss"]
    _clear(task)
    task = replace(task, checkpoint_dir=str(tmp_path / "checkpoints"))
    _run_until(task, 2, monkeypatch)
    train.run(task)
    assert _read_results(task) == whole


def test_model_of_another_that_brings_code_is_taken_when_its_pin_is_known(tmp_path: Path) -> None:
    task = _make_saved(tmp_path)
    train.run(task)
    folder = task.target_dir.rename(tmp_path / "built") / "model"
    built = {"folder": str(folder), "component": task.components["model"]}
    task.target_dir.mkdir()
    task.params.update(model={"init_from": "other"}, train={"epochs": 0})
    with pytest.raises(ModelFileError, match="is not the file that is trusted"):
        train.run(replace(task, built_models={"other": {**built, "sha256": ""}}))
    _clear(task)
    train.run(replace(task, built_models={"other": {**built, "sha256": task.trust["model"]}}))
    first, again = (load_model(path / "model").state_dict() for path in (tmp_path / "built", task.target_dir))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


def _with_weights(task: Task, path: Path, state: Mapping[str, Tensor]) -> Task:
    save_file(dict(state), path)
    return replace(task, weights={"path": str(path), "form": "safetensors"})


def test_training_starts_from_the_weights_of_a_file(tmp_path: Path) -> None:
    task = _make_task(tmp_path, {"hidden": 6})
    task.params["train"] = {"epochs": 0}
    ones = {
        name: torch.ones_like(tensor)
        for name, tensor in TwoLayers(Config(6), make_dataset().metadata).state_dict().items()
    }
    train.run(_with_weights(task, tmp_path / "model.safetensors", ones))
    assert _is_filled(read_model(TwoLayers, task.target_dir / "model").state_dict(), "")
    _clear(task)
    wrong = {**ones, "layers.2.weight": torch.ones(9, 6)}
    message = (
        r"^the weights in 'model\.safetensors' do not fit the model: 'layers\.2\.weight' is \(3, 6\) here and \(9, 6\)"
    )
    with pytest.raises(WeightsError, match=message):
        train.run(_with_weights(task, tmp_path / "model.safetensors", wrong))


def test_seeds_are_not_trained_together_when_a_file_has_their_weights(tmp_path: Path) -> None:
    pickled = _make_saved(tmp_path)
    pickled.params["train"] = {"epochs": 1, "vectorised_seeds": 2}
    with pytest.raises(NotVectorisableError, match="every seed would start from the same weights"):
        train.run(pickled)


@pytest.fixture
def other_dir(tmp_path: Path) -> Path:
    """A built model, all of whose weights are 1."""
    folder = tmp_path / "other"
    folder.mkdir()
    metadata = make_dataset().metadata
    model = TwoLayers(Config(hidden=6), metadata)
    for tensor in model.state_dict().values():
        tensor.fill_(1)
    write_model(model, Config(hidden=6), metadata, folder)
    return folder


def _is_filled(state: Mapping[str, Tensor], prefix: str) -> bool:
    return all(bool((tensor == 1).all()) for name, tensor in state.items() if name.startswith(prefix))


def _take(task: Task, folder: Path, **model: Any) -> Task:
    """Return the task of a training that takes the model in `folder`, as `other`, and trains no epoch."""
    _clear(task)
    built = {"other": {"folder": str(folder), "component": [__name__, "TwoLayers"]}}
    return replace(task, params={**task.params, "model": model, "train": {"epochs": 0}}, built_models=built)


def test_trainer_gets_the_models_that_others_built(
    tmp_path: Path, other_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: dict[str, nn.Module] = {}

    def hear(trainer: Trainer, model: nn.Module, *_: Any) -> nn.Module:
        heard.update(trainer.built_models, own=model)
        return model

    monkeypatch.setattr(Trainer, "fit", hear)
    train.run(_take(_make_task(tmp_path, {}), other_dir, hidden=6))
    assert set(heard) == {"other", "own"}
    assert _is_filled(heard["other"].state_dict(), "")
    assert not _is_filled(heard["own"].state_dict(), "")


def test_training_draws_the_same_numbers_when_it_takes_models_of_others(
    tmp_path: Path, other_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []

    def draw(trainer: Trainer, model: nn.Module, *_: Any) -> nn.Module:
        drawn.append(torch.rand(1).item())
        return model

    monkeypatch.setattr(Trainer, "fit", draw)
    task = _take(_make_task(tmp_path, {}), other_dir, hidden=6)
    train.run(task)
    train.run(replace(_take(task, other_dir, hidden=6), built_models={}))
    assert drawn[0] == drawn[1]


def test_training_starts_from_the_weights_that_the_params_name(tmp_path: Path, other_dir: Path) -> None:
    task = _take(_make_task(tmp_path, {}), other_dir, hidden=6, init_from="other")
    train.run(task)
    model = json.loads((task.target_dir / "model/model.json").read_text())
    assert model["config"] == {"hidden": 6}
    assert _is_filled(read_model(TwoLayers, task.target_dir / "model").state_dict(), "")
    task = _take(task, other_dir, hidden=6, init_from="other", init_map={"layers.1.": "layers.1."})
    train.run(task)
    state = read_model(TwoLayers, task.target_dir / "model").state_dict()
    assert _is_filled(state, "layers.1.")
    assert not _is_filled(state, "layers.2.")
    with pytest.raises(WeightsError, match=r"'layers.1.weight' is \(5, 16\) here and \(6, 16\) there"):
        train.run(_take(task, other_dir, hidden=5, init_from="other"))


@pytest.mark.parametrize("name", ["history.jsonl", "history.csv", "config.json", "model"])
def test_stage_writes_only_below_its_target(tmp_path: Path, name: str) -> None:
    task = _make_task(tmp_path, {})
    train.run(task)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "target"]
    assert (task.target_dir / name).exists()


@pytest.mark.parametrize("num_rows", [1, 2, 3])
def test_stage_leaves_what_it_would_have_left_when_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_rows: int
) -> None:
    task = _make_task(tmp_path, {})
    task.params["train"]["epochs"] = 3
    figures = train.run(task)
    whole = _read_results(task)
    _clear(task)
    task = replace(task, checkpoint_dir=str(tmp_path / "checkpoints"))
    _run_until(task, num_rows, monkeypatch)
    assert train.run(task)["num_samples"] == figures["num_samples"]
    assert _read_results(task) == whole


def test_stage_trains_anew_when_its_training_is_finished(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="force")
    task = replace(_make_task(tmp_path, {}), checkpoint_dir=str(tmp_path / "checkpoints"))
    train.run(task)
    whole = _read_results(task)
    assert sorted(os.listdir(task.checkpoint_dir)) == ["finished", "fit-1-step-3.pt", "fit-1-step-6.pt"]
    _clear(task)
    caplog.clear()
    train.run(task)
    assert [line.partition("  ")[0] for line in caplog.messages] == [
        "an earlier training is finished: training starts anew",
        "epoch 1/2",
        "epoch 2/2",
    ]
    assert _read_results(task) == whole


def test_throughput_is_that_of_all_processes_when_the_stage_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = replace(_make_task(tmp_path, {}), checkpoint_dir=str(tmp_path / "checkpoints"))
    _run_until(task, 2, monkeypatch)
    before = torch.load(Path(task.checkpoint_dir) / "fit-1-step-3.pt", weights_only=True)["seconds"]
    figures = train.run(task)
    assert 0 < figures["samples_per_s"] < figures["num_samples"] / before


@pytest.mark.slow
def test_stage_leaves_what_it_would_have_left_when_its_process_is_killed_again_and_again(tmp_path: Path) -> None:
    task = _make_task(tmp_path, {"channels": 4, "dropout": 0.5})
    task.components["model"] = ["common.model", "ConvNet"]
    task.components["loader"] = ["experiments.random_shifts.loader", "ShiftingLoader"]
    task.components["trainer"] = ["tests.common.test_resuming", "CustomTrainer"]
    task.params.update(loader={"batch_size": 4}, train={"epochs": 20})
    with _start(task) as process:
        assert "epoch 20/20" in read_log(process)
    whole = _read_results(task)
    task = replace(task, checkpoint_dir=str(tmp_path / "checkpoints"))
    moments = sorted(random.SystemRandom().sample(range(2, 16), 3))
    for epoch in moments:
        with _start(task) as process:
            assert process.stdout
            assert any(line.startswith(f"epoch {epoch}/20") for line in process.stdout)
            process.kill()
    with _start(task) as process:
        resumed = re.search(r"^resumed after step (\d+) from fit-1-step-\1\.pt$", read_log(process), re.MULTILINE)
    assert resumed
    assert int(resumed[1]) >= 12 * (moments[-1] - 2)  # the state of the epoch before may not have been written yet
    assert _read_results(task) == whole, f"killed in the epochs {moments}"
