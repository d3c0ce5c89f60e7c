"""Intervals of differences, against those of SciPy and known answers."""

import numpy as np
import pytest
from scipy import stats

from pipeline.reports import intervals
from pipeline.reports.intervals import CONFIDENCE, pair_seeds, resample_pairs


def draw(num_seeds: int, num_samples: int, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, (num_seeds, num_samples))


@pytest.mark.parametrize("kind", ["normal", "skewed", "of three values"])
def test_interval_is_that_of_scipy(kind: str) -> None:
    generator = np.random.default_rng(1)
    values = {
        "normal": generator.normal(0.3, 2, 300),
        "skewed": generator.exponential(1, 300) - 0.8,
        "of three values": generator.choice([-1.0, 0.0, 1.0], 300, p=[0.02, 0.93, 0.05]),
    }[kind]
    (ours,) = resample_pairs([values[None]])
    theirs = stats.bootstrap(
        (values,), np.mean, confidence_level=CONFIDENCE, n_resamples=20_000, method="percentile", random_state=0
    ).confidence_interval
    width = theirs.high - theirs.low
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.05 * width)
    assert (ours.num_samples, ours.num_seeds) == (300, 1)


def test_interval_holds_the_truth_as_often_as_it_says() -> None:
    differences = [draw(1, 100, 0.5, seed) for seed in range(400)]
    share = np.mean([found.low <= 0.5 <= found.high for found in resample_pairs(differences)])
    assert 0.91 < share < 0.98


def test_interval_is_wider_when_seeds_disagree() -> None:
    values = draw(1, 500)
    together = np.repeat(values, 4, axis=0)
    (agreeing,) = resample_pairs([together])
    (disagreeing,) = resample_pairs([together + np.array([[-1.0], [0.0], [0.5], [1.0]])])
    assert agreeing.half_width == pytest.approx(resample_pairs([values])[0].half_width, rel=0.1)
    assert disagreeing.half_width > 4 * agreeing.half_width
    assert disagreeing.num_seeds == 4


def test_interval_is_the_same_whatever_else_is_asked_for() -> None:
    asked = [draw(1, 50), draw(3, 50), draw(1, 50, 1.0), draw(1, 80)]
    together = resample_pairs(asked)
    for values, found in zip(asked, together, strict=True):
        (alone,) = resample_pairs([values])
        assert (alone.low, alone.high) == pytest.approx((found.low, found.high), rel=1e-12)
    assert resample_pairs([]) == []


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_many_samples_have_the_interval_that_few_of_them_would(num_seeds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = draw(num_seeds, 2000) + np.arange(num_seeds)[:, None] / 10
    (resampled,) = resample_pairs([values])
    monkeypatch.setattr(intervals, "_MAX_SAMPLES", 1000)
    (normal,) = resample_pairs([values])
    assert (normal.low, normal.high) == pytest.approx((resampled.low, resampled.high), abs=0.1 * resampled.half_width)


def test_equal_results_have_an_interval_of_nothing() -> None:
    (found,) = resample_pairs([np.zeros((1, 30))])
    assert (found.low, found.high) == (0, 0)


def test_seeds_are_paired_as_scipy_does() -> None:
    ours, theirs = [0.9, 0.92, 0.88, 0.91], [0.89, 0.9, 0.875, 0.902]
    found, expected = pair_seeds(ours, theirs), stats.ttest_rel(ours, theirs).confidence_interval(CONFIDENCE)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.num_samples, found.num_seeds) == (0, 4)
