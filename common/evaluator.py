"""The evaluator component. Override `metrics` to add some: those inherited keep their meaning, and stay comparable.

Override `evaluate` to predict otherwise: that is another procedure, and its results compare with nobody else's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from common import engine
from common.config import MetricChoice
from common.dataset import NO_CLASS
from common.engine import Engine
from common.loader import Loader
from common.metrics import Metric, Predictions, build_metric

__all__ = ["Config", "Evaluator", "Metric", "Predictions", "correct", "cross_entropies", "cross_entropy"]


@dataclass(frozen=True)
class Config:
    """Params of the section `evaluate`."""

    metrics: Mapping[str, MetricChoice | None] = field(default_factory=dict)  # null takes an inherited one away


def cross_entropy(predictions: Predictions, config: Config) -> float:
    """Return the mean negative log-likelihood of the targets, in nats, over samples."""
    values = cross_entropies(predictions, config)
    return values[has_class(predictions)].mean().item() if predictions.has_one_class else values.mean().item()


def cross_entropies(predictions: Predictions, config: Config) -> Tensor:
    """Return the negative log-likelihood of each target, in nats, the mean of its places; of shape (samples,)."""
    logits, targets = predictions.logits.double(), predictions.targets
    values = nn.functional.cross_entropy(logits, targets, reduction="none", ignore_index=NO_CLASS)
    return _average_places(values, targets) if predictions.has_one_class else values


def correct(predictions: Predictions, config: Config) -> Tensor:
    """Return 1 where the most likely class is the target, else 0, the mean of its places; of shape (samples,)."""
    return _average_places((predictions.logits.argmax(dim=1) == predictions.targets).double(), predictions.targets)


def has_class(predictions: Predictions) -> Tensor:
    """Return whether each sample has a class, or a place that has one; of shape (samples,)."""
    has_any = predictions.targets != NO_CLASS
    return has_any.flatten(1).any(dim=1) if has_any.ndim > 1 else has_any


def _average_places(values: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of each sample's places that have a class, 0 where none has; (samples, …) → (samples,)."""
    counted = (targets != NO_CLASS).flatten(1) if targets.ndim > 1 else (targets != NO_CLASS)[:, None]
    return (values.reshape(counted.shape) * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)


class Evaluator(Engine):
    """Runs a built model over the test split and says which metrics to compute."""

    def __init__(self, config: Config, runtime: engine.Config) -> None:
        super().__init__(runtime)
        self.config = config

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics by name: ours and those of the params; an override adds to `super().metrics()`."""
        own = {"cross_entropy": Metric(cross_entropy, "min", "nats", cross_entropies)}
        chosen = {name: build_metric(name, choice) for name, choice in self.config.metrics.items() if choice}
        return {**own, **chosen}

    def kept_metrics(self) -> dict[str, Metric]:
        """Return `metrics()` without those that the params set to null."""
        dropped = {name for name, choice in self.config.metrics.items() if choice is None}
        return {name: metric for name, metric in self.metrics().items() if name not in dropped}

    def evaluate(self, model: nn.Module, test: Loader) -> Predictions:
        """Return the predictions for every sample of the test split."""
        return Predictions(*self.predict(model.to(self.device), test))

    def scores(self, predictions: Predictions) -> dict[str, Tensor]:
        """Return numbers of each sample by name, for statistics on pairs; each of shape (samples,).

        They are `correct`, where samples or places have one class, and those of the metrics that say `per_sample`.
        """
        scores = {"correct": correct(predictions, self.config)} if predictions.has_one_class else {}
        for name, metric in self.kept_metrics().items():
            if metric.per_sample:
                scores[name] = metric.per_sample(predictions, self.config)
        return scores
