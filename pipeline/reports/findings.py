"""What each metric of a result says beside its baseline: difference, interval, verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.reports.intervals import Interval, pair_seeds, resample_pairs
from pipeline.reports.judging import Judgement, judge
from pipeline.reports.scores import SampleScores, read_scores
from pipeline.results import Result, Row

_TOLERANCE = 1e-5  # between a metric in single precision and the mean of scores in double


@dataclass(frozen=True)
class Finding:
    """A metric of an experiment, and what became of it against the baseline."""

    experiment: str
    baseline: str  # empty for none
    metric: str
    unit: str
    direction: str  # max or min; empty where no certificate says
    value: float  # the mean of the seeds that both have; without a baseline, of all
    baseline_value: float | None = None
    delta: float | None = None  # only where the two compare
    interval: Interval | None = None
    judgement: Judgement | None = None  # with the delta
    reasons: tuple[str, ...] = ()  # why there is no delta


class Evidence(NamedTuple):
    """What an evaluation left besides its metrics."""

    seeds: Mapping[int, Mapping[str, float]]
    scores: SampleScores | None
    fault: str = ""  # why there are no scores

    def values(self, metric: str) -> dict[int, float]:
        """Return a metric by seed."""
        return {seed: values[metric] for seed, values in self.seeds.items() if metric in values}


def read_evidence(
    seeds: Mapping[int, Mapping[str, float]], predictions: Path | None, certificate: Mapping[str, Any]
) -> Evidence:
    """Return the metrics of seeds with the scores in `predictions`, None where these are not here."""
    if predictions is None:
        return Evidence(seeds, None, "its predictions are not here: dvc pull brings them")
    try:
        return Evidence(seeds, read_scores(predictions, certificate.get("seed", 0)))
    except (ValueError, OSError) as error:
        return Evidence(seeds, None, f"its predictions cannot be read: {error}")


def stack_scores(evidence: Evidence, metric: str, definition: str, seeds: Sequence[int]) -> np.ndarray:
    """Return (seeds, samples), two or more, whose means a metric is. Raises LookupError, with why, without them."""
    if evidence.scores is None:
        raise LookupError(evidence.fault)
    found, values = evidence.scores.of(metric, definition), evidence.values(metric)
    if not seeds or not all(seed in found for seed in seeds):
        raise LookupError("no score of each sample" + (", and one seed" if len(seeds) == 1 else ""))
    if len(evidence.scores.ids) < 2:
        raise LookupError("one test sample")
    for seed in seeds:
        if not _is_mean(values[seed], found[seed]):
            raise LookupError("the metric is not the mean of its scores")
    return np.stack([found[seed] for seed in seeds])


def _is_mean(value: float, scores: np.ndarray) -> bool:
    """Say whether a metric is the mean of scores, but for the precision that it was computed in."""
    gap = abs(scores.mean() - value)
    return bool(gap <= _TOLERANCE * abs(value) or gap <= _TOLERANCE * np.abs(scores).mean())


def build_findings(
    rows: Sequence[Row],
    results: Mapping[str, Result],
    find_evidence: Callable[[str], Evidence],
    find_smallest: Callable[[str, str], float],
) -> list[Finding]:
    """Return a finding a metric of each row.

    `results` has those of all that rows name. `find_evidence` returns what an experiment's evaluation left besides,
    `find_smallest` the smallest difference of its metric worth caring about.
    """
    findings = [_describe(row, results, metric, find_evidence) for row in rows for metric in row.metrics]
    pairs = {
        place: _Pair(finding, results[finding.experiment].certificate, find_evidence)
        for place, finding in enumerate(findings)
        if finding.delta is not None
    }
    paired = {place: values for place, pair in pairs.items() if (values := pair.find_differences()) is not None}
    intervals = dict(zip(paired, resample_pairs(list(paired.values())), strict=True))
    for place, pair in pairs.items():
        smallest = find_smallest(findings[place].experiment, findings[place].metric)
        findings[place] = pair.judge(intervals.get(place), smallest)
    return findings


class _Pair:
    """Two results that compare in a metric."""

    def __init__(
        self, finding: Finding, certificate: Mapping[str, Any], find_evidence: Callable[[str], Evidence]
    ) -> None:
        self._finding = finding
        self._definition: str = certificate["metrics"][finding.metric]["definition"]
        self._evidence = find_evidence(finding.experiment), find_evidence(finding.baseline)
        self._fault = ""
        mine, others = (evidence.values(finding.metric) for evidence in self._evidence)
        self._seeds = sorted(mine.keys() & others.keys())
        self._values = [mine[seed] for seed in self._seeds], [others[seed] for seed in self._seeds]

    def find_differences(self) -> np.ndarray | None:
        """Return ours minus theirs, (seeds, samples), of all seeds that both have, or None."""
        (_, ours, fault), (_, theirs, their_fault) = self._evidence
        if ours is None or theirs is None:
            self._fault = fault or f"{self._finding.baseline}: {their_fault}"
            return None
        if not np.array_equal(ours.ids, theirs.ids):
            self._fault = "the predictions are of other samples than the metrics"
            return None
        if not self._seeds:
            self._fault = "no seed in common"
            return None
        try:
            mine, others = (
                stack_scores(evidence, self._finding.metric, self._definition, self._seeds)
                for evidence in self._evidence
            )
        except LookupError as error:
            self._fault = str(error)
            return None
        differences: np.ndarray = mine - others
        return differences

    def judge(self, interval: Interval | None, smallest: float) -> Finding:
        """Return the finding with its verdict; its values are those of the seeds that both have."""
        finding = self._finding
        if self._seeds:
            value, other = (sum(values) / len(values) for values in self._values)
            finding = replace(finding, value=value, baseline_value=other, delta=value - other)
        if interval is None and len(self._seeds) > 1:
            interval = pair_seeds(*self._values)
            self._fault += "" if interval else ", and all seeds differ by the same"
        assert finding.delta is not None
        judgement = judge(finding.delta, interval, finding.direction, smallest, f"no interval: {self._fault}")
        return replace(finding, interval=interval, judgement=judgement)


def _describe(
    row: Row, results: Mapping[str, Result], metric: str, find_evidence: Callable[[str], Evidence]
) -> Finding:
    defined = results[row.experiment].certificate.get("metrics", {}).get(metric, {})
    other = results[row.baseline].metrics.get(metric) if row.baseline in results else None
    by_seed = list(find_evidence(row.experiment).values(metric).values())
    return Finding(
        row.experiment,
        row.baseline,
        metric,
        defined.get("unit", ""),
        defined.get("direction", ""),
        sum(by_seed) / len(by_seed) if by_seed else row.metrics[metric],
        other if metric in row.deltas else None,
        row.deltas.get(metric),
        reasons=tuple(row.differences.get(metric, ())),
    )
