"""What a report on a branch says of each experiment, gathered from the files that jobs and stages left."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
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

_ENDINGS = ("done", "failed", "interrupted")  # of what was run, and not found up to date
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
    staleness: str = ""  # why its result is not of the present files, or not there
    params: Sequence[tuple[str, str | None, str | None]] = ()  # key, what it was, what it is; None where it is not set
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
    gates_fault: str = ""  # why none could be judged
    notes: Sequence[str] = ()  # why there is no result, or no difference
    files: Sequence[tuple[str, int | None, int | None]] = ()  # path, lines added and taken away; None for no text
    hashes: Sequence[str] = ()  # of the outs that it may have read
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
    paths: dict[Path, str] = {}
    for place, name in enumerate(names):
        path = find_out(name, HISTORY)
        if path is None and not place:
            return {}  # the others' are drawn beside the first one's
        if path:
            paths.setdefault(path, name)
    return {name: read_rows(path) for path, name in paths.items()}


def read_mistakes(find_out: Callable[[str, str], Path | None], name: str) -> list[tuple[str, str, int]]:
    """Return what an experiment's evaluation took for something else."""
    path = find_out(name, CONFUSION)
    return list_mistakes(read_confusions(path)) if path else []


def list_uses(name: str, ownership: Ownership, states: Mapping[str, str], stale: Container[str]) -> list[Use]:
    """Return the stages of an experiment.

    `states` says how those of this run ended, as experiment:stage; `stale` are those that are out of date.
    """
    uses = []
    for stage in STAGES:
        owner = ownership.effective(name, stage).experiment
        state = "out of date" if stage in stale else "as before" if owner == name else "inherited"
        uses.append((name, stage, owner, states.get(f"{owner}:{stage}", state)))
    return uses


def collect_states(statuses: Iterable[Status]) -> dict[str, str]:
    """Return how each stage ended, as experiment:stage; of several jobs, what the one says that ran it."""
    states: dict[str, str] = {}
    for status in statuses:
        for stage, state in status.stages.items():
            if states.get(stage) not in _ENDINGS:
                states[stage] = state
    return states


def compare_params(experiment: Experiment, other: Experiment | None) -> list[tuple[str, str | None, str | None]]:
    """Return (key, there, here) of every param in which an experiment differs from another, or from itself before."""
    ours = {key: setting.value for key, setting in experiment.settings.items()}
    theirs = {key: setting.value for key, setting in other.settings.items()} if other else {}
    found = []
    for key in dict.fromkeys([*theirs, *ours]):
        there, here = (str(values[key]) if key in values else None for values in (theirs, ours))
        if there is None or here is None or theirs[key] != ours[key]:
            found.append((key, there, here))
    return found
