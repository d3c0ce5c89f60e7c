"""The common evaluation: what it predicts, its own metrics, and those that params name."""

import math

import pytest
import torch
from torch import Tensor, nn

from common import engine
from common.evaluator import Config, Evaluator, Metric, Predictions, correct, cross_entropies, cross_entropy
from tests.datasets import make_dataset, make_loader

CONFIG = Config({"accuracy": {"name": "MulticlassAccuracy", "average": "micro"}})


class Diagonal(nn.Module):
    """Takes the dot's place for the class: never wrong on dots."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits of shape (batch, 3)."""
        return inputs[:, 0].diagonal(dim1=1, dim2=2)[:, :3]


def num_samples(predictions: Predictions, config: Config) -> float:
    """Return how many samples there are."""
    return len(predictions.ids)


class Counting(Evaluator):
    """Adds the number of samples."""

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics by name."""
        return {**super().metrics(), "num_samples": Metric(num_samples, "max", "samples")}


def _predictions(probabilities: list[list[float]], targets: list[int]) -> Predictions:
    return Predictions(torch.tensor(probabilities).log(), torch.tensor(targets), torch.arange(len(targets)))


def _make_evaluator(config: Config = CONFIG, evaluator_class: type[Evaluator] = Evaluator) -> Evaluator:
    return evaluator_class(config, engine.Config(device="cpu"))


def test_cross_entropy_is_the_mean_negative_log_likelihood() -> None:
    predictions = _predictions([[0.5, 0.5], [0.75, 0.25]], [0, 0])
    assert cross_entropies(predictions, CONFIG).tolist() == pytest.approx([math.log(2), math.log(4 / 3)])
    assert cross_entropy(predictions, CONFIG) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_sample_is_correct_where_its_target_is_the_most_likely_class() -> None:
    predictions = _predictions([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.6, 0.3, 0.1]], [0, 1, 2])
    assert correct(predictions, CONFIG).tolist() == [1, 1, 0]


def test_every_test_sample_is_predicted_and_carries_its_id() -> None:
    test = make_dataset().test
    predictions = _make_evaluator().evaluate(Diagonal(), make_loader(test, batch_size=5))
    assert torch.equal(predictions.ids, test.tensors[2])
    assert torch.equal(predictions.targets, predictions.ids % 3)
    assert torch.equal(predictions.logits.argmax(dim=1), predictions.targets)


def test_metrics_of_a_perfect_model_are_perfect() -> None:
    evaluator = _make_evaluator()
    predictions = evaluator.evaluate(Diagonal(), make_loader(make_dataset().test))
    assert evaluator.metrics()["accuracy"].function(predictions, CONFIG) == 1.0


def test_metrics_are_ours_and_those_of_the_params() -> None:
    directions = {name: metric.direction for name, metric in _make_evaluator().metrics().items()}
    assert directions == {"cross_entropy": "min", "accuracy": "max"}


def test_metric_of_the_params_replaces_ours_of_the_same_name() -> None:
    config = Config({"cross_entropy": {"name": "MulticlassHingeLoss"}})
    assert _make_evaluator(config).metrics()["cross_entropy"].function is not cross_entropy


@pytest.mark.parametrize(
    ("dropped", "kept"),
    [
        ("accuracy", ["cross_entropy", "num_samples"]),
        ("cross_entropy", ["accuracy", "num_samples"]),
        ("num_samples", ["accuracy", "cross_entropy"]),
    ],
)
def test_metric_is_dropped_when_params_set_it_to_null(dropped: str, kept: list[str]) -> None:
    config = Config({**CONFIG.metrics, dropped: None})
    assert sorted(_make_evaluator(config, Counting).kept_metrics()) == kept


def test_scores_are_of_each_sample() -> None:
    predictions = _predictions([[0.5, 0.5], [0.25, 0.75]], [0, 0])
    scores = _make_evaluator().scores(predictions)
    assert {name: score.tolist() for name, score in scores.items()} == {
        "correct": [1, 0],
        "cross_entropy": pytest.approx([math.log(2), math.log(4)]),
    }


def test_scores_are_those_of_the_metrics_that_are_kept() -> None:
    scores = _make_evaluator(Config({"cross_entropy": None})).scores(_predictions([[0.5, 0.5]], [0]))
    assert list(scores) == ["correct"]


@pytest.mark.parametrize("targets", [torch.tensor([[0, 1], [1, 1]]), torch.tensor([0.5, 1.5])])
def test_no_sample_is_correct_or_not_when_it_has_not_one_class(targets: Tensor) -> None:
    predictions = Predictions(torch.rand(2, 2), targets, torch.arange(2))
    assert "correct" not in _make_evaluator(Config({"cross_entropy": None})).scores(predictions)
