"""Adds metrics that an average over samples hides. The inherited ones keep their meaning."""

from torchmetrics.functional.classification import multiclass_f1_score, multiclass_recall

from common.evaluator import Config, Evaluator, Metric, Predictions


def macro_f1(predictions: Predictions, config: Config) -> float:
    """Return the F1 score averaged over classes."""
    num_classes = predictions.logits.shape[1]
    return multiclass_f1_score(predictions.logits, predictions.targets, num_classes, average="macro").item()


def worst_class_recall(predictions: Predictions, config: Config) -> float:
    """Return the recall of the class that is found least often."""
    num_classes = predictions.logits.shape[1]
    return multiclass_recall(predictions.logits, predictions.targets, num_classes, average="none").min().item()


class WorstClassEvaluator(Evaluator):
    """The common evaluation and two metrics more."""

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics by name."""
        return {
            **super().metrics(),
            "macro_f1": Metric(macro_f1, "max", "fraction"),
            "worst_class_recall": Metric(worst_class_recall, "max", "fraction"),
        }
