"""Verdicts."""

import pytest

from pipeline.reports.intervals import Interval
from pipeline.reports.judging import judge


@pytest.mark.parametrize(
    ("delta", "low", "high", "direction", "smallest", "verdict", "text"),
    [
        (0.02, 0.01, 0.03, "max", 0.0, "better", "better"),
        (0.02, 0.01, 0.03, "min", 0.0, "worse", "worse"),
        (-0.02, -0.03, -0.01, "min", 0.0, "better", "better"),
        (-0.02, -0.03, -0.01, "max", 0.01, "worse", "worse"),
        (0.004, 0.001, 0.012, "max", 0.01, "better", "better, by less than 0.01"),
        (0.004, 0.001, 0.009, "max", 0.01, "equivalent", "equivalent: less than 0.01 apart"),
        (0.001, -0.002, 0.004, "max", 0.005, "equivalent", "equivalent: less than 0.005 apart"),
        (0.0, 0.0, 0.0, "max", 0.0, "equivalent", "equivalent: the same on every sample"),
        (0.01, 0.0, 0.02, "max", 0.0, "inconclusive", "inconclusive: several seeds would tell more"),
        (0.01, -0.01, 0.03, "max", 0.001, "inconclusive", "inconclusive: several seeds would tell more"),
    ],
)
def test_verdict_follows_the_interval(
    delta: float, low: float, high: float, direction: str, smallest: float, verdict: str, text: str
) -> None:
    judgement = judge(delta, Interval(low, high, 353, 1, 90 if delta else 0), direction, smallest)
    assert (judgement.verdict, judgement.text) == (verdict, text)


@pytest.mark.parametrize(("num", "text"), [(1, "only 1 sample differs"), (5, "only 5 samples differ")])
def test_few_samples_decide_nothing_even_when_all_say_the_same(num: int, text: str) -> None:
    judgement = judge(0.014, Interval(0.003, 0.03, 353, 1, num), "max", 0.0)
    assert (judgement.verdict, judgement.text) == ("inconclusive", f"inconclusive: {text}")


@pytest.mark.parametrize(
    ("delta", "sample_width", "seed_width", "num_seeds", "text"),
    [
        (0.01, 0.0, 0.02, 2, "about 6 more seeds"),  # four times as many for half the width
        (0.01, 0.0, 0.0101, 5, "about 1 more seed"),
        (0.01, 0.006, 0.016, 2, "about 6 more seeds"),  # of the width, 0.006 stays
        (0.01, 0.011, 0.01, 3, "more seeds would hardly tell, more test samples may"),
        (0.0, 0.011, 0.01, 3, "more seeds would hardly tell, more test samples may"),
        (0.0001, 0.0, 0.02, 3, "100 more seeds would hardly tell"),
    ],
)
def test_it_is_said_how_many_seeds_may_decide(
    delta: float, sample_width: float, seed_width: float, num_seeds: int, text: str
) -> None:
    width = (sample_width**2 + seed_width**2) ** 0.5
    interval = Interval(delta - width, delta + width, 353, num_seeds, 353, sample_width, seed_width)
    assert judge(delta, interval, "max", 0.0).text == f"inconclusive: {text}"


def test_reason_is_the_text_when_there_is_no_interval() -> None:
    judgement = judge(0.5, None, "max", 0.0, "no interval: one seed")
    assert (judgement.verdict, judgement.text) == ("unknown", "no interval: one seed")
