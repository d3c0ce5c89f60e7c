"""`force ci verdict`: say on GitHub how a push ended, on its commit and on what the branch has come to by then."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import click

from pipeline.commands.ci_gate import read_gates
from pipeline.commands.ci_plan import find_debts, read_event, select_affected
from pipeline.commands.ci_report import connect
from pipeline.commands.ci_results import is_results
from pipeline.errors import ConfigError
from pipeline.events import Event
from pipeline.project import Project, find_project
from pipeline.reports.gating import describe_gate, describe_missed
from pipeline.reports.reporter import Reporter
from pipeline.tools import actions, git
from pipeline.verdicts import CONTEXT, MISSED, Verdict, judge

_STATES = {"success": "success", "failure": "failure"}
_MAX_LOOKS = 10
_MAX_COMMITS = 20


@click.command()
@click.argument("result", type=click.Choice(["success", "failure", "cancelled", "skipped"]))
@click.option("--description", default="", help="A few words on it.")
@click.option("--commit", envvar="GITHUB_SHA", required=True, help="The commit that the workflow ran for.")
@click.option("--results", default="branch", help="Where results go; `none`: the branch is not to have them.")
@click.option("--gates", default="", help="What the run's report says of the gates of experiments, as JSON.")
def command(result: str, description: str, commit: str, results: str, gates: str) -> None:
    """Set the status `force/experiments`: RESULT, on the commit that was pushed, and on the branch what it owes.

    Results that a workflow commits have no checks of their own: without a status, a branch rule would wait for ever.
    """
    root = find_project(Path.cwd()).root
    event = read_event(os.environ)
    if event.is_deletion:
        return
    if os.environ.get("ACT") == "true" and not os.environ.get("GITHUB_TOKEN"):
        click.echo("no token, as in a rehearsal: no status is set")
        return
    own = Verdict(_STATES.get(result, "error"), description or result, actions.find_run_url())
    owes = results != "none" and event.branch != event.default_branch  # which has nothing that it came from
    word = read_gates(gates)
    Speaker(root, event, commit, own if event.name == "push" else None, owes=owes, word=word).speak()


class Speaker:
    """Sets the statuses of a push, and of the newest commit of its branch."""

    def __init__(
        self,
        root: Path,
        event: Event,
        commit: str,
        own: Verdict | None,
        *,
        owes: bool,
        word: tuple[list[str], list[str]],
    ) -> None:
        self.root = root
        self.event = event
        self.commit = commit
        self.own = own  # None where somebody asked for experiments: it says nothing of a push
        self.owes = owes
        self.word = word  # of this run, on gates that are missed and passed
        self.github = connect()

    def speak(self) -> None:
        """Set what there is to say. As the branch moves on meanwhile, look again after each status that was set.

        So of two runs that end at once, one that brought results and one that they stand on, the later sees the other.
        """
        tip, seen = self._fetch(), ""
        if self.own:  # never green before what the branch owes is known: it may be merged at once
            self._set(self.commit, self._weigh(self.own, tip, self.word) if tip == self.commit else self.own)
            tip, seen = self._fetch(), self.commit
        for _ in range(_MAX_LOOKS):
            if tip is None or tip == seen:
                return
            self._judge(tip)
            seen = tip
            tip = self._fetch()

    def _fetch(self) -> str | None:
        """Return the branch's newest commit, None where the branch is gone."""
        return git.fetch_branch(self.root, "origin", self.event.branch, os.environ.get("GITHUB_TOKEN", ""))

    def _judge(self, tip: str) -> None:
        """Set the status of the branch's newest commit, unless the push that brought its files still runs."""
        pushed = find_pushed(self.root, tip)
        below = self.own if pushed == self.commit else None
        below = below or (self.github.find_status(pushed, CONTEXT) if pushed else None)
        if below is None:
            return
        # A run by hand stands on results of others.
        word = self.word if pushed == find_pushed(self.root, self.commit) else ([], [])
        verdict = self._weigh(below, tip, word)
        if tip != pushed or verdict != below:
            self._set(tip, verdict)

    def _weigh(self, verdict: Verdict, tip: str, word: tuple[list[str], list[str]]) -> Verdict:
        """Return a verdict with what the branch owes at its newest commit, and the gates that it misses there.

        `word`: what its run says of gates. It had what git does not keep, as latencies; where it says nothing of a gate
        of such, what was said before holds.
        """
        if not self.owes:
            return verdict
        with tempfile.TemporaryDirectory(prefix="force-verdict-") as name:
            tree = Path(name) / "tip"
            with git.hold_worktree(self.root, tree, tip):
                project, event = Project(tree), replace(self.event, name="push")
                debts = find_debts(project, event)
                missed, unknown = judge_gates(project, event)
        missed = list(dict.fromkeys([*missed, *word[0]]))
        if not missed and set(unknown) - set(word[1]):
            if verdict.state in ("failure", "error"):
                return verdict
            before = self._find_last(tip)
            if before and before.state == "failure" and before.description.startswith(MISSED):
                return replace(before, url=verdict.url)
        return judge(verdict, debts, missed)

    def _find_last(self, tip: str) -> Verdict | None:
        """Return what was said of the newest commit before the push that is at the end of the branch."""
        commits = [commit.sha for commit in git.list_commits(self.root, tip, _MAX_COMMITS)]
        pushed = find_pushed(self.root, tip)
        earlier = commits[commits.index(pushed) + 1 :] if pushed in commits else []
        return next((found for sha in earlier if (found := self.github.find_status(sha, CONTEXT))), None)

    def _set(self, sha: str, verdict: Verdict) -> None:
        self.github.set_status(sha, CONTEXT, verdict)
        click.echo(f"{sha[:10]}: {verdict.state}: {verdict.description}")


def find_pushed(root: Path, commit: str) -> str:
    """Return the newest commit that is none of results, of those up to another; nothing where there is none."""
    return next((found.sha for found in git.list_commits(root, commit) if not is_results(found)), "")


def judge_gates(project: Project, event: Event) -> tuple[list[str], list[str]]:
    """Return the gates that present results of what a branch changes do not pass, and those that git does not tell of.

    A line each. What has no present result, or cannot be read, is a debt, and told of as such.
    """
    affected = select_affected(project, replace(event, name="push", before=""))
    try:
        reporter = Reporter(project, affected.experiments)
        outcomes = list(reporter.check_gates())
        present = {name for name in affected.experiments if not reporter.reader.find_staleness(name, "evaluate")}
    except ConfigError:
        return [], []
    missed = [o for o in outcomes if o.is_judged and not o.is_passed and o.experiment in present]
    return [describe_missed(o) for o in missed], [describe_gate(o) for o in outcomes if not o.is_judged]
