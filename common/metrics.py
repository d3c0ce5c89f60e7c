"""Metrics: numbers computed from predictions, by a function of ours or by a class of torchmetrics that params name."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torchmetrics
from torch import Tensor
from torchmetrics import classification, regression

from common.config import MetricChoice
from common.dataset import NO_CLASS

_TASKS = ("Binary", "Multiclass", "Multilabel")


class Predictions(NamedTuple):
    """What the model said of every test sample, on the CPU."""

    logits: Tensor  # (samples, classes), or (samples, classes, …) with places, as pixels, that have a class each
    targets: Tensor  # (samples, …) class indices, or NO_CLASS; as logits, of 0 and 1, where there may be several
    ids: Tensor  # (samples,)

    @property
    def has_one_class(self) -> bool:
        """Say whether each sample, or each place in it, has one class."""
        return self.targets.ndim == self.logits.ndim - 1 and not self.targets.is_floating_point()


class Metric(NamedTuple):
    """A number computed from predictions, and how to read it."""

    function: Callable[[Predictions, Any], float]  # of the predictions and the evaluator's config
    direction: Literal["max", "min"]
    unit: str
    per_sample: Callable[[Predictions, Any], Tensor] | None = None  # (samples,) scores that the number summarises


class MetricError(ValueError):
    """A metric cannot be computed; the message names it."""


@dataclass(frozen=True)
class TorchMetric:
    """A class of torchmetrics and its arguments: the function of a metric that params name."""

    class_name: str
    arguments: Mapping[str, Any]

    def __call__(self, predictions: Predictions, config: Any) -> float:
        """Return what the class computes. Raises MetricError where that is not one number."""
        metric = _find_class(self.class_name)(**self.fill(predictions))
        metric.update(self.scores(predictions), predictions.targets)
        value = metric.compute()
        if not isinstance(value, Tensor) or value.numel() != 1:
            found = f"{value.numel()} numbers" if isinstance(value, Tensor) else "no number"
            raise MetricError(f"{self.class_name} gives {found}, wanted one; an average gives one")
        return float(value)

    def fill(self, predictions: Predictions) -> dict[str, Any]:
        """Return the arguments; num_classes, num_labels, ignore_index come from the data where they are absent."""
        parameters = inspect.signature(_find_class(self.class_name)).parameters
        sizes = {name: predictions.logits.shape[1] for name in ("num_classes", "num_labels") if name in parameters}
        if "ignore_index" in parameters and predictions.has_one_class and (predictions.targets == NO_CLASS).any():
            sizes["ignore_index"] = NO_CLASS
        lists = {key: list(value) if isinstance(value, tuple) else value for key, value in self.arguments.items()}
        return {**sizes, **lists}

    def scores(self, predictions: Predictions) -> Tensor:
        """Return the predictions as classes for this task take them: probabilities, or for regression the outputs.

        In double precision: the most likely class of the logits is then that of the probabilities, too.
        """
        outputs = predictions.logits.double()
        if self.class_name.startswith("Multiclass"):
            return outputs.softmax(dim=1)
        if self.class_name.startswith("Multilabel"):
            return outputs.sigmoid()
        if self.class_name.startswith("Binary"):
            return outputs.softmax(dim=1)[:, 1] if outputs.shape[1] == 2 else outputs.sigmoid().squeeze(1)
        return outputs.squeeze(1) if predictions.targets.ndim < outputs.ndim else outputs


def build_metric(name: str, choice: MetricChoice) -> Metric:
    """Return the metric that params call `name`; `direction` and `unit` are taken from its class where absent.

    `Accuracy` and the like, which torchmetrics splits by task, mean that of the choice's `task`, or `Multiclass...`.
    Raises MetricError where there is no such class, or nobody says which way is better.
    """
    arguments = dict(choice)
    class_name, unit, direction = (arguments.pop(key, None) for key in ("name", "unit", "direction"))
    if not class_name:
        raise MetricError(f"metric '{name}' has no 'name': which class of torchmetrics is it?")
    try:
        if not class_name.startswith(_TASKS) and "task" in inspect.signature(_find_class(class_name)).parameters:
            class_name = arguments.pop("task", "multiclass").capitalize() + class_name
        found = _find_class(class_name)
    except LookupError as error:
        raise MetricError(f"metric '{name}': {error.args[0]}") from None
    if direction is None and found.higher_is_better is None:
        raise MetricError(f"metric '{name}': torchmetrics does not say which way {class_name} is better: set direction")
    is_fraction = (found.plot_lower_bound, found.plot_upper_bound) == (0.0, 1.0)
    return Metric(
        TorchMetric(class_name, arguments),
        direction or ("max" if found.higher_is_better else "min"),
        ("fraction" if is_fraction else "") if unit is None else unit,
    )


def _find_class(class_name: str) -> type[torchmetrics.Metric]:
    for module in (classification, regression):
        if class_name in module.__all__:
            found: type[torchmetrics.Metric] = getattr(module, class_name)
            return found
    raise LookupError(f"torchmetrics has no class '{class_name}' of classification or regression")
