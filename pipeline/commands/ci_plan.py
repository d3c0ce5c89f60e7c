"""`force ci plan`: which experiments a push affects, as matrices of jobs."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import click

from pipeline.changes import Change
from pipeline.commands.plan import find_changes_since
from pipeline.comments import escape_cell, escape_text
from pipeline.costs import estimate_s, format_s
from pipeline.errors import ConfigError, ForceError, Problem
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
        experiments, changes, faults = ({}, [], []) if event.is_deletion else select_affected(project, event)
        experiments, unreadable = drop_unreadable(project, experiments)
        matrix = plan_matrix(project, experiments)
        faults = sorted({*faults, *unreadable})
        if faults and not _runs(matrix, event):
            raise ConfigError(faults)
    except ForceError as error:
        actions.annotate_error(error)
        raise
    for fault in faults:
        actions.annotate("error", fault.message, fault.path, fault.line)
    project.index.save()
    _write(matrix, event, len(faults))
    actions.add_summary(render_summary(matrix, changes, event, faults))
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


def select_affected(project: Project, event: Event) -> tuple[dict[str, Experiment], list[Change], list[Problem]]:
    """Return the sound experiments that an event asks for or affects, why, and the faults in what it changed.

    Faults elsewhere are only noted: they are somebody else's. Raises ConfigError for one that is asked for.
    """
    if event.name == "workflow_dispatch":
        experiments = project.select(event.experiments)
        return experiments, [Change(name, "", "", ("asked for",)) for name in experiments], []
    if event.name == "pull_request":  # of any branch, also one of a fork that is called as its base
        start = git.find_start(project.root, "", event.base_branch, "")
    else:
        start = git.find_start(project.root, event.branch, event.default_branch, event.before)
    changed = git.list_changed(project.root, start, None)
    sound, faults = project.select_sound()
    ours = find_own_faults(faults, changed)
    changes = find_changes_since(project, sound, start, changed)
    affected = {name: sound[name] for name in dict.fromkeys(c.experiment for c in changes) if name in sound}
    return affected, changes, ours


def drop_unreadable(
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
    return readable, faults


def plan_matrix(project: Project, experiments: dict[str, Experiment]) -> Matrix:
    """Return the jobs for what is not up to date among these experiments, as git records it."""
    ownership = project.ownership(experiments)
    planner = project.planner(ownership)

    def estimate(stage: Stage) -> float | None:
        return estimate_s(project.root, project.experiments.get(stage.experiment).lineage, stage.name)

    return build_matrix(list(experiments), ownership, lambda stage: bool(planner.find_staleness(stage)), estimate)


def render_summary(matrix: Matrix, changes: list[Change], event: Event, faults: list[Problem]) -> str:
    """Return the plan as Markdown."""
    if event.is_deletion:
        return "The branch was deleted: nothing to do."
    asked = f"<code>{escape_cell(event.branch)}</code>" if event.branch else "this commit"
    lines = [f"### Plan for {asked}", ""]
    if faults:
        lines += ["Left out, and the gate will fail for it:", "", *(f"- {escape_text(str(f))}" for f in faults), ""]
    if not changes:
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
    for change in changes[:_MAX_ROWS]:
        lines.append(
            f"| {escape_cell(change.experiment)} | {change.stage} | {escape_cell('; '.join(change.reasons))} |"
        )
    if len(changes) > _MAX_ROWS:
        lines.append(f"| … and {len(changes) - _MAX_ROWS} more | | |")
    return "\n".join([*lines, "", "</details>"])


def find_own_faults(faults: dict[str, list[Problem]], changed: set[str]) -> list[Problem]:
    """Return the faults of experiments that changed, and of what all share; warn of the others."""
    folders = {_folder_of_path(path) for path in changed if path.startswith("experiments/")}
    everything = {problem for found in faults.values() for problem in found}
    ours = {problem for name, found in faults.items() if folder_of(name) in folders for problem in found}
    ours |= {p for p in everything if _folder_of_path(p.path) in folders or not p.path.startswith("experiments/")}
    for problem in sorted(everything - ours):
        actions.annotate("warning", problem.message, problem.path, problem.line)
    return list(ours)


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
