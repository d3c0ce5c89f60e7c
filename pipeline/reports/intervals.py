"""How sure a difference of two results is: 95 % intervals of means of differences, paired by sample and by seed."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
_NUM_RESAMPLES = 4000
_NUM_DRAWN = 2**20  # numbers that are drawn at once
_NUM_AT_ONCE = 256  # comparisons whose resamples are sorted at once
_MAX_SAMPLES = 20_000  # above, the mean is as good as normal, and resampling takes seconds


@dataclass(frozen=True)
class Interval:
    """What the difference may well be, were there other samples, or seeds, of the same kind."""

    low: float
    high: float
    num_samples: int  # paired; 0 where only the metrics of seeds were
    num_seeds: int

    @property
    def half_width(self) -> float:
        """Half of its width."""
        return (self.high - self.low) / 2


def resample_pairs(differences: Sequence[np.ndarray]) -> list[Interval]:
    """Return the interval of the mean of each (seeds, samples) float64, by a paired bootstrap (Efron 1979).

    Samples, and seeds where there are several, are drawn with replacement; the interval is between the percentiles. The
    same draws serve all that have as many of both, so that a thousand take hardly longer than one, and each comes to
    the same, but for the last bits, whatever else is asked for.
    """
    found: dict[int, Interval] = {}
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for place, values in enumerate(differences):
        by_shape.setdefault(values.shape, []).append(place)
    for shape, places in by_shape.items():
        stacked = np.stack([differences[place] for place in places])
        means = _draw_means(stacked) if shape[1] <= _MAX_SAMPLES else _draw_normal(stacked)
        for start in range(0, len(places), _NUM_AT_ONCE):
            some = slice(start, start + _NUM_AT_ONCE)
            edges = np.quantile(means[:, some], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
            for place, low, high in zip(places[some], *edges.tolist(), strict=True):
                found[place] = Interval(low, high, shape[1], shape[0])
    return [found[place] for place in range(len(differences))]


def pair_seeds(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Return the interval of the mean difference of a metric over two seeds or more, each paired with itself, by t."""
    differences = np.subtract(ours, theirs)
    mean, error = differences.mean(), differences.std(ddof=1) / len(differences) ** 0.5
    special = importlib.import_module("scipy.special")  # slow, and few reports need it; scipy.stats is much slower
    half_width = special.stdtrit(len(differences) - 1, (1 + CONFIDENCE) / 2) * error
    return Interval(float(mean - half_width), float(mean + half_width), 0, len(differences))


def _draw_means(values: np.ndarray) -> np.ndarray:
    """Return (resamples, comparisons): means of resamples of (comparisons, seeds, samples)."""
    _, num_seeds, num_samples = values.shape
    generator = np.random.default_rng((num_seeds, num_samples))
    means = np.empty((_NUM_RESAMPLES, len(values)))
    at_once = max(1, min(_NUM_AT_ONCE, _NUM_DRAWN // num_samples))
    for start in range(0, _NUM_RESAMPLES, at_once):
        some = means[start : start + at_once]
        samples = _draw_weights(generator, len(some), num_samples)
        seeds = _draw_weights(generator, len(some), num_seeds) if num_seeds > 1 else np.ones((len(some), 1))
        by_seed = np.tensordot(samples, values, axes=(1, 2))
        np.einsum("rs,rcs->rc", seeds, by_seed, out=some)
    return means


def _draw_normal(values: np.ndarray) -> np.ndarray:
    """Return the same of samples too many to draw: their mean is as good as normal."""
    _, num_seeds, num_samples = values.shape
    generator = np.random.default_rng((num_seeds, num_samples))
    by_seed = values.mean(axis=2)
    seeds = _draw_weights(generator, _NUM_RESAMPLES, num_seeds) if num_seeds > 1 else np.ones((_NUM_RESAMPLES, 1))
    error = values.mean(axis=1).std(axis=1, ddof=1) / num_samples**0.5
    return np.asarray(seeds @ by_seed.T + generator.standard_normal((_NUM_RESAMPLES, len(values))) * error)


def _draw_weights(generator: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Return (count, size): how often each of `size` things is drawn in `size` draws, as shares."""
    drawn = generator.integers(0, size, (count, size)) + np.arange(count)[:, None] * size
    return np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size) / size
