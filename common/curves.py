"""Curves of a classifier, as few points as a plot needs: calibration, ROC, and precision over recall.

Where places of samples have classes, as pixels do, a place counts as a sample.
ROC and precision-recall are averages over classes, each against the rest; a class that no sample has, or that all have,
does not count.
"""

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from common.dataset import NO_CLASS
from common.metrics import Predictions

Row = dict[str, float]
Array = npt.NDArray[Any]
NUM_BINS = 10
# Where classifiers differ is at few false positives: the points lie the closer, the nearer to 0.
RATES = np.linspace(0, 1, 101) ** 2
RECALLS = np.linspace(0, 1, 101)
MAX_PLACES = 2**17  # of samples that count; of more, so many that are drawn


class Curves:
    """The curves of predictions of one class a sample, or of several."""

    def __init__(self, predictions: Predictions) -> None:
        logits, targets = list_places(predictions)
        logits = logits.double()
        if targets.ndim == 1:
            self._probabilities, self._hits = logits.softmax(dim=1), one_hot(targets, logits.shape[1]).bool()
            best = self._probabilities.argmax(dim=1, keepdim=True)
            self._confidences, self._is_right = (t.gather(1, best)[:, 0] for t in (self._probabilities, self._hits))
        else:
            self._probabilities, self._hits = logits.sigmoid(), targets.bool()
            self._confidences, self._is_right = self._probabilities.flatten(), self._hits.flatten()

    def reliability(self) -> list[Row]:
        """Return the mean confidence and the accuracy of the samples in each bin of confidences; none if it is empty.

        The bins have equal width. The confidence is that in the most likely class, or with several classes a sample
        that in each of them.
        """
        bins = (self._confidences * NUM_BINS).long().clamp(max=NUM_BINS - 1)
        counts = torch.bincount(bins, minlength=NUM_BINS)
        sums = [torch.bincount(bins, weights, minlength=NUM_BINS) for weights in (self._confidences, self._is_right)]
        rows = zip(*(column.tolist() for column in (counts, *sums)), strict=True)
        return [{"confidence": c / n, "accuracy": right / n, "num_samples": n} for n, c, right in rows if n]

    def roc(self) -> list[Row]:
        """Return the true positive rate over the false positive rate."""
        curves = []
        for true, false in self._counts:
            rates, true_rates = (np.append(0, counts / counts[-1]) for counts in (false, true))
            curves.append(np.interp(RATES, rates, true_rates))
        return _average("false_positive_rate", RATES, "true_positive_rate", curves)

    def precision_recall(self) -> list[Row]:
        """Return the best precision that has at least each recall, as COCO interpolates it."""
        curves = []
        for true, false in self._counts:
            best = np.maximum.accumulate((true / (true + false))[::-1])[::-1]
            wanted = np.ceil(RECALLS * true[-1] - 1e-9)  # true positives: 0.57 of 100 are 57, but not of floats
            curves.append(best[np.searchsorted(true, wanted)])
        return _average("recall", RECALLS, "precision", curves)

    @cached_property
    def _counts(self) -> list[tuple[Array, Array]]:
        """The true and the false positives of each class at each threshold, the highest first.

        Of classes that some samples have and others do not.
        """
        counts = []
        for probabilities, hits in zip(self._probabilities.T.numpy(), self._hits.T.numpy(), strict=True):
            if 0 < hits.sum() < len(hits):
                counts.append(_count_positives(probabilities, hits))
        return counts


def list_places(predictions: Predictions) -> tuple[Tensor, Tensor]:
    """Return logits (places, classes), and targets (places,) or as logits, of the places that have a class."""
    logits, targets = predictions.logits, predictions.targets
    if logits.ndim == 2:
        return logits, targets
    logits = logits.movedim(1, -1).flatten(0, -2)
    targets = targets.flatten() if predictions.has_one_class else targets.movedim(1, -1).flatten(0, -2)
    kept = torch.arange(len(targets))
    if len(kept) > MAX_PLACES:  # by chance: even distances would be those of some columns of an image
        kept = torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))[:MAX_PLACES].sort().values
    if predictions.has_one_class:
        kept = kept[targets[kept] != NO_CLASS]
    return logits[kept], targets[kept]


def _count_positives(scores: Array, hits: Array) -> tuple[Array, Array]:
    """Return how many hits, and how many others, have at least each score that occurs, the highest first."""
    order = np.argsort(-scores)
    ends = np.append(np.diff(scores[order]) != 0, True)  # equal scores are one threshold
    true = np.cumsum(hits[order])[ends]
    return true, np.flatnonzero(ends) + 1 - true


def _average(x: str, points: Array, y: str, curves: list[Array]) -> list[Row]:
    if not curves:
        return []
    values = np.mean(curves, axis=0)
    return [{x: point, y: value} for point, value in zip(points.tolist(), values.tolist(), strict=True)]
