"""What a report on a branch says of each experiment, gathered from the files that jobs and stages left."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.costs import read_costs
from pipeline.experiments import Experiment
from pipeline.outs import CONFUSION, HISTORY
from pipeline.ownership import STAGES, Ownership
from pipeline.reports.confusions import list_mistakes, read_confusions
from pipeline.reports.findings import Finding
from pipeline.reports.gating import Outcome
from pipeline.results import read_rows
from pipeline.statuses import Status

Use = tuple[str, str, str, str]  # experiment, stage, whose it is, how it ended


@dataclass(frozen=True)
class Cost:
    """What all stages that an experiment uses took when they last ran, inherited ones with them."""

    wall_time_s: float
    gpu_hours: float
    peak_memory_mib: float


@dataclass(frozen=True)
class Digest:
    """What there is to say of one experiment."""

    name: str
    against: str  # its parent; empty for none
    findings: Sequence[Finding] = ()  # beside the parent
    before: Sequence[Finding] = ()  # beside itself at the base
    params: Sequence[tuple[str, str, str]] = ()  # key, what it was, what it is; an empty text where it is not set
    params_against: str = ""  # of what they differ from
    cost: Cost | None = None
    cost_against: Cost | None = None
    histories: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)  # its own, then the parent's
    mistakes: Sequence[tuple[str, str, int]] = ()  # actual, predicted, samples
    uses: Sequence[Use] = ()


@dataclass(frozen=True)
class BranchReport:
    """All that a report on a branch says."""

    base: str  # the branch that it is compared with
    digests: Sequence[Digest] = ()
    faults: Sequence[str] = ()
    failures: Sequence[Status] = ()
    outcomes: Sequence[Outcome] = ()  # of gates
    notes: Sequence[str] = ()  # why there is no result, or no difference
    files: Sequence[tuple[str, int | None, int | None]] = ()  # path, lines added and taken away; None for no text
    commit: str = ""
    run_url: str = ""


def read_cost(root: Path, name: str, ownership: Ownership) -> Cost | None:
    """Return what an experiment's stages took; None where there is no record of one of them."""
    costs = []
    for stage in STAGES:
        owner = ownership.effective(name, stage).experiment
        cost = read_costs(root, owner).get(stage)
        if cost is None:
            return None
        costs.append(cost)
    return Cost(
        sum(cost["wall_time_s"] for cost in costs),
        sum(cost["wall_time_s"] * len(cost["gpus"]) for cost in costs) / 3600,
        max(cost["peak_memory_mib"] for cost in costs),
    )


def read_curves(find_out: Callable[[str, str], Path | None], names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Return experiment → rows of its training; an experiment that inherits its training has none of its own."""
    curves: dict[str, list[dict[str, Any]]] = {}
    seen = set()
    for name in names:
        path = find_out(name, HISTORY)
        if path and path not in seen:
            seen.add(path)
            curves[name] = read_rows(path)
    return curves


def read_mistakes(find_out: Callable[[str, str], Path | None], name: str) -> list[tuple[str, str, int]]:
    """Return what an experiment's evaluation took for something else."""
    path = find_out(name, CONFUSION)
    return list_mistakes(read_confusions(path)) if path else []


def list_uses(name: str, ownership: Ownership, states: Mapping[str, str]) -> list[Use]:
    """Return the stages of an experiment; `states` says how those of this run ended, as experiment:stage."""
    uses = []
    for stage in STAGES:
        owner = ownership.effective(name, stage).experiment
        uses.append((name, stage, owner, states.get(f"{owner}:{stage}", "as before" if owner == name else "inherited")))
    return uses


def compare_params(experiment: Experiment, other: Experiment | None) -> list[tuple[str, str, str]]:
    """Return (key, there, here) of every param in which an experiment differs from another, or from itself before."""
    ours = {key: str(setting.value) for key, setting in experiment.settings.items()}
    theirs = {key: str(setting.value) for key, setting in other.settings.items()} if other else {}
    keys = dict.fromkeys([*theirs, *ours])
    return [(k, theirs.get(k, ""), ours.get(k, "")) for k in keys if ours.get(k, "") != theirs.get(k, "")]
