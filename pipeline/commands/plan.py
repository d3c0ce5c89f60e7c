"""`force plan`: what would run, what is inherited or cached, and why."""

from collections import Counter
from pathlib import Path
from typing import Any

import click

from pipeline.changes import Change, find_changes
from pipeline.cli import print_json
from pipeline.experiments import Experiment
from pipeline.planning import PlannedUse, State
from pipeline.project import Project, find_project
from pipeline.tables import print_table
from pipeline.tools import git


@click.command()
@click.argument("names", metavar="[EXPERIMENT]...", nargs=-1)
@click.option("--changed-since", "revision", metavar="REV", help="Say what the changes since REV, or in A..B, affect.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(names: tuple[str, ...], revision: str | None, as_json: bool) -> None:
    """Say per experiment and stage what would happen, and why. Runs nothing."""
    project = find_project(Path.cwd())
    if revision is not None:
        _print_changes(_find_changes(project, names, revision), as_json)
    else:
        experiments = project.select(names)
        planner = project.planner(project.ownership(experiments))
        _print_plan(planner.plan_experiments(experiments), as_json)
    project.index.save()


def _print_plan(uses: list[PlannedUse], as_json: bool) -> None:
    if as_json:
        print_json([_describe_use(use) for use in uses])
        return
    rows = []
    for use in uses:
        why = use.planned.why
        if use.inherited_from:
            why = f"inherited from {use.inherited_from}" + (f": {why}" if why else "")
        rows.append([use.experiment, use.planned.stage.name, str(use.planned.state), why])
    print_table(["experiment", "stage", "state", "why"], rows)
    # what is inherited is counted too where it runs first: once, whoever inherits it
    counted = [use.planned for use in uses if not use.inherited_from or use.planned.state != State.UP_TO_DATE]
    states = Counter({planned.stage.id: planned.state for planned in counted}.values())
    inherited = sum(1 for use in uses if use.inherited_from)
    counts = [f"{count} {state}" for state, count in sorted(states.items())]
    click.echo(f"\n{', '.join([*counts, f'{inherited} inherited'])}")


def _describe_use(use: PlannedUse) -> dict[str, Any]:
    planned = use.planned
    return {
        "experiment": use.experiment,
        "stage": planned.stage.name,
        "owner": planned.stage.experiment,
        "is_inherited": bool(use.inherited_from),
        "state": str(planned.state),
        "reasons": [{"kind": r.kind, "name": r.name, "text": r.text} for r in planned.reasons],
    }


def _find_changes(project: Project, names: tuple[str, ...], revision: str) -> list[Change]:
    start, end = git.resolve_range(project.root, revision)
    return find_changes_since(project, project.select(names), start, git.list_changed(project.root, start, end))


def find_changes_since(
    project: Project, experiments: dict[str, Experiment], start: str, changed: set[str]
) -> list[Change]:
    """Return which stages are affected by the paths that changed since a commit, or since a tree of git's."""
    files_before = git.list_files(project.root, start, "experiments")
    before = git.read_files(project.root, start, sorted(path for path in changed if path.endswith(".yaml")))
    ownership = project.ownership(experiments)
    return find_changes(experiments, ownership, changed, before, files_before, project.root)


def _print_changes(changes: list[Change], as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {"experiment": c.experiment, "stage": c.stage, "owner": c.owner, "reasons": list(c.reasons)}
                for c in changes
            ]
        )
    elif not changes:
        click.echo("nothing to do: no stage is affected")
    else:
        rows = [[c.experiment, c.stage, "; ".join(c.reasons)] for c in changes]
        print_table(["experiment", "stage", "why"], rows)
