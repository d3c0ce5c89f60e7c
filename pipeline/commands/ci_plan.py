"""`force ci plan`: which experiments a push affects, as matrices of jobs."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from pipeline.changes import Change
from pipeline.commands.plan import find_changes_since
from pipeline.costs import estimate_s, format_s
from pipeline.errors import ConfigError, ForceError, Problem
from pipeline.escaping import escape_cell, escape_text
from pipeline.events import Event, parse_event
from pipeline.experiments import Experiment
from pipeline.matrix import Entry, Matrix, build_matrix
from pipeline.ownership import STAGES, Stage, folder_of
from pipeline.project import Project, find_project
from pipeline.tables import print_table
from pipeline.tools import actions, git
from pipeline.workspace import read_json

_MAX_ROWS = 200  # of a table in the summary


@click.command()
def command() -> None:
    """Write the outputs `any`, `wave_1` … `wave_3`, `entries` and `faults`, and a summary. Runs nothing.

    What a fault touches is left out, and the gate fails for it; where nothing else is left to run, the plan fails.
    """
    project = find_project(Path.cwd())
    try:
        event = read_event(os.environ)
        found = Selection() if event.is_deletion else select_affected(project, event)
        for problem in found.foreign_faults:
            actions.annotate("warning", problem.message, problem.path, problem.line)
        matrix = plan_matrix(project, found.experiments)
        if found.faults and not _runs(matrix, event):
            raise ConfigError(found.faults)
    except ForceError as error:
        actions.annotate_error(error)
        raise
    for fault in found.faults:
        actions.annotate("error", fault.message, fault.path, fault.line)
    project.index.save()
    _write(matrix, event, len(found.faults))
    actions.add_summary(render_summary(matrix, found, event))
    rows = [[str(n), e.name, " ".join(e.targets), format_s(e.seconds)] for n, e in _number(matrix)]
    print_table(["wave", "job", "targets", "about"], rows)


def read_event(environment: Mapping[str, str]) -> Event:
    """Return the event of this workflow run; outside of one, a push without a payload."""
    payload = read_json(Path(environment.get("GITHUB_EVENT_PATH", ""))) or {}
    return parse_event(
        environment.get("GITHUB_EVENT_NAME", "push"),
        payload,
        environment.get("GITHUB_REF_NAME", ""),
        environment.get("GITHUB_HEAD_REF", ""),
    )


@dataclass(frozen=True)
class Selection:
    """What an event affects."""

    experiments: Mapping[str, Experiment] = field(default_factory=dict)  # the sound ones
    changes: list[Change] = field(default_factory=list)
    faults: list[Problem] = field(default_factory=list)  # in what was changed
    foreign_faults: list[Problem] = field(default_factory=list)  # elsewhere: somebody else's


def select_affected(project: Project, event: Event) -> Selection:
    """Return the experiments that an event asks for or affects, and why. Raises ConfigError for what is asked for."""
    if event.name == "workflow_dispatch":
        experiments = project.select(event.experiments)
        experiments, unreadable = _drop_unreadable(project, experiments)
        return Selection(experiments, [Change(name, "", "", ("asked for",)) for name in experiments], unreadable)
    if event.name == "pull_request":  # of any branch, also one of a fork that is called as its base
        start = git.find_start(project.root, "", event.base_branch, "")
    else:
        start = git.find_start(project.root, event.branch, event.default_branch, event.before)
    changed = git.list_changed(project.root, start, None)
    sound, faults = project.select_sound()
    ours, foreign = _split_faults(faults, changed)
    changes = find_changes_since(project, sound, start, changed)
    affected = {name: sound[name] for name in dict.fromkeys(c.experiment for c in changes) if name in sound}
    affected, unreadable = _drop_unreadable(project, affected)
    return Selection(affected, changes, sorted({*ours, *unreadable}), foreign)


def find_debts(project: Project, event: Event) -> list[str]:
    """Return what a branch owes of what it changes since it left the default branch.

    These are experiments without results for its files, and files with faults.
    """
    found = select_affected(project, replace(event, name="push", before=""))
    ownership = project.ownership(dict(found.experiments))
    planner = project.planner(ownership)
    stale = [
        name
        for name in found.experiments
        if any(planner.find_staleness(ownership.effective(name, stage)) for stage in STAGES)
    ]
    return [*stale, *dict.fromkeys(fault.path for fault in found.faults)]


def _drop_unreadable(
    project: Project, experiments: dict[str, Experiment]
) -> tuple[dict[str, Experiment], list[Problem]]:
    """Return those experiments whose recorded results can be read, and the faults in the others' dvc.lock."""
    ownership = project.ownership(experiments)
    planner = project.planner(ownership)
    readable, faults = {}, []
    for name, experiment in experiments.items():
        try:
            for stage in STAGES:
                planner.find_staleness(ownership.effective(name, stage))
        except ConfigError as error:
            faults += error.problems
        else:
            readable[name] = experiment
    return readable, list(dict.fromkeys(faults))


def plan_matrix(project: Project, experiments: Mapping[str, Experiment]) -> Matrix:
    """Return the jobs for what is not up to date among these experiments, as git records it."""
    ownership = project.ownership(dict(experiments))
    planner = project.planner(ownership)

    def estimate(stage: Stage) -> float | None:
        return estimate_s(project.root, project.experiments.get(stage.experiment).lineage, stage.name)

    return build_matrix(list(experiments), ownership, lambda stage: bool(planner.find_staleness(stage)), estimate)


def render_summary(matrix: Matrix, found: Selection, event: Event) -> str:
    """Return the plan as Markdown."""
    if event.is_deletion:
        return "The branch was deleted: nothing to do."
    asked = f"<code>{escape_cell(event.branch)}</code>" if event.branch else "this commit"
    lines = [f"### Plan for {asked}", ""]
    if found.faults:
        faults = [f"- {escape_text(str(fault))}" for fault in found.faults]
        lines += ["Left out, and the gate will fail for it:", "", *faults, ""]
    if not found.changes:
        return "\n".join([*lines, "No stage of an experiment is affected: nothing to do."])
    if matrix.entries:
        lines += ["| wave | job | runs | about |", "| --- | --- | --- | --- |"]
        lines += [f"| {n} | {e.name} | {', '.join(e.targets)} | {format_s(e.seconds)} |" for n, e in _number(matrix)]
        known = [entry.seconds for entry in matrix.entries if entry.seconds is not None]
        unknown = len(matrix.entries) - len(known)
        count = f"{len(matrix.entries)} job{'s' if len(matrix.entries) > 1 else ''}"
        text = f"{count}, about {format_s(sum(known))} in all" if known else count
        lines += ["", text + (f", and {unknown} of unknown length" if unknown and known else "")]
    else:
        lines.append("All results are there already: nothing to run.")
    lines += ["", "<details><summary>why</summary>", "", "| experiment | stage | reason |", "| --- | --- | --- |"]
    for change in found.changes[:_MAX_ROWS]:
        lines.append(
            f"| {escape_cell(change.experiment)} | {change.stage} | {escape_cell('; '.join(change.reasons))} |"
        )
    if len(found.changes) > _MAX_ROWS:
        lines.append(f"| … and {len(found.changes) - _MAX_ROWS} more | | |")
    return "\n".join([*lines, "", "</details>"])


def _split_faults(faults: dict[str, list[Problem]], changed: set[str]) -> tuple[list[Problem], list[Problem]]:
    """Return the faults of experiments that changed and of what all share, and those of the others."""
    folders = {_folder_of_path(path) for path in changed if path.startswith("experiments/")}
    everything = {problem for found in faults.values() for problem in found}
    ours = {problem for name, found in faults.items() if folder_of(name) in folders for problem in found}
    ours |= {p for p in everything if _folder_of_path(p.path) in folders or not p.path.startswith("experiments/")}
    return sorted(ours), sorted(everything - ours)


def _folder_of_path(path: str) -> str:
    return "/".join(path.split("/")[:2])


def _runs(matrix: Matrix, event: Event) -> bool:
    """Say whether anything will run. A pull request only plans: what runs is the push's."""
    return event.name != "pull_request" and bool(matrix.entries)


def _write(matrix: Matrix, event: Event, num_faults: int) -> None:
    """Write the outputs."""
    runs = _runs(matrix, event)
    actions.write_output("any", _bool(runs))
    for number, wave in enumerate(matrix.waves, 1):
        actions.write_output(f"any_{number}", _bool(runs and bool(wave)))
        actions.write_output(f"wave_{number}", json.dumps({"include": [_describe(entry, number) for entry in wave]}))
    actions.write_output("entries", " ".join(entry.name for entry in matrix.entries))
    actions.write_output("faults", str(num_faults))


def _describe(entry: Entry, wave: int) -> dict[str, str]:
    return {"name": entry.name, "targets": " ".join(entry.targets), "wave": str(wave)}


def _number(matrix: Matrix) -> list[tuple[int, Entry]]:
    return [(number, entry) for number, wave in enumerate(matrix.waves, 1) for entry in wave]


def _bool(value: bool) -> str:
    return "true" if value else "false"
