"""What the stage `evaluate` leaves, and what it says of predictions that nothing can be computed from."""

import csv
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from common import engine
from common.config import NoParams
from common.curves import MAX_PLACES, list_places
from common.dataset import NO_CLASS, Dataset, Metadata
from common.evaluator import Config as EvaluatorConfig
from common.evaluator import Evaluator, Metric, Predictions
from common.loader import Loader
from common.metrics import MetricError
from common.model import Model
from common.model_files.sources import ModelFileError
from common.model_files.whole_models import PickledModel
from common.saved_model import seed_folder, write_model
from pipeline.modelforms import hash_file
from pipeline.stages import evaluate
from pipeline.stages.evaluate import BadPredictionsError, compute_metrics, sort_predictions
from pipeline.stages.task import Task
from pipeline.validation import find_faults
from tests.datasets import make_dataset, write_dataset
from tests.models import write_built, write_pickle

ACCURACY = {"name": "MulticlassAccuracy", "average": "micro"}
PREDICTIONS = Predictions(torch.eye(3), torch.tensor([0, 1, 2]), torch.tensor([7, 5, 6]))
CLASSES = ("a", "b", "c")


@dataclass(frozen=True)
class Config(EvaluatorConfig):
    """Params of the model and of the evaluators below."""

    num_outputs: int = 3


class Diagonal(Model):
    """Takes the dot's place for the class: never wrong on dots."""

    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.num_outputs = config.num_outputs

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits of shape (batch, outputs)."""
        logits: Tensor = self.scale * inputs[:, 0].diagonal(dim1=1, dim2=2)[:, : self.num_outputs]
        return logits


class Backwards(Evaluator):
    """Predicts the last sample first."""

    def evaluate(self, model: nn.Module, test: Loader) -> Predictions:
        """Return the predictions in the order of falling ids."""
        return Predictions(*(tensor.flip(0) for tensor in super().evaluate(model, test)))


class Lengthy(Evaluator):
    """Scores the samples by a table, not by a number each."""

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics by name."""
        return {**super().metrics(), "length": Metric(lambda *_: 1.0, "max", "", lambda p, _: p.logits)}


def _make_task(
    folder: Path,
    dataset: Dataset | None = None,
    evaluator: str = "common.evaluator:Evaluator",
    num_outputs: int = 3,
    metrics: Mapping[str, Any] | None = None,
) -> Task:
    dataset = dataset or make_dataset()
    config = Config(num_outputs=num_outputs)
    for name in ("data", "model", "target"):
        (folder / name).mkdir()
    write_dataset(dataset, folder / "data")
    write_model(Diagonal(config, dataset.metadata), config, dataset.metadata, folder / "model")
    components = {
        "engine": ["common.engine", "Engine"],
        "loader": ["common.loader", "Loader"],
        "model": [__name__, "Diagonal"],
        "evaluator": evaluator.split(":"),
    }
    params = {
        "loader": {"batch_size": 4},
        "runtime": {"device": "cpu"},
        "evaluate": {"metrics": {"accuracy": ACCURACY} if metrics is None else metrics},
    }
    inputs = {"prepare": str(folder / "data"), "train": str(folder / "model")}
    return Task("evaluate", str(folder), str(folder / "target"), inputs, components, params)


def _make_test_split(classes: tuple[str, ...], inputs: Tensor, targets: Tensor) -> Dataset:
    """Return a dataset with this test split, and another sample for training."""
    test = TensorDataset(inputs, targets, torch.arange(len(inputs)))
    train = TensorDataset(
        torch.zeros(1, *inputs.shape[1:]), targets.new_zeros(1, *targets.shape[1:]), torch.tensor([-1])
    )
    valid = TensorDataset(*(tensor[:0] for tensor in train.tensors))
    return Dataset(train, valid, test, replace(make_dataset().metadata, classes=classes))


def _read_table(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


# What it leaves


def test_every_out_is_there_and_fits_its_schema(tmp_path: Path) -> None:
    task = _make_task(tmp_path)
    count = len(make_dataset().test)
    assert evaluate.run(task) == {"num_samples": count}
    assert {path.name for path in task.target_dir.iterdir()} == {
        "certificate.json",
        "confusion.csv",
        "metrics.json",
        "performance.json",
        "precision_recall.csv",
        "predictions.safetensors",
        "reliability.csv",
        "roc.csv",
        "seeds.json",
    }
    for path in task.target_dir.glob("*.json"):
        assert find_faults(path.stem, json.loads(path.read_text())) == []
    metrics = json.loads((task.target_dir / "metrics.json").read_text())
    assert metrics == {"accuracy": 1.0, "cross_entropy": pytest.approx(0.6, abs=0.2)}
    assert json.loads((task.target_dir / "seeds.json").read_text()) == {"0": metrics}
    assert json.loads((task.target_dir / "performance.json").read_text())["num_parameters"] == 1


def test_each_seed_has_its_metrics_and_scores_when_there_are_several(tmp_path: Path) -> None:
    task = _make_task(tmp_path)
    task.params["runtime"]["seed"] = 3
    for seed, scale in ((10, -1.0), (4, 2.0)):
        model = Diagonal(Config(), make_dataset().metadata)
        nn.init.constant_(model.scale, scale)
        place = seed_folder(tmp_path / "model", seed)
        place.mkdir()
        write_model(model, Config(), make_dataset().metadata, place)
    evaluate.run(task)
    seeds = json.loads((task.target_dir / "seeds.json").read_text())
    assert find_faults("seeds", seeds) == []
    assert {seed: metrics["accuracy"] for seed, metrics in seeds.items()} == {"3": 1.0, "4": 1.0, "10": 0.0}
    assert seeds["3"] == json.loads((task.target_dir / "metrics.json").read_text())
    found = load_file(task.target_dir / "predictions.safetensors")
    for seed, name in (("3", "scores"), ("4", "seed_4.scores"), ("10", "seed_10.scores")):
        assert found[f"{name}.cross_entropy"].mean().item() == pytest.approx(seeds[seed]["cross_entropy"])
        assert found[f"{name}.correct"].mean().item() == seeds[seed]["accuracy"]


@pytest.mark.parametrize("seeds", [{}, {"0": {}}, {"first": {"accuracy": 1.0}}, {"0": {"accuracy": "high"}}])
def test_schema_of_seeds_is_not_met_by_anything_else(seeds: Any) -> None:
    assert find_faults("seeds", seeds)


def test_tables_have_the_columns_that_dvc_plots(tmp_path: Path) -> None:
    task = _make_task(tmp_path)
    evaluate.run(task)
    confusion = _read_table(task.target_dir / "confusion.csv")
    targets = make_dataset().test.tensors[1].tolist()
    assert confusion == [{"actual": CLASSES[target], "predicted": CLASSES[target]} for target in targets]
    (row, *_) = _read_table(task.target_dir / "reliability.csv")
    assert row.keys() == {"confidence", "accuracy", "num_samples"}
    assert row["accuracy"] == "1"
    assert _read_table(task.target_dir / "roc.csv")[0] == {"false_positive_rate": "0", "true_positive_rate": "1"}
    assert _read_table(task.target_dir / "precision_recall.csv")[-1] == {"recall": "1", "precision": "1"}


def test_scores_and_predictions_are_in_the_order_of_ids_whatever_the_evaluator_did(tmp_path: Path) -> None:
    task = _make_task(tmp_path, evaluator=f"{__name__}:Backwards")
    evaluate.run(task)
    found = load_file(task.target_dir / "predictions.safetensors")
    _, targets, ids = make_dataset().test.tensors
    assert torch.equal(found["ids"], ids)
    assert torch.equal(found["targets"], targets)
    assert found["logits"].shape == (len(ids), 3)
    assert found["scores.correct"].tolist() == [1.0] * len(ids)
    expected = nn.functional.cross_entropy(found["logits"].double(), targets, reduction="none")
    assert torch.equal(found["scores.cross_entropy"], expected)


def test_outputs_that_are_no_classes_have_metrics_and_empty_plots(tmp_path: Path) -> None:
    inputs = torch.rand(6, 1, 4, 4)
    regression = _make_test_split((), inputs, inputs[:, 0, 0, 0] + 2)
    metrics = {"cross_entropy": None, "error": {"name": "MeanSquaredError", "unit": "m²"}}
    task = _make_task(tmp_path, regression, num_outputs=1, metrics=metrics)
    evaluate.run(task)
    assert json.loads((task.target_dir / "metrics.json").read_text()) == {"error": pytest.approx(4)}
    assert {path.name: _read_table(path) for path in task.target_dir.glob("*.csv")} == {
        name: [] for name in ("confusion.csv", "precision_recall.csv", "reliability.csv", "roc.csv")
    }


def test_samples_of_several_classes_have_curves(tmp_path: Path) -> None:
    targets = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 1]])
    several = _make_test_split(CLASSES, torch.rand(4, 1, 4, 4), targets)
    metrics = {"cross_entropy": None, "accuracy": {"name": "MultilabelAccuracy"}}
    task = _make_task(tmp_path, several, metrics=metrics)
    evaluate.run(task)
    assert len(_read_table(task.target_dir / "roc.csv")) == 101
    assert _read_table(task.target_dir / "confusion.csv") == []


# What it refuses


def test_test_split_is_refused_when_it_is_empty(tmp_path: Path) -> None:
    empty = _make_test_split(CLASSES, torch.rand(0, 1, 4, 4), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(BadPredictionsError) as caught:
        evaluate.run(_make_task(tmp_path, empty))
    expected = "the test split is empty: raise data.test_fraction, or change the data component"
    assert str(caught.value) == expected


def test_outputs_are_refused_when_there_is_not_one_a_class(tmp_path: Path) -> None:
    with pytest.raises(BadPredictionsError) as caught:
        evaluate.run(_make_task(tmp_path, num_outputs=2))
    count = len(make_dataset().test)
    expected = f"the model's outputs have the shape ({count}, 2), wanted (samples, classes) = ({count}, 3)"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"logits": torch.eye(3)[:2]}, "the model's outputs have the shape (2, 3), wanted (samples, classes) = (3, 3)"),
        ({"logits": torch.ones(3)}, "the model's outputs have the shape (3,), wanted (samples, classes) = (3, 3)"),
        ({"targets": torch.ones(2)}, "the targets have the shape (2,), wanted (3,), or (3, 3) of 0 and 1"),
        ({"targets": torch.ones(3, 2)}, "the targets have the shape (3, 2), wanted (3,), or (3, 3) of 0 and 1"),
        (
            {"logits": torch.tensor([[0.0, 1, 2], [0, math.nan, 1], [math.inf, 0, 1]])},
            "outputs of 2 of 3 samples are not finite; the first has id 5",
        ),
        ({"targets": torch.tensor([0, 3, 1])}, "the target of the sample with id 5 is 3, wanted 0 to 2"),
        ({"targets": torch.tensor([0, 1, -1])}, "the target of the sample with id 6 is -1, wanted 0 to 2"),
        ({"targets": torch.tensor([0, 1, NO_CLASS])}, "the target of the sample with id 6 is -100, wanted 0 to 2"),
        ({"targets": torch.eye(3) * 2}, "the target of the sample with id 7 is 2.0, wanted 0 to 1"),
    ],
)
def test_predictions_are_refused_in_one_line_when_they_do_not_fit(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(BadPredictionsError) as caught:
        sort_predictions(PREDICTIONS._replace(**changes), CLASSES)
    assert str(caught.value) == fault


def test_predictions_are_sorted_by_id_when_they_fit() -> None:
    found = sort_predictions(PREDICTIONS, CLASSES)
    assert (found.ids.tolist(), found.targets.tolist()) == ([5, 6, 7], [1, 2, 0])
    assert torch.equal(found.logits.argmax(dim=1), found.targets)


PIXELS = Predictions(
    logits=torch.tensor([[[[2.0, 0, 0]], [[0, 2, 2]]], [[[2.0, 2, 2]], [[0, 0, 0]]]]),
    targets=torch.tensor([[[0, 1, NO_CLASS]], [[1, NO_CLASS, 0]]]),
    ids=torch.tensor([4, 3]),
)


def test_places_of_samples_are_scored_when_they_have_classes() -> None:
    found = sort_predictions(PIXELS, ("a", "b"))
    assert found.ids.tolist() == [3, 4]
    evaluator = Evaluator(EvaluatorConfig({"accuracy": ACCURACY}), engine.Config(device="cpu"))
    assert evaluator.scores(found)["correct"].tolist() == [0.5, 1]
    values = compute_metrics(evaluator.metrics(), found, evaluator.config)
    assert values["accuracy"] == pytest.approx(0.75)
    wrong, right = math.log(1 + math.exp(2)), math.log(1 + math.exp(-2))
    assert values["cross_entropy"] == pytest.approx(((wrong + right) / 2 + right) / 2)
    logits, targets = list_places(found)
    assert targets.tolist() == [1, 0, 0, 1]
    assert logits.argmax(dim=1).tolist() == [0, 0, 0, 1]


def test_sample_without_any_class_counts_nowhere() -> None:
    half = PIXELS._replace(targets=torch.tensor([[[0, 1, NO_CLASS]], [[NO_CLASS] * 3]]))
    assert compute_metrics(
        Evaluator(EvaluatorConfig(), engine.Config(device="cpu")).metrics(), half, EvaluatorConfig()
    )["cross_entropy"] == pytest.approx(math.log(1 + math.exp(-2)))


def test_places_that_are_drawn_are_of_the_whole_image() -> None:
    targets = torch.zeros(128, 64, 64, dtype=torch.int64)
    targets[:, :, 0] = 1
    logits = torch.zeros(128, 2, 64, 64)
    _, drawn = list_places(Predictions(logits, targets, torch.arange(128)))
    assert len(drawn) == MAX_PLACES
    assert drawn.double().mean().item() == pytest.approx(1 / 64, rel=0.1)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"targets": torch.zeros(2, 3).long()}, "the targets have the shape (2, 3), wanted (2, 1, 3), or (2, 2, 1, 3)"),
        ({"targets": torch.full((2, 1, 3), 2)}, "the target of the sample with id 4 is 2, wanted 0 to 1"),
        ({"targets": torch.full((2, 1, 3), -1)}, "the target of the sample with id 4 is -1, wanted 0 to 1"),
        ({"logits": torch.full((2, 2, 1, 3), math.nan)}, "outputs of 2 of 2 samples are not finite"),
    ],
)
def test_places_are_refused_in_one_line_when_they_do_not_fit(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(BadPredictionsError, match=re.escape(fault)):
        sort_predictions(PIXELS._replace(**changes), ("a", "b"))


def test_scores_are_refused_when_they_are_not_one_a_sample(tmp_path: Path) -> None:
    count = len(make_dataset().test)
    with pytest.raises(MetricError) as caught:
        evaluate.run(_make_task(tmp_path, evaluator=f"{__name__}:Lengthy"))
    assert str(caught.value) == f"the scores 'length' have the shape ({count}, 3), wanted ({count},): one a sample"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_metric_is_refused_when_it_is_not_finite(value: float) -> None:
    metrics = {"good": Metric(lambda *_: 1.0, "max", ""), "bad": Metric(lambda *_: value, "max", "")}
    with pytest.raises(MetricError, match=rf"^metric 'bad' is {value}, wanted a finite number$"):
        compute_metrics(metrics, PREDICTIONS, EvaluatorConfig())


def test_metric_is_refused_with_its_place_when_its_code_fails() -> None:
    def broken(predictions: Predictions, config: Any) -> float:
        raise KeyError("a\nb")

    with pytest.raises(MetricError, match=r"^metric 'broken': KeyError: 'a\\nb'$") as caught:
        compute_metrics({"broken": Metric(broken, "max", "")}, PREDICTIONS, EvaluatorConfig())
    assert caught.traceback[-1].name == "broken"


def test_metric_is_refused_without_a_place_when_an_argument_is_missing() -> None:
    metrics = Evaluator(EvaluatorConfig({"f": {"name": "MulticlassFBetaScore"}}), engine.Config(device="cpu")).metrics()
    with pytest.raises(
        MetricError, match=r"^metric 'f': TypeError: .* required positional argument: 'beta'$"
    ) as caught:
        compute_metrics(metrics, PREDICTIONS, EvaluatorConfig())
    assert "common" not in str(caught.traceback[-1].path)


def test_model_that_brings_code_is_evaluated_when_its_pin_is_known(tmp_path: Path) -> None:
    task = _make_task(tmp_path)
    path = tmp_path / "model.pkl"
    write_pickle(path)
    metadata = make_dataset().metadata
    write_built(tmp_path / "model", PickledModel(NoParams(), metadata, path, hash_file(path)), metadata)
    components = {**task.components, "model": ["common.model_files.whole_models", "PickledModel"]}
    task = replace(task, components=components)
    with pytest.raises(ModelFileError, match="is not the file that is trusted"):
        evaluate.run(task)
    evaluate.run(replace(task, trust={"model": hash_file(path)}))
    assert (task.target_dir / "metrics.json").exists()
