"""What a certificate tells apart, and what it does not."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common import engine
from common.dataset import Batch
from common.evaluator import Config, Evaluator, Metric, Predictions, cross_entropy
from common.loader import Loader
from experiments.worst_class.evaluator import WorstClassEvaluator
from pipeline.certificates import find_differences
from pipeline.stages.certificate import build_certificate
from pipeline.validation import find_faults

CONFIG = Config(
    {
        "accuracy": {"name": "MulticlassAccuracy", "average": "micro"},
        "calibration_error": {"name": "MulticlassCalibrationError", "n_bins": 10},
    }
)


class DoublingEvaluator(Evaluator):
    """Predicts otherwise than the common one."""

    def predict(self, model: nn.Module, loader: Loader) -> tuple[Tensor, Tensor, Tensor]:
        """Return doubled logits."""
        logits, targets, ids = super().predict(model, loader)
        return 2 * logits, targets, ids


class ThriceEvaluator(Evaluator):
    """Predicts several times."""

    def evaluate(self, model: nn.Module, test: Loader) -> Predictions:
        """Return the predictions of the last time."""
        return [super(ThriceEvaluator, self).evaluate(model, test) for _ in range(self.num_times())][-1]

    def num_times(self) -> int:
        """Return how often."""
        return 3


class FourTimesEvaluator(ThriceEvaluator):
    """Predicts once more."""

    def num_times(self) -> int:
        """Return how often."""
        return 4


class RenamedEvaluator(Evaluator):
    """Predicts as the common one: it only has another name and a method more."""

    def describe(self) -> str:
        """Return words that nobody uses."""
        return "renamed"


def halved_accuracy(predictions: Predictions, config: Config) -> float:
    """Return another number than the name says."""
    return (predictions.logits.argmax(dim=1) == predictions.targets).double().mean().item() / 2


class HalvingEvaluator(Evaluator):
    """Computes a metric otherwise, under its old name."""

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics by name."""
        return {**super().metrics(), "accuracy": Metric(halved_accuracy, "max", "fraction")}


@dataclass(frozen=True)
class CropsConfig(Config):
    """Params of an evaluator that has one of its own."""

    num_crops: int = 5


def _certify(
    evaluator_class: type[Evaluator] = Evaluator,
    rows: tuple[int, ...] = (0, 1, 2, 3),
    config: Config = CONFIG,
    **changes: Any,
) -> Any:
    ids = torch.tensor(rows)
    predictions = Predictions(torch.eye(4)[ids], ids % 2, ids)._replace(**changes)
    test = Batch(torch.ones(4, 1, 2, 2), torch.arange(4) % 2, torch.arange(4))
    evaluator = evaluator_class(config, engine.Config(device="cpu"))
    return build_certificate(evaluator, evaluator.kept_metrics(), predictions, test)


def _list_changed(ours: Any, theirs: Any) -> list[str]:
    """Return the metrics that do not compare."""
    return [name for name in theirs["metrics"] if find_differences(ours, theirs, name)]


# The procedure


@pytest.mark.parametrize("evaluator_class", [WorstClassEvaluator, RenamedEvaluator, HalvingEvaluator])
def test_procedure_is_the_common_one_when_a_subclass_only_wraps_it(evaluator_class: type[Evaluator]) -> None:
    procedure = _certify(evaluator_class)["procedure"]
    assert procedure == _certify()["procedure"]
    assert (procedure["class"], procedure["is_replaced"]) == ("common.evaluator.Evaluator", False)


def test_inherited_metrics_compare_when_a_subclass_adds_one() -> None:
    ours, theirs = _certify(WorstClassEvaluator), _certify()
    assert _list_changed(ours, theirs) == []
    assert ours["metrics"].keys() - theirs["metrics"].keys() == {"worst_class_recall"}


@pytest.mark.parametrize("evaluator_class", [DoublingEvaluator, ThriceEvaluator])
def test_nothing_compares_and_both_classes_are_named_when_the_procedure_is_replaced(
    evaluator_class: type[Evaluator],
) -> None:
    ours, theirs = _certify(evaluator_class), _certify()
    assert ours["procedure"]["is_replaced"]
    for name in theirs["metrics"]:
        (reason,) = find_differences(ours, theirs, name)
        assert reason.startswith(f"evaluation procedure differs: {__name__}.{evaluator_class.__name__} ")
        assert " vs common.evaluator.Evaluator " in reason


def test_procedure_is_its_own_when_a_method_that_it_calls_differs() -> None:
    four, three = _certify(FourTimesEvaluator)["procedure"], _certify(ThriceEvaluator)["procedure"]
    assert four["sha256"] != three["sha256"]
    assert four["class"].endswith("FourTimesEvaluator")


# The metrics


def test_one_metric_differs_when_its_code_does_under_the_old_name() -> None:
    assert _list_changed(_certify(HalvingEvaluator), _certify()) == ["accuracy"]
    (reason,) = find_differences(_certify(HalvingEvaluator), _certify(), "accuracy")
    words = f'{__name__}.halved_accuracy vs MulticlassAccuracy(average="micro", num_classes=4)'
    assert reason == f"definition of accuracy differs: {words}"


@pytest.mark.parametrize(
    ("metrics", "changed"),
    [
        ({"f1": {"name": "MulticlassF1Score"}}, []),
        ({"calibration_error": None}, ["calibration_error"]),
        ({"calibration_error": {"name": "MulticlassCalibrationError", "n_bins": 5}}, ["calibration_error"]),
        ({"accuracy": {"name": "MulticlassF1Score", "average": "micro"}}, ["accuracy"]),
        ({"accuracy": {"name": "MulticlassAccuracy", "average": "micro", "unit": "%"}}, ["accuracy"]),
        ({"accuracy": {"average": "micro", "name": "Accuracy", "num_classes": 4}}, []),
    ],
)
def test_one_metric_differs_when_its_arguments_do(metrics: dict[str, Any], changed: list[str]) -> None:
    ours = _certify(config=Config({**CONFIG.metrics, **metrics}))
    assert _list_changed(ours, _certify()) == changed
    assert ours["params"] == {}


def test_metric_differs_when_the_data_say_another_argument() -> None:
    three_classes = _certify(logits=torch.eye(4)[:, :3])
    assert _list_changed(three_classes, _certify()) == ["accuracy", "calibration_error"]


def test_metric_differs_when_a_function_is_bound_to_another_number() -> None:
    def make(number: int) -> type[Evaluator]:
        class Scaling(Evaluator):
            def metrics(self) -> dict[str, Metric]:
                return {"scaled": Metric(partial(scale, number), "max", "")}

        return Scaling

    assert _list_changed(_certify(make(2)), _certify(make(2))) == []
    assert _list_changed(_certify(make(2)), _certify(make(3))) == ["scaled"]


def scale(number: int, predictions: Predictions, config: Config) -> float:
    """Return a number."""
    return float(number)


def test_definition_is_that_of_the_function_not_of_its_name() -> None:
    class Renaming(Evaluator):
        """Calls the cross entropy by another name."""

        def metrics(self) -> dict[str, Metric]:
            """Return the metrics by name."""
            return {"surprise": Metric(cross_entropy, "min", "nats")}

    assert _certify(Renaming)["metrics"]["surprise"] == _certify()["metrics"]["cross_entropy"]


# The samples


def test_samples_are_the_same_when_predicted_in_another_order() -> None:
    assert _certify(rows=(2, 0, 3, 1))["test"] == _certify()["test"]


def test_samples_differ_when_one_is_left_out() -> None:
    assert _certify(rows=(0, 1, 2))["test"]["num_samples"] == 3
    assert _certify(rows=(0, 1, 2))["test"]["ids_sha256"] != _certify()["test"]["ids_sha256"]


def test_targets_differ_when_a_label_does() -> None:
    relabelled = _certify(targets=torch.tensor([0, 1, 0, 0]))["test"]
    assert relabelled["targets_sha256"] != _certify()["test"]["targets_sha256"]
    assert relabelled["ids_sha256"] == _certify()["test"]["ids_sha256"]


def test_params_of_an_evaluator_are_certified_with_their_defaults() -> None:
    assert _certify(config=CropsConfig(CONFIG.metrics))["params"] == {"num_crops": 5}


def test_certificate_fits_its_schema_and_says_params_dtype_and_seed() -> None:
    certificate = _certify()
    assert find_faults("certificate", certificate) == []
    assert certificate["params"] == {}
    assert (certificate["dtype"], certificate["seed"]) == ("float32", 0)
    assert certificate["metrics"]["cross_entropy"]["direction"] == "min"
