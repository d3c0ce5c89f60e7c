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


def test_interval_is_wider_by_that_of_the_seeds_when_they_disagree() -> None:
    values, means = draw(1, 500), np.array([[-1.0], [0.0], [0.5], [1.0]])
    (alone,) = resample_pairs([values])
    (agreeing,) = resample_pairs([np.repeat(values, 4, axis=0)])
    (disagreeing,) = resample_pairs([values + means])
    seeds = pair_seeds(means.flatten().tolist(), [0.0] * 4)
    assert (agreeing.low, agreeing.high, agreeing.num_seeds) == pytest.approx((alone.low, alone.high, 4))
    assert seeds is not None
    assert disagreeing.seed_width == pytest.approx(seeds.seed_width)
    assert disagreeing.sample_width == pytest.approx(alone.sample_width)
    mean = values.mean() + means.mean()
    assert disagreeing.high - mean == pytest.approx(np.hypot(alone.high - values.mean(), seeds.seed_width))


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_interval_of_few_seeds_holds_the_truth_as_often_as_it_says(num_seeds: int) -> None:
    generator = np.random.default_rng(num_seeds)
    shape = (300, num_seeds, 200)
    differences = generator.normal(0, 0.01, (*shape[:2], 1)) + generator.normal(0, 0.05, shape)
    share = np.mean([found.low <= 0 <= found.high for found in resample_pairs(list(differences))])
    assert share > 0.93


def test_interval_is_the_same_whatever_else_is_asked_for() -> None:
    asked = [draw(1, 50), draw(3, 50), draw(1, 50, 1.0), draw(1, 80)]
    together = resample_pairs(asked)
    for values, found in zip(asked, together, strict=True):
        (alone,) = resample_pairs([values])
        assert (alone.low, alone.high) == pytest.approx((found.low, found.high), rel=1e-12)
    assert resample_pairs([]) == []


def test_many_samples_have_the_interval_that_few_of_them_would(monkeypatch: pytest.MonkeyPatch) -> None:
    values = draw(1, 2000)
    (resampled,) = resample_pairs([values])
    monkeypatch.setattr(intervals, "_MAX_SAMPLES", 1000)
    (normal,) = resample_pairs([values])
    assert (normal.low, normal.high) == pytest.approx((resampled.low, resampled.high), abs=0.1 * resampled.sample_width)
    assert resample_pairs([values, values + 1])[0] == normal


def test_equal_results_have_an_interval_of_nothing() -> None:
    (found,) = resample_pairs([np.zeros((1, 30))])
    assert (found.low, found.high, found.num_differing) == (0, 0, 0)


def test_seeds_are_paired_as_scipy_does() -> None:
    ours, theirs = [0.9, 0.92, 0.88, 0.91], [0.89, 0.9, 0.875, 0.902]
    found, expected = pair_seeds(ours, theirs), stats.ttest_rel(ours, theirs).confidence_interval(CONFIDENCE)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.num_samples, found.num_seeds) == (0, 4)


def test_seeds_that_differ_by_the_same_have_no_interval() -> None:
    assert pair_seeds([0.75, 0.5], [0.5, 0.25]) is None
