"""`force ci verdict`: say on GitHub how a push ended, on the commit that was pushed and on the results that it got."""

import importlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from pipeline.commands.ci_plan import read_event
from pipeline.commands.ci_results import is_results
from pipeline.tools import actions

if TYPE_CHECKING:
    from pipeline.tools.github import CommitInfo

CONTEXT = "force/experiments"  # what a branch rule may require
_STATES = {"success": "success", "failure": "failure"}


@click.command()
@click.argument("result", type=click.Choice(["success", "failure", "cancelled", "skipped"]))
@click.option("--description", default="", help="A few words on it.")
@click.option("--commit", envvar="GITHUB_SHA", required=True, help="The commit that the workflow ran for.")
@click.option("--branch", envvar="GITHUB_REF_NAME", required=True, help="The branch that was pushed.")
def command(result: str, description: str, commit: str, branch: str) -> None:
    """Set the status `force/experiments`: RESULT, of a push; and on results, that of the push that they stand on.

    What a workflow commits has no checks: without a status, a branch rule would wait for it for ever. First the push's
    own is set and then the branch is read, so that of two runs that end at once the later one sees the other's.
    """
    event = read_event(os.environ)
    if event.is_deletion:
        return
    if os.environ.get("ACT") == "true" and not os.environ.get("GITHUB_TOKEN"):
        click.echo("no token, as in a rehearsal: no status is set")
        return
    module = importlib.import_module("pipeline.tools.github")  # loads slowly
    github = module.GitHub.from_environment()
    if event.name == "push":  # what somebody asked for says nothing of the rest
        state = _STATES.get(result, "error")
        github.set_status(commit, CONTEXT, module.Verdict(state, description or result, actions.find_run_url()))
        click.echo(f"{commit[:10]}: {state}")
    commits = github.list_commits(branch)
    pushed = find_pushed(commits)
    if pushed is None or pushed == commits[0]:
        return
    if verdict := github.find_status(pushed.sha, CONTEXT):
        github.set_status(commits[0].sha, CONTEXT, verdict)
        click.echo(f"{commits[0].sha[:10]}, results on top of {pushed.sha[:10]}: {verdict.state}")


def find_pushed(commits: Iterable["CommitInfo"]) -> "CommitInfo | None":
    """Return the newest commit that is not one of results."""
    return next((commit for commit in commits if not is_results(commit.email, commit.message)), None)
