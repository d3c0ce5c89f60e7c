"""Whether results pass the gates of their experiments."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import suggest
from pipeline.gates import Gate
from pipeline.results import Result, Row, format_delta
from pipeline.validation import load_schema

_SLACK = 1e-9  # of what the same numbers, computed otherwise, differ by
_MAX_DEPTH, _INFINITE = 10, 1e300  # of a performance.json that is none of ours
_MAX_LINE = 300  # characters
_FRACTION = "fraction"  # the unit of what has percents and points


@dataclass(frozen=True)
class Measured:
    """A metric of a result."""

    result: Result
    seeds: Mapping[int, float]
    unit: str
    direction: str

    @property
    def fault(self) -> str:
        """Why nothing can be said of it; empty where something can."""
        why = self.result.fault or self.result.staleness
        return f"no present result: {why}" if why else ""

    def value(self, metric: str) -> float | None:
        """Return the mean over seeds, or what metrics.json has; None where it is not there."""
        return sum(self.seeds.values()) / len(self.seeds) if self.seeds else self.result.metrics.get(metric)


@dataclass(frozen=True)
class Outcome:
    """Whether an experiment passes a gate, and what it has there."""

    experiment: str
    gate: Gate
    is_passed: bool
    text: str
    is_judged: bool = True  # whether all that it takes is here


def check_bound(gate: Gate, ours: Measured, performance: Mapping[str, Any] | None) -> Outcome:
    """Say whether a result reaches a number; it may be one of performance.json, by its dotted name."""
    if ours.fault:
        return _fail(gate, ours, ours.fault)
    measured = _flatten(performance or {})
    value = ours.value(gate.metric)
    if value is None:
        value = measured.get(gate.metric)
    if value is None:
        known = [*ours.result.metrics, *measured]
        absent = "" if performance is not None else "; performance.json is not here: dvc pull brings it"
        there = suggest(gate.metric, known) or f"; there are {', '.join(sorted(ours.result.metrics))}"
        is_judged = performance is not None or not is_measured(gate)
        return _fail(gate, ours, f"there is no '{gate.metric}'{there}{absent}", is_judged=is_judged)
    if gate.is_percent and ours.unit != _FRACTION:
        return _fail(gate, ours, f"percents are of fractions, and '{gate.metric}' is none")
    if not math.isfinite(value):
        return _fail(gate, ours, f"{value}")
    slack = _SLACK * max(1.0, abs(gate.number))
    is_passed = {
        ">=": value >= gate.number - slack,
        "<=": value <= gate.number + slack,
        ">": value > gate.number,
        "<": value < gate.number,
    }[gate.sign]
    wants_percent = not gate.is_percent and ours.unit == _FRACTION and abs(gate.number) > 1
    hint = f", a fraction: '{gate.text} %'?" if wants_percent else ""
    return Outcome(ours.result.experiment, gate, is_passed, f"{value:.6g}{hint}")


def check_no_worse(gate: Gate, ours: Measured, theirs: Measured, row: Row) -> Outcome:
    """Say whether a result is no worse than another; `row` has ours beside theirs, and says whether they compare."""
    if ours.fault:
        return _fail(gate, ours, ours.fault)
    if gate.is_percent and ours.unit != _FRACTION:
        return _fail(gate, ours, f"points are of fractions, and '{gate.metric}' is none")
    other = theirs.result.experiment
    if other == ours.result.experiment:
        if ours.value(gate.metric) is None:
            return _fail(gate, ours, f"there is no '{gate.metric}'")
        return Outcome(other, gate, True, "it is the baseline itself")
    if gate.metric not in row.deltas:
        known = row.differences.get(gate.metric, [f"not both have '{gate.metric}'"])
        why = theirs.result.fault or theirs.result.staleness or "; ".join(known)
        return _fail(gate, ours, f"does not compare with {other}: {why}")
    seeds = ours.seeds.keys() & theirs.seeds.keys()
    delta = row.deltas[gate.metric]
    if seeds:
        delta = sum(ours.seeds[seed] - theirs.seeds[seed] for seed in sorted(seeds)) / len(seeds)
    worse_by = -delta if ours.direction == "max" else delta
    is_passed = worse_by <= gate.number + _SLACK
    return Outcome(ours.result.experiment, gate, is_passed, f"{format_delta(delta)} against {other}")


def is_measured(gate: Gate) -> bool:
    """Say whether a gate is of a number of performance.json, which git does not keep."""
    return not gate.baseline and gate.metric.partition(".")[0] in load_schema("performance")["properties"]


def describe_gate(outcome: Outcome) -> str:
    """Return a line for a gate of an experiment."""
    return f"{outcome.experiment}: {outcome.gate.text}"[:_MAX_LINE]


def describe_missed(outcome: Outcome) -> str:
    """Return a line for a gate that is not passed."""
    return f"{describe_gate(outcome)}: {outcome.text}"[:_MAX_LINE]


def _fail(gate: Gate, ours: Measured, text: str, *, is_judged: bool = True) -> Outcome:
    return Outcome(ours.result.experiment, gate, False, text, is_judged)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers by their dotted names, but for those that nothing can be compared with."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and prefix.count(".") < _MAX_DEPTH:
            found |= _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _INFINITE:
            found[f"{prefix}{name}"] = value
    return found
