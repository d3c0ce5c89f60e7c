"""Adds a metric that no class of torchmetrics computes. The inherited ones keep their meaning."""

from torchmetrics.functional.classification import multiclass_recall

from common.evaluator import Config, Evaluator, Metric, Predictions


def worst_class_recall(predictions: Predictions, config: Config) -> float:
    """Return the recall of the class that is found least often."""
    num_classes = predictions.logits.shape[1]
    return multiclass_recall(predictions.logits, predictions.targets, num_classes, average="none").min().item()


class WorstClassEvaluator(Evaluator):
    """The common evaluation and one metric more."""

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics by name."""
        return {**super().metrics(), "worst_class_recall": Metric(worst_class_recall, "max", "fraction")}
