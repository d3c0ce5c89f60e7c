"""`force ci report`: what a branch did to the metrics, in the summary and in the pull requests of the branch."""

import importlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from pipeline.commands.ci_plan import read_event
from pipeline.commands.ci_results import select_results
from pipeline.commands.plan import find_changes_since
from pipeline.comments import build_body
from pipeline.comparison import compare_experiments
from pipeline.errors import ConfigError, Problem, PublishError, ToolError
from pipeline.escaping import escape_cell
from pipeline.events import Event, OpenPullRequest
from pipeline.experiments import Experiment
from pipeline.markdown import render_report
from pipeline.project import Project, find_project
from pipeline.results import Result, Row, compare, read_result
from pipeline.statuses import Status, collect_files, lay_over, read_statuses
from pipeline.tools import actions, git


@click.command()
@click.option("--results", type=click.Path(file_okay=False, path_type=Path), help="What the jobs of this run left.")
@click.option("--base", default="", help="Compare with where the branch left this one; else each pull request's.")
@click.option("--comment/--no-comment", default=True, show_default=True, help="On the branch's pull requests.")
def command(results: Path | None, base: str, comment: bool) -> None:
    """Compare the experiments that the branch changes with their parents, and with themselves before."""
    root = find_project(Path.cwd()).root
    event = read_event(os.environ)
    statuses = read_statuses(results) if results and results.is_dir() else []
    token = os.environ.get("GITHUB_TOKEN", "")
    tip = _find_tip(root, event, token)
    if tip is None:
        click.echo(f"the branch {event.branch} is gone: there is nothing to report")
        return
    is_commenting = comment and bool(token or not _is_act())
    pulls, refusal = _find_pull_requests(event) if is_commenting else ([], None)
    bases = {pull.number: base or pull.base_branch or event.default_branch for pull in pulls}
    shown = list(dict.fromkeys(bases.values())) or [base or event.base_branch or event.default_branch]
    texts = _render(root, tip, shown, statuses, token)
    actions.add_summary(_join(texts))
    if refusal:
        raise refusal
    if is_commenting:
        _comment({number: texts[name] for number, name in bases.items()})


def _render(
    root: Path, tip: str, bases: Sequence[str], statuses: list[tuple[Status, Path]], token: str
) -> dict[str, str]:
    """Return the report against each base: what the jobs left is laid over the branch once."""
    texts = {}
    with tempfile.TemporaryDirectory(prefix="force-report-") as name, git.hold_worktree(root, Path(name) / "tip", tip):
        tree = Path(name) / "tip"
        taken, _ = select_results(root, tree, git.find_commit(root, "HEAD") or tip, tip, collect_files(statuses))
        lay_over(tree, taken)
        project = Project(tree)
        for base in bases:
            start, fault = _find_start(root, tip, base, token)
            with _check_out(root, Path(name) / "before", start) as before:
                texts[base] = Reporter(project, before, base).build([status for status, _ in statuses], fault)
    return texts


def _find_tip(root: Path, event: Event, token: str) -> str | None:
    """Return the newest commit of the branch, which may have more results than the one that is checked out.

    A rehearsal is of what is checked out, which the branch need not have yet.
    """
    head = git.find_commit(root, "HEAD")
    try:
        tip = git.fetch_branch(root, "origin", event.branch, token)
    except ToolError:
        if not _is_act():
            raise
        return head  # a clone without a remote that can be asked
    if _is_act() and head and not (tip and git.is_ancestor(root, head, tip)):
        return head
    return tip


def _is_act() -> bool:
    """Say whether this is a rehearsal: what it reports on may not be pushed yet, and GitHub may be out of reach."""
    return os.environ.get("ACT") == "true"


def _find_pull_requests(event: Event) -> tuple[Sequence[OpenPullRequest], PublishError | None]:
    """Return the pull requests to comment on, or what keeps GitHub from naming them: the summary comes first."""
    if event.number:
        return [OpenPullRequest(event.number, event.base_branch)], None
    try:
        return connect().find_pull_requests(event.branch), None
    except PublishError as error:
        return [], error


def _find_start(root: Path, tip: str, base: str, token: str) -> tuple[str | None, str]:
    """Return the commit to compare with, where the branch left `base`, and what is wrong where that is not known.

    None for `base` itself, and without one.
    """
    if not base:
        return None, ""
    with suppress(ToolError):  # what the checkout has of it will do
        git.fetch_branch(root, "origin", base, token)
    there = git.find_commit(root, f"refs/remotes/origin/{base}")
    start = git.find_merge_base(root, tip, there) if there else None
    if start is None:
        reason = "shares no commit with this one" if there else "is not there"
        return None, f"the base branch '{base}' {reason}: nothing is compared with it"
    return (None if start == tip else start), ""


@contextmanager
def _check_out(root: Path, folder: Path, commit: str | None) -> Iterator[Project | None]:
    if commit is None:
        yield None
        return
    with git.hold_worktree(root, folder, commit):
        yield Project(folder)


def _join(texts: Mapping[str, str]) -> str:
    """Return the reports as one text, each below the name of its base where there are several."""
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "\n\n".join(f"# Against {escape_cell(base)}\n\n{text}" for base, text in texts.items())


def _comment(texts: Mapping[int, str]) -> None:
    """Make the comment of each pull request, by its number, say this."""
    if not texts:
        click.echo("the branch has no open pull request: the report is in the summary alone")
        return
    client = connect()
    refusals = []
    for number, text in texts.items():
        try:
            done = client.publish_comment(number, build_body(text, actions.find_run_url()))
        except PublishError as error:  # the others are to have theirs
            refusals.append(error)
        else:
            click.echo(f"comment on pull request {number}: {done}")
    if refusals:
        raise refusals[0]


def connect() -> Any:
    """Return GitHub, as the environment names it; its client loads slowly, and only here."""
    return importlib.import_module("pipeline.tools.github").GitHub.from_environment()


class Reporter:
    """Compares a checkout with what it was before."""

    def __init__(self, project: Project, before: Project | None, base: str) -> None:
        self.project = project
        self.before = before
        self.base = base

    def build(self, statuses: list[Status], fault: str = "") -> str:
        """Return the report: on all that differs from before, and on what the jobs of this run were to do.

        `fault`: why there is no before, where there should be one.
        """
        sound, faults = self.project.select_sound()
        problems = sorted({problem for found in faults.values() for problem in found})
        failures = [status for status in statuses if not status.is_ok]
        try:
            names = {name for status in statuses for name in status.experiments} | self._find_affected(sound)
            shown = {name: experiment for name, experiment in sound.items() if name in names}
            rows = self._compare_with_parents(shown)
            rows_before = self._compare_with_before(shown)
        except ConfigError as error:
            problems, rows, rows_before = [*problems, *error.problems], [], {}
        told = [*filter(None, [fault]), *_keep(problems)]
        return render_report(rows, rows_before, self.base, failures, told, actions.find_run_url())

    def _find_affected(self, sound: Mapping[str, Experiment]) -> set[str]:
        if self.before is None:
            return set()
        root, start = self.project.root, git.find_commit(self.before.root, "HEAD") or "HEAD"
        changes = find_changes_since(self.project, dict(sound), start, git.list_changed(root, start, None))
        return {change.experiment for change in changes}

    def _compare_with_parents(self, shown: dict[str, Experiment]) -> list[Row]:
        if not shown:
            return []
        ownership = self.project.ownership(shown)
        rows = compare_experiments(self.project.root, shown, ownership, self.project.planner(ownership))
        return [row for row in rows if row.experiment in shown]

    def _compare_with_before(self, shown: Mapping[str, Experiment]) -> dict[str, Row]:
        """Return a row an experiment that had a result before, with that as its baseline."""
        rows = {}
        for name in shown:
            then = _read_result(self.before, name) if self.before else None
            now = _read_result(self.project, name)
            if now and then and not then.fault:
                rows[name] = compare([now, replace(then, experiment=f"{name} before")], {name: f"{name} before"})[0]
        return rows


def _read_result(project: Project, name: str) -> Result | None:
    """Return an experiment's result in a checkout, None where it is not there or not sound."""
    if name not in project.experiments.names():
        return None
    try:
        ownership = project.ownership({name: project.experiments.get(name)})
    except ConfigError:
        return None
    stage = ownership.effective(name, "evaluate")
    reasons = project.planner(ownership).find_staleness(stage)
    return read_result(project.root, name, stage, "; ".join(reason.text for reason in reasons))


def _keep(problems: list[Problem]) -> list[str]:
    return [str(problem) for problem in dict.fromkeys(problems)]
