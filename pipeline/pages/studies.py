"""Studies: experiments that each change something of the same one, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.experiments import Experiment
from pipeline.pages.charts import draw_differences
from pipeline.reports.findings import Finding

_MIN_HEIRS = 2
_MAX_DRAWN = 60  # heirs in a chart, those with the greatest differences


@dataclass(frozen=True)
class Study:
    """All that the template of a study names."""

    name: str  # of what is changed
    changes: Mapping[str, Sequence[str]]  # heir → what it changes, a line each
    charts: Sequence[tuple[str, dict[str, Any]]]
    is_cut: bool  # whether charts do not have all


def find_studies(experiments: Mapping[str, Experiment], findings: Mapping[str, Sequence[Finding]]) -> dict[str, Study]:
    """Return a study of each experiment that several inherit from directly; `findings` are those of each heir."""
    heirs: dict[str, list[Experiment]] = {}
    for experiment in experiments.values():
        if experiment.parent:
            heirs.setdefault(experiment.parent.name, []).append(experiment)
    return {name: _build_study(name, found, findings) for name, found in heirs.items() if len(found) >= _MIN_HEIRS}


def list_changes(experiment: Experiment) -> list[str]:
    """Return what an experiment changes of its parent: components, then params."""
    parent = experiment.parent
    if parent is None:
        return []
    found = [f"{kind}: {experiment.components[kind].class_name}" for kind in experiment.overrides]
    for key, setting in experiment.own_settings.items():
        before = parent.settings.get(key)
        if before is None or before.value != setting.value:
            found.append(f"{key}: {'not set' if before is None else before.value} → {setting.value}")
    return found


def _build_study(name: str, heirs: Sequence[Experiment], findings: Mapping[str, Sequence[Finding]]) -> Study:
    compared: dict[str, list[Finding]] = {}
    for heir in heirs:
        for finding in findings.get(heir.name, ()):
            if finding.baseline == name and finding.delta is not None:
                compared.setdefault(finding.metric, []).append(finding)
    drawn = {metric: [_describe(finding) for finding in _choose(found)] for metric, found in compared.items()}
    charts = [(metric, draw_differences(metric, values)) for metric, values in drawn.items()]
    changes = {heir.name: list_changes(heir) for heir in heirs}
    return Study(name, changes, charts, any(len(found) > _MAX_DRAWN for found in compared.values()))


def _choose(findings: Sequence[Finding]) -> list[Finding]:
    """Return those with the greatest differences, the greatest gain first, as a number."""
    largest = sorted(findings, key=lambda finding: -abs(finding.delta or 0.0))[:_MAX_DRAWN]
    return sorted(largest, key=lambda finding: -(finding.delta or 0.0))


def _describe(finding: Finding) -> dict[str, Any]:
    interval, judgement = finding.interval, finding.judgement
    ends = {"low": interval.low, "high": interval.high} if interval else {}
    verdict = judgement.verdict if judgement else "unknown"
    text = judgement.text if judgement else ""
    return {"experiment": finding.experiment, "difference": finding.delta, "verdict": verdict, "why": text, **ends}
