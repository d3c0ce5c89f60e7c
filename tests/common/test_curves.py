"""Curves against answers found by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_auroc

from common.curves import RATES, RECALLS, Curves, Row
from common.metrics import Predictions


def _curves(probabilities: list[list[float]] | Tensor, targets: list[int]) -> Curves:
    logits = torch.as_tensor(probabilities).log()
    return Curves(Predictions(logits, torch.tensor(targets), torch.arange(len(targets))))


def _column(rows: list[Row], name: str) -> list[float]:
    return [row[name] for row in rows]


def test_reliability_has_the_means_of_each_bin_that_is_not_empty() -> None:
    curves = _curves([[0.75, 0.25], [0.78, 0.22], [0.05, 0.95], [1.0, 0.0]], [0, 1, 1, 0])
    assert curves.reliability() == [
        {"confidence": pytest.approx(0.765), "accuracy": 0.5, "num_samples": 2},
        {"confidence": pytest.approx(0.975), "accuracy": 1.0, "num_samples": 2},
    ]


def test_roc_is_the_average_over_classes_of_hits_before_false_alarms() -> None:
    # class 0, the likeliest first: hit, miss, hit; class 1 the other way round: miss, hit, miss
    curves = _curves([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [0, 1, 0])
    rates = _column(curves.roc(), "true_positive_rate")
    assert _column(curves.roc(), "false_positive_rate") == RATES.tolist()
    # of class 0 one half is found before the only false alarm; of class 1 all after one of the two
    assert (RATES[70], RATES[71]) == (pytest.approx(0.49), pytest.approx(0.5041))
    assert (rates[0], rates[70], rates[71], rates[100]) == (0.25, 0.25, 0.75, 1.0)


def test_roc_has_the_area_that_torchmetrics_finds() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities, targets = torch.rand(200, 5, generator=generator).softmax(1), torch.arange(200) % 5
    roc = _curves(probabilities, targets.tolist()).roc()
    area = np.trapezoid(_column(roc, "true_positive_rate"), _column(roc, "false_positive_rate"))
    assert area == pytest.approx(multiclass_auroc(probabilities, targets, 5).item(), abs=0.005)


def test_precision_is_the_best_that_has_at_least_the_recall() -> None:
    # class 1, the likeliest first: hit, miss, hit, hit: precisions 1, 1/2, 2/3, 3/4 at recalls 1/3, 1/3, 2/3, 1
    logits = torch.tensor([[4.0], [3.0], [2.0], [1.0]])
    targets = torch.tensor([[1], [0], [1], [1]])
    rows = Curves(Predictions(logits, targets, torch.arange(4))).precision_recall()
    assert _column(rows, "recall") == RECALLS.tolist()
    precisions = _column(rows, "precision")
    assert (precisions[0], precisions[33], precisions[34], precisions[100]) == (1.0, 1.0, 0.75, 0.75)


def test_recall_of_so_many_hundredths_is_reached_by_as_many_of_a_hundred() -> None:
    # hits and misses in turns: of 100 hits, the nth comes at a precision of n / (2n - 1)
    logits, targets = -torch.arange(200.0)[:, None], (torch.arange(200) % 2 == 0).long()[:, None]
    rows = Curves(Predictions(logits, targets, torch.arange(200))).precision_recall()
    assert _column(rows, "precision")[1:] == pytest.approx([n / (2 * n - 1) for n in range(1, 101)])


def test_equal_probabilities_are_one_threshold() -> None:
    rows = Curves(
        Predictions(torch.zeros(4, 1), torch.tensor([[1], [0], [0], [0]]), torch.arange(4))
    ).precision_recall()
    assert set(_column(rows, "precision")) == {0.25}


def test_perfect_curves_are_perfect() -> None:
    curves = _curves(torch.eye(3) * 0.9 + 0.05, [0, 1, 2])
    assert set(_column(curves.roc(), "true_positive_rate")) == {1.0}
    assert set(_column(curves.precision_recall(), "precision")) == {1.0}


def test_a_class_without_samples_does_not_count() -> None:
    probabilities, targets = torch.rand(20, 3).softmax(1), torch.arange(20) % 2
    without = _curves(probabilities, targets.tolist())
    pairs = torch.nn.functional.one_hot(targets, 2)
    # the same two classes, each against the rest, with no third one
    two = Curves(Predictions(torch.logit(probabilities[:, :2]), pairs, torch.arange(20)))
    assert _column(without.roc(), "true_positive_rate") == pytest.approx(_column(two.roc(), "true_positive_rate"))


def test_there_are_no_curves_of_one_class_alone() -> None:
    curves = _curves([[0.9, 0.1], [0.8, 0.2]], [0, 0])
    assert (curves.roc(), curves.precision_recall()) == ([], [])


def test_curves_have_few_points_when_there_are_many_samples() -> None:
    curves = _curves(torch.rand(5000, 2).softmax(1), [0, 1] * 2500)
    assert all(len(rows) <= 200 for rows in (curves.reliability(), curves.roc(), curves.precision_recall()))
