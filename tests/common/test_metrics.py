"""Metrics that params name: against answers found by hand, and every class of torchmetrics."""

import math
import re
from typing import Any

import pytest
import torch
from torchmetrics import classification, regression

from common.metrics import MetricError, Predictions, TorchMetric, build_metric

# What a class has to be told, by its name without Multiclass and Multilabel.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "FBetaScore": {"beta": 2.0},
    "BinaryFBetaScore": {"beta": 2.0},
    "CriticalSuccessIndex": {"threshold": 0.5},
    "MinkowskiDistance": {"p": 2.0},
    "EER": {"average": "macro"},
    "LogAUC": {"average": "macro"},
}
# These compute curves, matrices, pairs of a rate and its threshold, or want to know the group of each sample.
NO_NUMBER = re.compile(
    "ROC$|Curve$|Matrix$|StatScores$|AtFixed|AtSens|AtSpec|SensitivityAt|Fairness$|MultilabelEER|GroupStat|Rank"
)
DISTRIBUTIONS = ("CosineSimilarity", "JensenShannonDivergence", "KLDivergence")
CLASSES = [name for name in (*classification.__all__, *regression.__all__) if not NO_NUMBER.search(name)]


def _predictions(probabilities: list[list[float]], targets: list[int]) -> Predictions:
    return Predictions(torch.tensor(probabilities).log(), torch.tensor(targets), torch.arange(len(targets)))


def _compute(predictions: Predictions, name: str, **arguments: Any) -> float:
    return build_metric("m", {"name": name, **arguments}).function(predictions, None)


def _draw(class_name: str) -> Predictions:
    """Return predictions of the form that a class is for."""
    generator = torch.Generator().manual_seed(0)
    num_columns = 2 if class_name.startswith("Binary") else 4
    logits, ids = torch.randn(64, num_columns, generator=generator), torch.arange(64)
    if class_name in regression.__all__:
        num_columns = 4 if class_name in (*DISTRIBUTIONS, "ContinuousRankedProbabilityScore") else 1
        outputs, targets = (torch.rand(64, num_columns, generator=generator) + 0.1 for _ in range(2))
        return Predictions(outputs, targets if class_name in DISTRIBUTIONS else targets[:, 0], ids)
    if class_name.startswith("Multilabel"):
        return Predictions(logits, torch.randint(2, (64, 4), generator=generator), ids)
    return Predictions(logits, torch.randint(num_columns, (64,), generator=generator), ids)


def test_accuracy_is_the_fraction_of_hits() -> None:
    predictions = _predictions([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.1, 0.8], [0.6, 0.3, 0.1]], [0, 1, 2, 2])
    assert _compute(predictions, "MulticlassAccuracy", average="micro") == 0.75


def test_accuracy_counts_samples_not_classes_when_classes_are_uneven() -> None:
    predictions = _predictions([[0.9, 0.1]] * 10, [0] * 9 + [1])
    assert _compute(predictions, "MulticlassAccuracy", average="micro") == pytest.approx(0.9)
    assert _compute(predictions, "MulticlassAccuracy", average="macro") == pytest.approx(0.5)


def test_the_most_likely_class_is_that_of_the_outputs_when_they_nearly_agree() -> None:
    logits = torch.tensor([[0.0, 1e-9]])  # as probabilities in single precision they are equal
    assert _compute(Predictions(logits, torch.tensor([1]), torch.arange(1)), "MulticlassAccuracy") == 1.0


@pytest.mark.parametrize(("num_bins", "expected"), [(10, 0.5 * 0.25 + 0.5 * 0.05), (1, 0.85 - 0.75)])
def test_calibration_error_weighs_the_gap_of_each_bin_by_its_samples(num_bins: int, expected: float) -> None:
    # two samples 75 % sure, one of them right; two samples 95 % sure, both right
    predictions = _predictions([[0.75, 0.25]] * 2 + [[0.95, 0.05]] * 2, [0, 1, 0, 0])
    assert _compute(predictions, "MulticlassCalibrationError", n_bins=num_bins) == pytest.approx(expected)


def test_outputs_are_no_probabilities_when_they_lie_between_0_and_1() -> None:
    predictions = Predictions(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), torch.arange(1))
    expected = 1 - torch.tensor([1.0, 0.0]).softmax(dim=0)[0].item()
    assert _compute(predictions, "MulticlassCalibrationError") == pytest.approx(expected)


def test_a_label_is_found_when_its_own_output_is_positive() -> None:
    logits, targets = torch.tensor([[2.0, 1.0, -1.0]]), torch.tensor([[1, 0, 0]])
    accuracy = _compute(Predictions(logits, targets, torch.arange(1)), "MultilabelAccuracy", average="micro")
    assert accuracy == pytest.approx(2 / 3)


def test_the_second_of_two_classes_is_the_positive_one() -> None:
    predictions = _predictions([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], [0, 1, 0])
    assert _compute(predictions, "BinaryPrecision") == pytest.approx(0.5)


def test_outputs_of_a_regression_are_taken_as_they_are() -> None:
    predictions = Predictions(torch.tensor([[1.0], [5.0]]), torch.tensor([2.0, 3.0]), torch.arange(2))
    assert _compute(predictions, "MeanSquaredError") == pytest.approx((1 + 4) / 2)


@pytest.mark.filterwarnings("ignore:Metric `SpearmanCorrcoef` will save all")
@pytest.mark.parametrize("class_name", CLASSES)
def test_every_class_of_one_number_is_computed_when_params_name_it(class_name: str) -> None:
    needed = ARGUMENTS.get(class_name.removeprefix("Multiclass").removeprefix("Multilabel"), {})
    metric = build_metric("m", {"name": class_name, "direction": "max", **needed})
    assert isinstance(metric.function, TorchMetric)
    assert math.isfinite(metric.function(_draw(metric.function.class_name), None))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"name": "MulticlassAccuracy"}, ("max", "fraction")),
        ({"name": "MulticlassCalibrationError"}, ("min", "fraction")),
        ({"name": "MeanSquaredError"}, ("min", "")),
        ({"name": "MeanSquaredError", "unit": "m²"}, ("min", "m²")),
        ({"name": "MulticlassSpecificity", "direction": "max"}, ("max", "fraction")),
    ],
)
def test_direction_and_unit_are_those_of_the_class_when_they_are_not_given(
    choice: dict[str, Any], expected: tuple[str, str]
) -> None:
    metric = build_metric("m", choice)
    assert (metric.direction, metric.unit) == expected


def test_arguments_are_filled_in_from_the_data_when_they_are_absent() -> None:
    predictions = _draw("MulticlassAccuracy")
    assert TorchMetric("MulticlassAccuracy", {"average": "micro"}).fill(predictions) == {
        "average": "micro",
        "num_classes": 4,
    }
    assert TorchMetric("MulticlassAccuracy", {"num_classes": 9}).fill(predictions) == {"num_classes": 9}
    assert TorchMetric("MultilabelAccuracy", {}).fill(predictions) == {"num_labels": 4}
    assert TorchMetric("MeanSquaredError", {}).fill(predictions) == {}


def test_lists_stay_lists_when_the_config_made_tuples_of_them() -> None:
    filled = TorchMetric("MulticlassAUROC", {"thresholds": (0.1, 0.5)}).fill(_draw("MulticlassAUROC"))
    assert filled["thresholds"] == [0.1, 0.5]


def test_class_without_a_task_means_the_one_for_classes() -> None:
    plain, full = build_metric("m", {"name": "F1Score"}), build_metric("m", {"name": "MulticlassF1Score"})
    assert plain == full
    labels = build_metric("m", {"name": "F1Score", "task": "multilabel"}).function
    assert labels == TorchMetric("MultilabelF1Score", {})


@pytest.mark.parametrize(
    ("choice", "fault"),
    [
        ({"name": "Accurcy"}, "metric 'm': torchmetrics has no class 'Accurcy' of classification or regression"),
        ({"average": "micro"}, "metric 'm' has no 'name': which class of torchmetrics is it?"),
        (
            {"name": "Specificity"},
            "metric 'm': torchmetrics does not say which way MulticlassSpecificity is better: set direction",
        ),
    ],
)
def test_choice_is_refused_in_one_line_when_it_is_no_metric(choice: dict[str, Any], fault: str) -> None:
    with pytest.raises(MetricError) as caught:
        build_metric("m", choice)
    assert str(caught.value) == fault


def test_metric_is_refused_when_it_gives_several_numbers() -> None:
    with pytest.raises(MetricError, match="MulticlassRecall gives 4 numbers, wanted one; an average gives one"):
        _compute(_draw("MulticlassRecall"), "MulticlassRecall", average="none")
    with pytest.raises(MetricError, match="MulticlassRecallAtFixedPrecision gives no number"):
        _compute(_draw("Multiclass"), "MulticlassRecallAtFixedPrecision", min_precision=0.5, direction="max")
