"""What each metric of a result says beside its baseline: difference, interval, verdict."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.reports.intervals import Interval, pair_seeds, resample_pairs
from pipeline.reports.judging import Judgement, judge
from pipeline.reports.scores import SampleScores, read_scores
from pipeline.results import Result, Row
from pipeline.workspace import read_json

_TOLERANCE = 1e-5  # between a metric in single precision and the mean of scores in double


@dataclass(frozen=True)
class Finding:
    """A metric of an experiment, and what became of it against the baseline."""

    experiment: str
    baseline: str  # empty for none
    metric: str
    unit: str
    direction: str  # max or min; empty where no certificate says
    value: float  # the mean of the seeds that are paired, where there are several
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


def read_evidence(folder: Path, paths: Iterable[Path], certificate: Mapping[str, Any]) -> Evidence:
    """Return what is in an experiment's folder, with the scores in the first of the paths that is there."""
    seed = certificate.get("seed", 0)
    seeds = _read_seeds(folder / "outputs/evaluate/seeds.json")
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        return Evidence(seeds, None, "its predictions are not here: dvc pull brings them")
    try:
        return Evidence(seeds, read_scores(path, seed))
    except (ValueError, OSError) as error:
        return Evidence(seeds, None, f"its predictions cannot be read: {error}")


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
    findings = [_describe(row, results, metric) for row in rows for metric in row.metrics]
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
        mine, others = (
            {seed: values[finding.metric] for seed, values in evidence.seeds.items() if finding.metric in values}
            for evidence in self._evidence
        )
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
        mine, others = (scores.of(self._finding.metric, self._definition) for scores in (ours, theirs))
        if not self._seeds or not all(seed in mine and seed in others for seed in self._seeds):
            self._fault = "one seed, and no score of each sample"
            return None
        for scores, values in zip((mine, others), self._values, strict=True):
            for seed, value in zip(self._seeds, values, strict=True):
                if abs(scores[seed].mean() - value) > _TOLERANCE * max(1.0, abs(value)):
                    self._fault = "the metric is not the mean of its scores"
                    return None
        return np.stack([mine[seed] - others[seed] for seed in self._seeds])

    def judge(self, interval: Interval | None, smallest: float) -> Finding:
        """Return the finding with its verdict."""
        finding = self._finding
        if len(self._seeds) > 1:
            value, other = (sum(values) / len(values) for values in self._values)
            finding = replace(finding, value=value, baseline_value=other, delta=value - other)
            interval = interval or pair_seeds(*self._values)
        assert finding.delta is not None
        judgement = judge(finding.delta, interval, finding.direction, smallest, f"no interval: {self._fault}")
        return replace(finding, interval=interval, judgement=judgement)


def _describe(row: Row, results: Mapping[str, Result], metric: str) -> Finding:
    defined = results[row.experiment].certificate.get("metrics", {}).get(metric, {})
    other = results[row.baseline].metrics.get(metric) if row.baseline in results else None
    return Finding(
        row.experiment,
        row.baseline,
        metric,
        defined.get("unit", ""),
        defined.get("direction", ""),
        row.metrics[metric],
        other if metric in row.deltas else None,
        row.deltas.get(metric),
        reasons=tuple(row.differences.get(metric, ())),
    )


def _read_seeds(path: Path) -> dict[int, Mapping[str, float]]:
    document = read_json(path)
    if not isinstance(document, Mapping):
        return {}
    return {int(seed): values for seed, values in document.items() if seed.isdigit() and isinstance(values, Mapping)}
