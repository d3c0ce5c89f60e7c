"""`force ci results`: bring the results of all jobs of a push to its branch, in one commit, whoever else pushes."""

import os
import random
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import click

from pipeline.errors import ConfigError, PublishError, UsageError
from pipeline.merging import choose_files
from pipeline.ownership import lock_file_of
from pipeline.project import Project, find_project
from pipeline.statuses import collect_files, lay_over, read_statuses
from pipeline.tools import actions, git

_NUM_TRIES = 10
_MAX_PAUSE_S = 20.0
# No `[skip ci]`: it would keep a pull request that is opened later from being reported on. What a workflow's own token
# pushes starts nothing, and what another pushes has nothing left to run.
_SUBJECT = "results: "
_MESSAGE = _SUBJECT + "{names}\n\nOf the files at {commit}.\n"


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--branch", envvar="GITHUB_REF_NAME", required=True, help="The branch that was pushed.")
@click.option("--remote", default="origin", show_default=True)
def command(folder: Path, branch: str, remote: str) -> None:
    """Commit what the jobs left in FOLDER to the branch; where it moved meanwhile, onto what it is now."""
    project = find_project(Path.cwd())
    statuses = read_statuses(folder)
    files = collect_files(statuses)
    if not files:
        actions.add_summary("No job left a result: nothing to commit.")
        click.echo("no job left a result: nothing to commit")
        return
    base = git.find_commit(project.root, "HEAD")
    if base is None:
        raise UsageError("this checkout has no commit", "commit first")
    publisher = Publisher(project.root, branch, remote, base)
    names = sorted({name for status, _ in statuses for name in status.experiments})
    click.echo(publisher.publish(files, names))


class Publisher:
    """Commits results onto a branch that others push to at the same time."""

    def __init__(self, root: Path, branch: str, remote: str, base: str) -> None:
        self.root = root
        self.branch = branch
        self.remote = remote
        self.base = base  # the commit that the results were made of
        self.token = os.environ.get("GITHUB_TOKEN", "")

    def publish(self, files: Mapping[str, Path], names: list[str]) -> str:
        """Commit and push; return what to say. Raises PublishError where the branch cannot be pushed to."""
        reason = ""
        for attempt in range(_NUM_TRIES):
            if attempt:  # others are pushing too: not all of us again at once
                time.sleep(random.uniform(0, min(_MAX_PAUSE_S, 0.2 * 2**attempt)))
            tip = git.fetch_branch(self.root, self.remote, self.branch, self.token)
            if tip is None:
                return f"the branch {self.branch} is gone: its results stay in the artifacts"
            if os.environ.get("ACT") == "true" and tip != self.base and git.is_ancestor(self.root, tip, self.base):
                message = f"'{self.branch}' at {self.remote} has not got the commit that these are the results of"
                raise PublishError(message, f"git push {self.remote}, or --var FORCE_RESULTS=none")
            with tempfile.TemporaryDirectory(prefix="force-results-") as name:
                commit, dropped = self._commit(Path(name) / "tree", tip, files, names)
            for path in dropped:
                actions.annotate("warning", "a newer push has changed what this is a result of; kept as it is", path)
            if commit is None:
                return "nothing to commit: the branch went on" if dropped else "the branch has these results already"
            reason = git.push_commit(self.root, self.remote, commit, self.branch, self.token)
            if not reason:
                return f"committed {commit[:10]} to {self.branch}: {', '.join(names)}"
            if not git.is_race(reason):
                break
        hint = "the job needs `permissions: contents: write`, and the branch's rules must let it push: docs/ci.md"
        raise PublishError(f"the results cannot be pushed to '{self.branch}': {reason}", hint)

    def _commit(
        self, tree: Path, tip: str, files: Mapping[str, Path], names: list[str]
    ) -> tuple[str | None, list[str]]:
        """Return a commit on top of `tip` with those files whose experiments are still the same, and what is not."""
        with git.hold_worktree(self.root, tree, tip):
            taken, dropped = select_results(self.root, tree, self.base, tip, files)
            lay_over(tree, taken)
            message = _MESSAGE.format(names=", ".join(names), commit=self.base[:10])
            return git.commit_files(tree, sorted(taken), message), dropped


def is_results(commit: git.Commit) -> bool:
    """Say whether a commit is one of ours, as we pushed it: whoever amends one is its committer."""
    return {commit.author_email, commit.committer_email} == {git.BOT_EMAIL} and commit.subject.startswith(_SUBJECT)


def select_results(
    root: Path, tree: Path, base: str, tip: str, files: Mapping[str, Path]
) -> tuple[dict[str, Path], list[str]]:
    """Return which results of the commit `base` belong on `tip`, checked out in `tree`, and the paths of the others."""
    moved = git.list_changed(root, base, tip)
    return choose_files(files, moved, tree, lambda experiment: _count_stale(tree, experiment))


def _count_stale(tree: Path, experiment: str) -> int:
    """Return how many stages of an experiment are not those of the files in a tree, as its dvc.lock says."""
    project = Project(tree)
    try:
        found = {experiment: project.experiments.get(experiment)}
        ownership = project.ownership(found)
        planner = project.planner(ownership)
        return sum(bool(planner.find_staleness(stage)) for stage in ownership.owned(experiment))
    except (ConfigError, UsageError):
        return 1 if (tree / lock_file_of(experiment)).exists() else 2
