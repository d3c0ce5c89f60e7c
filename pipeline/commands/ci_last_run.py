"""`force ci last-run`: which run of the workflow has the artifacts of a branch's results."""

import os
from pathlib import Path

import click

from pipeline.commands.ci_plan import read_event
from pipeline.commands.ci_report import connect
from pipeline.errors import PublishError, ToolError
from pipeline.project import find_project
from pipeline.tools import actions, git
from pipeline.verdicts import CONTEXT


@click.command()
def command() -> None:
    """Write the output `id`, from the status `force/experiments` of the branch's newest commit; empty without one.

    A run that cannot be found out is no error: a report without its artifacts has no intervals, and says so.
    """
    root = find_project(Path.cwd()).root
    token = "" if os.environ.get("ACT") == "true" else os.environ.get("GITHUB_TOKEN", "")  # act keeps no artifacts
    branch = read_event(os.environ).branch
    found = ""
    try:
        tip = git.fetch_branch(root, "origin", branch, token) if token else None
        verdict = connect().find_status(tip, CONTEXT) if tip else None
        found = actions.find_run_id(verdict.url) if verdict else ""
    except (PublishError, ToolError) as error:
        actions.annotate("warning", f"the artifacts of the last run are not looked for: {error.message}")
    actions.write_output("id", found)
