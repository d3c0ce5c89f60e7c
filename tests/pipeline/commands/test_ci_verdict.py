"""`force ci verdict`, on the commits of a real repository: a push and its results are judged alike."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.commands.ci_verdict import CONTEXT
from pipeline.tools.git import BOT_EMAIL
from tests.checkouts import Checkout, Ended, make_checkout
from tests.remotes import Origin, add_origin, push
from tests.standins.github import GitHubStandIn
from tests.steps import Step

pytestmark = pytest.mark.slow

RESULTS = "results: x\n\nOf the files at 0123456789.\n"


class Lab:
    """A branch `topic` on GitHub, and the job `verdict` of a workflow that ran for it."""

    def __init__(self, checkout: Checkout, step: Step, github: GitHubStandIn, force: Callable[..., Ended]) -> None:
        self.checkout = checkout
        self.step = step
        self.github = github
        self._force = force
        self.origin: Origin = add_origin(checkout)
        github.git_dir = self.origin.root

    def push(self, text: str) -> str:
        """Push what a person commits."""
        self.checkout.write("file", text)
        return push(self.checkout, "topic")

    def push_results(self, *, email: str = BOT_EMAIL, message: str = RESULTS) -> str:
        """Push what the job `results` commits."""
        author = ("-c", "user.name=somebody", "-c", f"user.email={email}")
        self.checkout.git(*author, "commit", "--quiet", "--allow-empty", "--message", message)
        self.checkout.git("push", "--quiet", "origin", "HEAD:refs/heads/topic")
        return self.origin.tip("topic")

    def judge(self, commit: str, result: str, *args: str, event: str = "push", **payload: Any) -> Ended:
        """Say how the run of a commit ended."""
        self.step.set_event(event, payload, GITHUB_REF_NAME="topic", GITHUB_SHA=commit)
        return self._force("ci", "verdict", result, *args, at=str(self.checkout.root))

    def state(self, commit: str) -> str:
        """Return what is said of a commit, nothing where nothing is."""
        return self.github.said_of(commit).get(CONTEXT, "")


@pytest.fixture
def lab(force: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab with an empty branch; GitHub must not have been spoken to in a way that it would not understand."""
    (tmp_path / "clone").mkdir()
    step = Step(tmp_path, monkeypatch)
    with GitHubStandIn() as github:
        step.set(GITHUB_API_URL=github.url, GITHUB_TOKEN=github.token, GITHUB_REPOSITORY=github.repository)
        step.set(GITHUB_SERVER_URL="https://github.com", GITHUB_RUN_ID="7")
        yield Lab(make_checkout(tmp_path / "clone"), step, github, force)
    assert github.violations == []


@pytest.mark.parametrize(
    ("result", "state"),
    [("success", "success"), ("failure", "failure"), ("cancelled", "error"), ("skipped", "error")],
)
def test_push_has_the_status_of_its_run(lab: Lab, result: str, state: str) -> None:
    commit = lab.push("1")
    ended = lab.judge(commit, result, "--description", "2 of 3 jobs failed")
    assert (ended.status, ended.err) == (0, "")
    (status,) = lab.github.statuses
    assert (status.sha, status.context, status.state) == (commit, "force/experiments", state)
    assert status.description == "2 of 3 jobs failed"
    assert status.target_url == "https://github.com/octo-lab/force-build/actions/runs/7"


def test_status_has_the_word_when_nothing_describes_it(lab: Lab) -> None:
    lab.judge(lab.push("1"), "cancelled", "--description", "")
    assert lab.github.statuses[0].description == "cancelled"


@pytest.mark.parametrize("result", ["success", "failure"])
def test_results_have_the_status_of_their_push(lab: Lab, result: str) -> None:
    commit = lab.push("1")
    lab.push_results()
    newest = lab.push_results()
    ended = lab.judge(commit, result)
    assert (lab.state(commit), lab.state(newest)) == (result, result)
    assert ended.out.splitlines()[-2:] == [
        f"{commit[:10]}: {result}",
        f"{newest[:10]}, results on top of {commit[:10]}: {result}",
    ]


def test_results_have_the_status_of_the_push_that_they_stand_on(lab: Lab) -> None:
    older = lab.push("1")
    newer = lab.push("2")
    assert lab.judge(newer, "failure").status == 0
    results = lab.push_results()  # of the older push, whose run ends last
    assert lab.judge(older, "success").status == 0
    assert (lab.state(older), lab.state(newer), lab.state(results)) == ("success", "failure", "failure")


def test_results_wait_when_the_push_that_they_stand_on_still_runs(lab: Lab) -> None:
    older = lab.push("1")
    newer = lab.push("2")
    results = lab.push_results()
    assert lab.judge(older, "success").status == 0
    assert (lab.state(older), lab.state(newer), lab.state(results)) == ("success", "", "")
    assert lab.judge(newer, "success").status == 0
    assert lab.state(results) == "success"


@pytest.mark.parametrize(
    "commit", [{"email": "ada@lab.org"}, {"message": "format the code"}, {"message": "x\n\nresults: x"}]
)
def test_commit_of_another_inherits_nothing(lab: Lab, commit: dict[str, str]) -> None:
    pushed = lab.push("1")
    newer = lab.push_results(**commit)
    assert lab.judge(pushed, "success").status == 0
    assert (lab.state(pushed), lab.state(newer)) == ("success", "")


@pytest.mark.parametrize("result", ["success", "failure"])
def test_results_that_somebody_asked_for_inherit_and_change_nothing(lab: Lab, result: str) -> None:
    commit = lab.push("1")
    lab.judge(commit, "failure")
    results = lab.push_results()
    assert lab.judge(commit, result, event="workflow_dispatch", inputs={"experiments": "x"}).status == 0
    assert (lab.state(commit), lab.state(results)) == ("failure", "failure")
    assert len(lab.github.statuses) == 2


def test_push_has_its_status_when_the_branch_is_gone(lab: Lab) -> None:
    commit = lab.push("1")
    lab.origin.git("update-ref", "refs/heads/other", commit)
    lab.origin.git("update-ref", "-d", "refs/heads/topic")
    assert lab.judge(commit, "success").status == 0
    assert lab.state(commit) == "success"


def test_nothing_is_said_of_a_branch_that_was_deleted(lab: Lab) -> None:
    commit = lab.push("1")
    assert lab.judge(commit, "success", deleted=True).status == 0
    assert lab.github.requests == []


def test_nothing_is_said_when_a_rehearsal_has_no_token(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    monkeypatch.setenv("ACT", "true")
    ended = lab.judge(lab.push("1"), "success")
    assert (ended.status, lab.github.requests) == (0, [])
    assert "no token, as in a rehearsal: no status is set" in ended.out


def test_error_names_the_variable_when_there_is_no_token(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    ended = lab.judge(lab.push("1"), "success")
    assert (ended.status, ended.err.splitlines()[0]) == (8, "error: GITHUB_TOKEN not set in the environment")


def test_error_names_the_permission_when_github_refuses(lab: Lab) -> None:
    lab.github.fail(403, "Resource not accessible by integration")
    ended = lab.judge(lab.push("1"), "success")
    assert ended.status == 8
    assert "permissions: statuses: write" in ended.err
