"""The evaluator component. Override `metrics` to add some: those inherited keep their meaning, and stay comparable."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, nn
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

from common import engine
from common.engine import Engine
from common.loader import Loader


@dataclass(frozen=True)
class Config:
    """Params of the section `evaluate`."""

    calibration_bins: int = 10


class Predictions(NamedTuple):
    """What the model said of every test sample, on the CPU."""

    logits: Tensor  # (samples, classes)
    targets: Tensor  # (samples,)
    ids: Tensor  # (samples,)


class Metric(NamedTuple):
    """A number computed from predictions, and how to read it."""

    compute: Callable[[Predictions, Config], float]
    direction: Literal["max", "min"]
    unit: str


def accuracy(predictions: Predictions, config: Config) -> float:
    """Return the fraction of samples whose most likely class is the target."""
    num_classes = predictions.logits.shape[1]
    return multiclass_accuracy(predictions.logits, predictions.targets, num_classes, average="micro").item()


def cross_entropy(predictions: Predictions, config: Config) -> float:
    """Return the mean negative log-likelihood of the targets, in nats."""
    return nn.functional.cross_entropy(predictions.logits.double(), predictions.targets).item()


def calibration_error(predictions: Predictions, config: Config) -> float:
    """Return the expected calibration error (Guo et al. 2017, arXiv:1706.04599), 0 … 1."""
    scores = predictions.logits.softmax(dim=1)
    num_classes, num_bins = scores.shape[1], config.calibration_bins
    return multiclass_calibration_error(scores, predictions.targets, num_classes, n_bins=num_bins).item()


class Evaluator(Engine):
    """Runs a built model over the test split and computes its metrics."""

    def __init__(self, config: Config, runtime: engine.Config) -> None:
        super().__init__(runtime)
        self.config = config

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics by name; an override adds to `super().metrics()`."""
        return {
            "accuracy": Metric(accuracy, "max", "fraction"),
            "cross_entropy": Metric(cross_entropy, "min", "nats"),
            "calibration_error": Metric(calibration_error, "min", "fraction"),
        }

    def evaluate(self, model: nn.Module, test: Loader) -> Predictions:
        """Return the predictions for every sample of the test split."""
        return Predictions(*self.predict(model.to(self.device), test))

    def confusion(self, predictions: Predictions) -> Tensor:
        """Return the confusion matrix (target, predicted) of counts."""
        num_classes = predictions.logits.shape[1]
        return multiclass_confusion_matrix(predictions.logits, predictions.targets, num_classes)
