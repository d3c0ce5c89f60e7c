"""Whether results pass the gates of their experiments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import suggest
from pipeline.gates import Gate
from pipeline.results import Row, format_delta

_SLACK = 1e-9  # of what the same numbers, computed otherwise, differ by


@dataclass(frozen=True)
class Outcome:
    """Whether an experiment passes a gate, and what it has there."""

    experiment: str
    gate: Gate
    is_passed: bool
    text: str


def check_bound(gate: Gate, row: Row, performance: Mapping[str, Any]) -> Outcome:
    """Say whether a result reaches a number; it may be one of performance.json, by its dotted name."""
    if why := row.fault or row.staleness:
        return Outcome(row.experiment, gate, False, f"no present result: {why}")
    values = {**_flatten(performance), **row.metrics}
    if gate.metric not in values:
        known = suggest(gate.metric, sorted(values)) or f"; there are {', '.join(sorted(row.metrics))}"
        return Outcome(row.experiment, gate, False, f"there is no '{gate.metric}'{known}")
    value = values[gate.metric]
    slack = _SLACK * max(1.0, abs(gate.number))
    is_passed = {
        ">=": value >= gate.number - slack,
        "<=": value <= gate.number + slack,
        ">": value > gate.number,
        "<": value < gate.number,
    }[gate.sign]
    return Outcome(row.experiment, gate, is_passed, f"{value:.6g}")


def check_no_worse(gate: Gate, row: Row, direction: str, baseline_fault: str = "") -> Outcome:
    """Say whether a result is no worse than that of the row's baseline, which the gate names."""
    if why := row.fault or row.staleness:
        return Outcome(row.experiment, gate, False, f"no present result: {why}")
    if gate.metric in row.deltas:
        delta = row.deltas[gate.metric]
        worse_by = -delta if direction == "max" else delta
        is_passed = worse_by <= gate.number + _SLACK
        return Outcome(row.experiment, gate, is_passed, f"{format_delta(delta)} against {row.baseline}")
    why = baseline_fault or "; ".join(row.differences.get(gate.metric, [f"not both have '{gate.metric}'"]))
    return Outcome(row.experiment, gate, False, f"does not compare with {row.baseline or 'a parent'}: {why}")


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[f"{prefix}{name}"] = value
    return found
