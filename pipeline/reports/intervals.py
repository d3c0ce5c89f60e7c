"""How sure a difference of two results is: 95 % intervals of means of differences, paired by sample and by seed."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

import numpy as np

CONFIDENCE = 0.95
_NUM_RESAMPLES = 4000
_NUM_DRAWN = 2**20  # numbers that are drawn at once
_NUM_AT_ONCE = 256  # resamples that are drawn at once
_MAX_SAMPLES = 20_000  # above, the mean is as good as normal, and resampling takes seconds
_NORMAL_QUANTILE = 1.959964  # of (1 + CONFIDENCE) / 2


@dataclass(frozen=True)
class Interval:
    """What the difference may well be, were there other samples, or seeds, of the same kind."""

    low: float
    high: float
    num_samples: int  # paired; 0 where only the metrics of seeds were
    num_seeds: int
    num_differing: int = 0  # samples whose scores differ
    sample_width: float = 0.0  # half of the width that the choice of samples alone makes
    seed_width: float = 0.0  # the same of seeds


def resample_pairs(differences: Sequence[np.ndarray]) -> list[Interval]:
    """Return the interval of the mean of each (seeds, samples) float64, of two samples or more.

    Samples are drawn with replacement, each with the mean of its seeds, by a paired bootstrap (Efron 1979); the
    interval is between the percentiles. Where there are several seeds, it is wider by the t interval of their means: a
    bootstrap of two or three would be far too narrow. The same draws serve all that have as many samples, so that a
    thousand take hardly longer than one, and each comes to the same, but for the last bits, whatever else is asked for.
    """
    edges: dict[int, tuple[float, float]] = {}
    by_size: dict[int, list[int]] = {}
    for place, values in enumerate(differences):
        by_size.setdefault(values.shape[1], []).append(place)
    for size, places in by_size.items():
        averaged = np.stack([differences[place].mean(axis=0) for place in places])
        found = _resample(averaged) if size <= _MAX_SAMPLES else _approximate(averaged)
        edges |= {place: (low, high) for place, low, high in zip(places, *found.tolist(), strict=True)}
    return [_widen(values, *edges[place]) for place, values in enumerate(differences)]


def pair_seeds(ours: Sequence[float], theirs: Sequence[float]) -> Interval | None:
    """Return the interval of the mean difference of a metric over two seeds or more, each paired with itself, by t.

    None where all differ by the same: how much seeds scatter is not known then.
    """
    differences = np.subtract(ours, theirs)
    width = _find_seed_width(differences)
    mean = float(differences.mean())
    return Interval(mean - width, mean + width, 0, len(differences), seed_width=width) if width else None


def _widen(values: np.ndarray, low: float, high: float) -> Interval:
    num_seeds, num_samples = values.shape
    mean = float(values.mean())
    below, above = max(0.0, mean - low), max(0.0, high - mean)
    seed_width = _find_seed_width(values.mean(axis=1)) if num_seeds > 1 else 0.0
    return Interval(
        mean - hypot(below, seed_width),
        mean + hypot(above, seed_width),
        num_samples,
        num_seeds,
        int(values.any(axis=0).sum()),
        (below + above) / 2,
        seed_width,
    )


def _find_seed_width(means: np.ndarray) -> float:
    """Return half of the width of the t interval of the mean of one number a seed."""
    special = importlib.import_module("scipy.special")  # slow, and few reports need it; scipy.stats is much slower
    error = means.std(ddof=1) / len(means) ** 0.5
    return float(special.stdtrit(len(means) - 1, (1 + CONFIDENCE) / 2) * error)


def _resample(values: np.ndarray) -> np.ndarray:
    """Return (2, comparisons): the percentiles of means of resamples of (comparisons, samples)."""
    num_samples = values.shape[1]
    generator = np.random.default_rng(num_samples)
    means = np.empty((len(values), _NUM_RESAMPLES))
    at_once = max(1, min(_NUM_AT_ONCE, _NUM_DRAWN // num_samples))
    for start in range(0, _NUM_RESAMPLES, at_once):
        some = means[:, start : start + at_once]
        drawn = generator.integers(0, num_samples, (some.shape[1], num_samples))
        drawn += np.arange(len(drawn))[:, None] * num_samples
        weights = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape) / num_samples
        some[:] = values @ weights.T
    edges = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    found: np.ndarray = np.quantile(means, edges, axis=1, overwrite_input=True)  # row by row, as they lie in memory
    return found


def _approximate(values: np.ndarray) -> np.ndarray:
    """Return the same of samples too many to draw."""
    mean, error = values.mean(axis=1), values.std(axis=1, ddof=1) / values.shape[1] ** 0.5
    return np.stack([mean - _NORMAL_QUANTILE * error, mean + _NORMAL_QUANTILE * error])
