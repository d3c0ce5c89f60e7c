"""`force ci report`: what a branch did to the metrics, in the summary and in the pull requests of the branch."""

import importlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from pipeline.commands.ci_plan import read_event
from pipeline.commands.ci_results import select_results
from pipeline.commands.plan import find_changes_since
from pipeline.comments import MAX_TEXT_BYTES, build_body
from pipeline.errors import ConfigError, PublishError, ToolError
from pipeline.escaping import escape_cell
from pipeline.events import Event, OpenPullRequest
from pipeline.experiments import Experiment
from pipeline.outs import carry_on, read_handed_on
from pipeline.ownership import STAGES
from pipeline.project import Project, find_project
from pipeline.reports.branch import render_branch
from pipeline.reports.digests import (
    BranchReport,
    Digest,
    collect_states,
    compare_params,
    list_uses,
    read_cost,
    read_curves,
    read_mistakes,
)
from pipeline.reports.findings import Finding
from pipeline.reports.gating import describe_gate, describe_missed, is_measured
from pipeline.reports.reporter import Reporter, ResultReader, title_of
from pipeline.statuses import Status, collect_files, lay_over, read_statuses
from pipeline.tools import actions, git

_MAX_SUMMARY_BYTES = 900_000  # GitHub takes a mebibyte
_MAX_GATES = 20
_FOLDER = click.Path(file_okay=False, path_type=Path)
_SOURCES = re.compile(r"(common|experiments)/|params\.yaml$")
_GENERATED = re.compile(r"(^|/)(outputs/|dvc\.lock$|dvc\.yaml$)")


@click.command()
@click.option("--results", type=_FOLDER, help="What the jobs of this run left.")
@click.option("--earlier", type=_FOLDER, help="What jobs and reports of earlier runs left.")
@click.option("--evidence", type=_FOLDER, help="Where what the report read besides results goes, for later runs.")
@click.option("--base", default="", help="Compare with where the branch left this one; else each pull request's.")
@click.option("--comment/--no-comment", default=True, show_default=True, help="On the branch's pull requests.")
def command(results: Path | None, earlier: Path | None, evidence: Path | None, base: str, comment: bool) -> None:
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
    # Of earlier runs only this: their results may be behind what the branch has by now.
    handed_on = {md5: path for folder in (earlier, results) if folder for md5, path in read_handed_on(folder).items()}
    reports = _build(root, tip, shown, statuses, handed_on, token)
    actions.add_summary(_join({name: render_branch(report, _MAX_SUMMARY_BYTES) for name, report in reports.items()}))
    if evidence:
        carry_on(handed_on, {md5 for report in reports.values() for md5 in report.hashes}, evidence)
    actions.write_output("gates", json.dumps(_describe_gates(list(reports.values()))))
    if refusal:
        raise refusal
    if is_commenting:
        _comment({number: render_branch(reports[name], MAX_TEXT_BYTES) for number, name in bases.items()})


def _build(
    root: Path,
    tip: str,
    bases: Sequence[str],
    statuses: list[tuple[Status, Path]],
    handed_on: dict[str, Path],
    token: str,
) -> dict[str, BranchReport]:
    """Return the report against each base: what the jobs left is laid over the branch once."""
    reports = {}
    with tempfile.TemporaryDirectory(prefix="force-report-") as name, git.hold_worktree(root, Path(name) / "tip", tip):
        tree = Path(name) / "tip"
        taken, _ = select_results(root, tree, git.find_commit(root, "HEAD") or tip, tip, collect_files(statuses))
        lay_over(tree, taken)
        project = Project(tree)
        for base in bases:
            start, fault = _find_start(root, tip, base, token)
            with _check_out(root, Path(name) / "before", start) as before:
                told = [status for status, _ in statuses]
                reports[base] = BranchReporter(project, before, base, told, handed_on).build(tip, fault)
    return reports


def _describe_gates(reports: Sequence[BranchReport]) -> dict[str, list[str]]:
    """Return a line for each gate that is not passed, and for those passed that git does not tell of."""
    outcomes = dict.fromkeys(outcome for report in reports for outcome in report.outcomes)
    missed = [describe_missed(outcome) for outcome in outcomes if not outcome.is_passed]
    missed += [f"gates could not be judged: {report.gates_fault}" for report in reports if report.gates_fault]
    missed = missed[:_MAX_GATES] + ([f"and {len(missed) - _MAX_GATES} more"] if len(missed) > _MAX_GATES else [])
    passed = [describe_gate(outcome) for outcome in outcomes if outcome.is_passed and is_measured(outcome.gate)]
    return {"missed": missed, "passed": passed}


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


class BranchReporter:
    """Compares a checkout with what it was before."""

    def __init__(
        self,
        project: Project,
        before: Project | None,
        base: str,
        statuses: Sequence[Status],
        handed_on: dict[str, Path],
    ) -> None:
        self._project = project
        self._before = before
        self._base = base
        self._statuses = statuses
        self._handed_on = handed_on

    def build(self, tip: str, fault: str = "") -> BranchReport:
        """Return the report: on all that differs from before, and on what the jobs of this run were to do.

        `tip` is the commit that is checked out; `fault` says why there is no before, where there should be one.
        """
        sound, faults = self._project.select_sound()
        problems = sorted({problem for found in faults.values() for problem in found})
        report = BranchReport(
            self._base,
            failures=[status for status in self._statuses if not status.is_ok],
            commit=tip,
            run_url=actions.find_run_url(),
        )
        try:
            names = self._ran | self._find_affected(sound)
            shown = {name: experiment for name, experiment in sound.items() if name in names}
            if shown:
                report = self._compare(report, shown)
        except ConfigError as error:
            problems += error.problems
            report = replace(report, gates_fault=str(error.problems[0]))
        told = [*filter(None, [fault]), *map(str, dict.fromkeys(problems))]
        return replace(report, faults=told, files=self._list_files(tip))

    @cached_property
    def _ran(self) -> set[str]:
        """The experiments that the jobs of this run were to evaluate."""
        targets = [target.partition(":") for status in self._statuses for target in status.targets]
        return {name for name, _, stage in targets if stage in ("", "evaluate")}

    def _find_affected(self, sound: Mapping[str, Experiment]) -> set[str]:
        if self._before is None:
            return set()
        root, start = self._project.root, git.find_commit(self._before.root, "HEAD") or "HEAD"
        changes = find_changes_since(self._project, dict(sound), start, git.list_changed(root, start, None))
        return {change.experiment for change in changes} | {n for n in sound if self._has_other_gates(sound[n])}

    def _has_other_gates(self, experiment: Experiment) -> bool:
        """Say whether an experiment has gates that it did not have before."""
        earlier = self._find_earlier(experiment.name) if experiment.gates else None
        return bool(earlier and earlier.gates != experiment.gates)

    def _list_files(self, tip: str) -> list[tuple[str, int | None, int | None]]:
        """Return what people changed of what experiments are made of."""
        start = git.find_commit(self._before.root, "HEAD") if self._before else None
        files = git.count_lines(self._project.root, start, tip) if start else []
        return [file for file in files if _SOURCES.match(file[0]) and not _GENERATED.search(file[0])]

    def _compare(self, report: BranchReport, shown: Mapping[str, Experiment]) -> BranchReport:
        reporter = Reporter(self._project, shown, handed_on=self._handed_on)
        found = reporter.build(self._before, self._base)
        return replace(
            report,
            digests=[self._digest(experiment, reporter.reader, found.findings) for experiment in shown.values()],
            outcomes=[outcome for outcome in found.outcomes if outcome.is_judged or outcome.experiment in self._ran],
            notes=found.notes,
            hashes=reporter.list_hashes(),
        )

    def _digest(self, experiment: Experiment, reader: ResultReader, findings: Sequence[Finding]) -> Digest:
        name, parent = experiment.name, experiment.parent
        earlier = self._find_earlier(name) or parent
        title = title_of(name, self._base)
        is_parent_present = parent is not None and not reader.find_staleness(parent.name, "train")
        compared = [name, parent.name] if parent and is_parent_present else [name]
        root, ownership = self._project.root, reader.ownership
        stale = {stage for stage in STAGES if reader.find_staleness(name, stage)}
        return Digest(
            name,
            parent.name if parent else "",
            [found for found in findings if found.experiment == name and found.baseline != title],
            [found for found in findings if found.experiment == name and found.baseline == title],
            reader.read(name).fault or reader.read(name).staleness,
            compare_params(experiment, earlier) if earlier else (),
            earlier.name if earlier else "",
            # What an earlier state took and learned is not to stand for the present one.
            None if stale else read_cost(root, name, ownership),
            read_cost(root, parent.name, ownership) if parent and is_parent_present else None,
            {} if "train" in stale else read_curves(reader.find_out, compared),
            () if "evaluate" in stale else read_mistakes(reader.find_out, name),
            list_uses(name, ownership, collect_states(self._statuses), stale),
        )

    def _find_earlier(self, name: str) -> Experiment | None:
        """Return an experiment as it was before, None where it was not there, or not sound."""
        if self._before is None or name not in self._before.experiments.names():
            return None
        with suppress(ConfigError):
            return self._before.experiments.get(name)
        return None
