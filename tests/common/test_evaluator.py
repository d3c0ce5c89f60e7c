"""Metrics against answers found by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from common import engine
from common.evaluator import Config, Evaluator, Predictions, accuracy, calibration_error, cross_entropy
from tests.datasets import make_dataset, make_loader

CONFIG = Config()


class Diagonal(nn.Module):
    """Takes the dot's place for the class: never wrong on dots."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits of shape (batch, 3)."""
        return inputs[:, 0].diagonal(dim1=1, dim2=2)[:, :3]


def _predictions(probabilities: list[list[float]], targets: list[int]) -> Predictions:
    return Predictions(torch.tensor(probabilities).log(), torch.tensor(targets), torch.arange(len(targets)))


def _make_evaluator() -> Evaluator:
    return Evaluator(CONFIG, engine.Config(device="cpu"))


def test_accuracy_is_the_fraction_of_hits() -> None:
    predictions = _predictions([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.1, 0.8], [0.6, 0.3, 0.1]], [0, 1, 2, 2])
    assert accuracy(predictions, CONFIG) == 0.75


def test_accuracy_counts_samples_not_classes_when_classes_are_uneven() -> None:
    predictions = _predictions([[0.9, 0.1]] * 9 + [[0.9, 0.1]], [0] * 9 + [1])
    assert accuracy(predictions, CONFIG) == pytest.approx(0.9)


def test_cross_entropy_is_the_mean_negative_log_likelihood() -> None:
    predictions = _predictions([[0.5, 0.5], [0.75, 0.25]], [0, 0])
    assert cross_entropy(predictions, CONFIG) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_calibration_error_weighs_the_gap_of_each_bin_by_its_samples() -> None:
    # two samples 75 % sure, one of them right; two samples 95 % sure, both right
    predictions = _predictions([[0.75, 0.25]] * 2 + [[0.95, 0.05]] * 2, [0, 1, 0, 0])
    assert calibration_error(predictions, Config(calibration_bins=10)) == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)


def test_calibration_error_is_the_gap_of_the_means_when_there_is_one_bin() -> None:
    predictions = _predictions([[0.75, 0.25]] * 2 + [[0.95, 0.05]] * 2, [0, 1, 0, 0])
    assert calibration_error(predictions, Config(calibration_bins=1)) == pytest.approx(0.85 - 0.75)


def test_confusion_counts_targets_by_row_and_predictions_by_column() -> None:
    predictions = _predictions([[0.7, 0.3], [0.7, 0.3], [0.7, 0.3], [0.3, 0.7]], [0, 1, 1, 1])
    assert _make_evaluator().confusion(predictions).tolist() == [[1, 0], [2, 1]]


def test_every_test_sample_is_predicted_and_carries_its_id() -> None:
    test = make_dataset().test
    predictions = _make_evaluator().evaluate(Diagonal(), make_loader(test, batch_size=5))
    assert torch.equal(predictions.ids, test.tensors[2])
    assert torch.equal(predictions.targets, predictions.ids % 3)
    assert torch.equal(predictions.logits.argmax(dim=1), predictions.targets)


def test_metrics_of_a_perfect_model_are_perfect() -> None:
    evaluator = _make_evaluator()
    predictions = evaluator.evaluate(Diagonal(), make_loader(make_dataset().test))
    assert evaluator.metrics()["accuracy"].compute(predictions, CONFIG) == 1.0


def test_each_metric_says_which_way_is_better() -> None:
    directions = {name: metric.direction for name, metric in _make_evaluator().metrics().items()}
    assert directions == {"accuracy": "max", "cross_entropy": "min", "calibration_error": "min"}
