"""A verdict on a difference, in words: better, worse, equivalent, or not known yet, and then what would tell."""

from dataclasses import dataclass
from math import ceil
from typing import Literal

from pipeline.reports.intervals import Interval

Verdict = Literal["better", "worse", "equivalent", "inconclusive", "unknown"]
_MAX_MORE_SEEDS = 100
_MIN_DIFFERING = 6  # fewer samples that differ, even all in one direction, come by chance more often than 1 in 20


@dataclass(frozen=True)
class Judgement:
    """What a difference means."""

    verdict: Verdict
    text: str


def judge(delta: float, interval: Interval | None, direction: str, smallest: float, reason: str = "") -> Judgement:
    """Return the verdict on `delta`, ours minus theirs, of a metric that is good in `direction`: max or min.

    `smallest` is the smallest difference worth caring about, 0 where nobody said. `reason`: why there is no interval.

    >>> judge(0.02, Interval(0.01, 0.03, 353, 1, 90), "max", 0.0).text
    'better'
    >>> judge(0.02, Interval(0.01, 0.03, 353, 1, 90), "min", 0.05).text
    'equivalent: less than 0.05 apart'
    """
    if interval is None:
        return Judgement("unknown", reason)
    if interval.num_samples and not interval.num_differing:
        return Judgement("equivalent", "equivalent: the same on every sample")
    if smallest and -smallest <= interval.low and interval.high <= smallest:
        return Judgement("equivalent", f"equivalent: less than {smallest:g} apart")
    if interval.num_samples and interval.num_differing < _MIN_DIFFERING:
        count = interval.num_differing
        return Judgement("inconclusive", f"inconclusive: only {count} sample{'s differ' if count > 1 else ' differs'}")
    if interval.low > 0 or interval.high < 0:
        verdict: Verdict = "better" if (delta > 0) == (direction == "max") else "worse"
        is_small = smallest and abs(delta) < smallest
        return Judgement(verdict, f"{verdict}, by less than {smallest:g}" if is_small else verdict)
    return Judgement("inconclusive", f"inconclusive: {_say_what_would_tell(delta, interval)}")


def _say_what_would_tell(delta: float, interval: Interval) -> str:
    """Return how many more seeds may decide: their part of an interval shrinks with the square root of their number."""
    if interval.num_seeds < 2:
        return "several seeds would tell more"
    if abs(delta) <= interval.sample_width:
        return "more seeds would hardly tell, more test samples may"
    share = interval.seed_width**2 / (delta**2 - interval.sample_width**2)
    more = ceil(interval.num_seeds * share) - interval.num_seeds
    if more > _MAX_MORE_SEEDS:
        return f"{_MAX_MORE_SEEDS} more seeds would hardly tell"
    return f"about {max(1, more)} more seed{'s' if more > 1 else ''}"
