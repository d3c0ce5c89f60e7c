"""`force ci last-run`: which runs of the workflow have what a report on a branch reads besides results."""

import os
from pathlib import Path

import click

from pipeline.commands.ci_plan import read_event
from pipeline.commands.ci_report import connect
from pipeline.errors import PublishError, ToolError
from pipeline.project import find_project
from pipeline.tools import actions, git
from pipeline.verdicts import CONTEXT

_MAX_COMMITS, _MAX_RUNS = 20, 2  # that are looked at; that are named: the newest may have trained nothing


@click.command()
def command() -> None:
    """Write the outputs `id_1` and `id_2`: the last runs before this one that statuses of the branch name.

    A run that cannot be found out is no error: a report without its artifacts has no intervals, and says so.
    """
    root = find_project(Path.cwd()).root
    token = "" if os.environ.get("ACT") == "true" else os.environ.get("GITHUB_TOKEN", "")  # act keeps no artifacts
    found: list[str] = []
    try:
        tip = git.fetch_branch(root, "origin", read_event(os.environ).branch, token) if token else None
        found = find_runs(root, tip) if tip else []
    except (PublishError, ToolError) as error:
        actions.annotate("warning", f"the artifacts of earlier runs are not looked for: {error.message}")
    for place in range(_MAX_RUNS):
        actions.write_output(f"id_{place + 1}", found[place] if place < len(found) else "")


def find_runs(root: Path, tip: str) -> list[str]:
    """Return the numbers of runs that commits name, the newest first, without this one."""
    github, here = connect(), actions.find_run_id(actions.find_run_url())
    found: dict[str, None] = {}
    for commit in git.list_commits(root, tip, _MAX_COMMITS):
        verdict = github.find_status(commit.sha, CONTEXT)
        number = actions.find_run_id(verdict.url) if verdict else ""
        if number and number != here:
            found[number] = None
        if len(found) == _MAX_RUNS:
            break
    return list(found)
