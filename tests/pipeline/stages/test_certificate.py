"""What a certificate tells apart, and what it does not."""

from typing import Any

import torch
from torch import Tensor, nn

from common import engine
from common.dataset import Batch
from common.evaluator import Config, Evaluator, Metric, Predictions, accuracy
from common.loader import Loader
from experiments.worst_class.evaluator import WorstClassEvaluator
from pipeline.stages.certificate import build_certificate
from pipeline.validation import find_faults


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


def _certify(evaluator_class: type[Evaluator] = Evaluator, rows: tuple[int, ...] = (0, 1, 2, 3), **changes: Any) -> Any:
    ids = torch.tensor(rows)
    predictions = Predictions(torch.eye(4)[ids], ids % 2, ids)._replace(**changes)
    test = Batch(torch.ones(4, 1, 2, 2), torch.arange(4) % 2, torch.arange(4))
    evaluator = evaluator_class(Config(), engine.Config(device="cpu"))
    return build_certificate(evaluator, predictions, test, {"evaluate": {"calibration_bins": 10}})


def test_procedure_is_the_same_when_a_subclass_only_adds_metrics() -> None:
    ours, theirs = _certify(WorstClassEvaluator), _certify()
    assert ours["procedure_sha256"] == theirs["procedure_sha256"]
    assert {name: ours["metrics"][name] for name in theirs["metrics"]} == theirs["metrics"]
    assert "worst_class_recall" in ours["metrics"]


def test_procedure_differs_when_a_subclass_predicts_otherwise() -> None:
    assert _certify(DoublingEvaluator)["procedure_sha256"] != _certify()["procedure_sha256"]


def test_procedure_differs_when_a_method_that_it_calls_does() -> None:
    assert _certify(FourTimesEvaluator)["procedure_sha256"] != _certify(ThriceEvaluator)["procedure_sha256"]


def test_definition_is_that_of_the_function_not_of_its_name() -> None:
    class Renaming(Evaluator):
        """Calls the accuracy by another name."""

        def metrics(self) -> dict[str, Metric]:
            """Return the metrics by name."""
            return {"hits": Metric(accuracy, "max", "fraction")}

    definition = _certify(Renaming)["metrics"]["hits"]["definition_sha256"]
    assert definition == _certify()["metrics"]["accuracy"]["definition_sha256"]
    assert definition != _certify()["metrics"]["cross_entropy"]["definition_sha256"]


def test_samples_are_the_same_when_predicted_in_another_order() -> None:
    assert _certify(rows=(2, 0, 3, 1))["test"] == _certify()["test"]


def test_samples_differ_when_one_is_left_out() -> None:
    assert _certify(rows=(0, 1, 2))["test"]["num_samples"] == 3
    assert _certify(rows=(0, 1, 2))["test"]["ids_sha256"] != _certify()["test"]["ids_sha256"]


def test_targets_differ_when_a_label_does() -> None:
    relabelled = _certify(targets=torch.tensor([0, 1, 0, 0]))["test"]
    assert relabelled["targets_sha256"] != _certify()["test"]["targets_sha256"]
    assert relabelled["ids_sha256"] == _certify()["test"]["ids_sha256"]


def test_certificate_fits_its_schema_and_says_params_dtype_and_seed() -> None:
    certificate = _certify()
    assert find_faults("certificate", certificate) == []
    assert certificate["params"] == {"calibration_bins": 10}
    assert (certificate["dtype"], certificate["seed"]) == ("float32", 0)
    assert certificate["metrics"]["cross_entropy"]["direction"] == "min"
