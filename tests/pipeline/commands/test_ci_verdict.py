"""`force ci verdict`, on the commits of real repositories: a push, the results that it gets, and what a branch owes."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.tools.git import BOT_EMAIL
from pipeline.verdicts import CONTEXT
from tests.checkouts import Checkout, Ended
from tests.recorded import record, sync
from tests.remotes import Origin, add_origin, push
from tests.standins.github import GitHubStandIn
from tests.steps import Step

pytestmark = pytest.mark.slow

RESULTS = "results: x\n\nOf the files at 0123456789.\n"
DONE = "all that the branch changes has its results"


class Lab:
    """A branch `topic` of a repository whose main has all results, and the job `verdict` of a run for it."""

    def __init__(
        self, checkout: Checkout, step: Step, github: GitHubStandIn, force: Callable[..., Ended], folder: Path
    ) -> None:
        self.checkout = checkout
        self.step = step
        self.github = github
        self._force = force
        self._folders = (folder / f"job{number}" for number in itertools.count())
        record(checkout)
        self.origin: Origin = add_origin(checkout)
        github.git_dir = self.origin.root
        push(checkout)
        checkout.git("checkout", "--quiet", "-b", "topic")

    def push(self, text: str, branch: str = "topic") -> str:
        """Push a document that a person wrote."""
        self.checkout.write("notes.md", text)
        return push(self.checkout, branch)

    def push_experiment(self, name: str = "x", epochs: int = 5, **files: str) -> str:
        """Push an experiment without results."""
        self.checkout.experiment(name, f"params: {{train: {{epochs: {epochs}}}}}\n", **files)
        sync(self.checkout)
        return push(self.checkout, "topic")

    def push_results(self, *, author: str = BOT_EMAIL, committer: str = BOT_EMAIL, message: str = RESULTS) -> str:
        """Push what the job `results` commits: the results of all that the checkout has."""
        record(self.checkout)
        self.checkout.git("add", "--all")
        identity = ("-c", "user.name=somebody", "-c", f"user.email={committer}")
        self.checkout.git(*identity, "commit", "--quiet", "--allow-empty", f"--author=a <{author}>", "-m", message)
        self.checkout.git("push", "--quiet", "--force", "origin", "HEAD:refs/heads/topic")
        return self.origin.tip("topic")

    def judge(
        self, commit: str, result: str, *args: str, event: str = "push", branch: str = "topic", **payload: Any
    ) -> Ended:
        """Say how the run of a commit ended, from a clone that has it checked out."""
        job = self.origin.clone(next(self._folders), "main")
        job.git("checkout", "--quiet", commit)
        payload = {"repository": {"default_branch": "main"}, **payload}
        self.step.set_event(event, payload, GITHUB_REF_NAME=branch, GITHUB_SHA=commit)
        ended = self._force("ci", "verdict", result, *args, at=str(job.root))
        assert job.git("worktree", "list").count("\n") == 0
        return ended

    def state(self, commit: str) -> str:
        """Return what is said of a commit, nothing where nothing is."""
        return self.github.said_of(commit).get(CONTEXT, "")

    def description(self, commit: str) -> str | None:
        """Return the words that were said of a commit last."""
        return [status.description for status in self.github.statuses if status.sha == commit][-1]


@pytest.fixture
def lab(
    checkout: Checkout, force: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    """A lab; GitHub must not have been spoken to in a way that it would not understand."""
    step = Step(tmp_path, monkeypatch)
    with GitHubStandIn() as github:
        step.set(GITHUB_API_URL=github.url, GITHUB_TOKEN=github.token, GITHUB_REPOSITORY=github.repository)
        step.set(GITHUB_SERVER_URL="https://github.com", GITHUB_RUN_ID="7")
        yield Lab(checkout, step, github, force, tmp_path)
    assert github.violations == []


# A push


def test_push_is_green_when_its_branch_owes_nothing(lab: Lab) -> None:
    commit = lab.push("1")
    ended = lab.judge(commit, "success", "--description", "all 0 jobs are fine")
    assert (ended.status, ended.err) == (0, "")
    assert (lab.state(commit), lab.description(commit)) == ("success", DONE)
    assert {status.target_url for status in lab.github.statuses} == {
        "https://github.com/octo-lab/force-build/actions/runs/7"
    }


@pytest.mark.parametrize(("result", "state"), [("failure", "failure"), ("cancelled", "error"), ("skipped", "error")])
def test_push_is_red_when_its_run_was_and_results_are_missing(lab: Lab, result: str, state: str) -> None:
    commit = lab.push_experiment()
    assert lab.judge(commit, result, "--description", "1 of 8 jobs failed").status == 0
    assert (lab.state(commit), lab.description(commit)) == (state, "1 of 8 jobs failed")


def test_status_has_the_word_when_nothing_describes_it(lab: Lab) -> None:
    commit = lab.push_experiment()
    lab.judge(commit, "cancelled", "--description", "")
    assert lab.description(commit) == "cancelled"


@pytest.mark.parametrize(("result", "state"), [("success", "success"), ("failure", "failure"), ("cancelled", "error")])
@pytest.mark.parametrize("place", ["no results are wanted", "the default branch"])
def test_run_alone_counts_when_nothing_can_be_owed(lab: Lab, place: str, result: str, state: str) -> None:
    commit = lab.push_experiment()
    if place == "the default branch":
        commit = push(lab.checkout, "main")
        lab.judge(commit, result, branch="main")
    else:
        lab.judge(commit, result, "--results", "none")
    assert lab.state(commit) == state


def test_push_waits_when_the_branch_still_owes_what_an_earlier_push_brought(lab: Lab) -> None:
    failed = lab.push_experiment()
    lab.judge(failed, "failure")
    commit = lab.push("only a document")
    lab.judge(commit, "success")
    assert (lab.state(failed), lab.state(commit)) == ("failure", "pending")
    assert {status.state for status in lab.github.statuses if status.sha == commit} == {"pending"}  # at no time green
    assert lab.description(commit) == "no results yet: x"


def test_push_waits_when_the_branch_has_a_fault_of_an_earlier_push(lab: Lab) -> None:
    lab.push_experiment()
    lab.push_results()
    lab.checkout.experiment("broken", "params: {train: {epoch: 3}}\n")
    push(lab.checkout, "topic")
    commit = lab.push("only a document")
    lab.judge(commit, "success")
    assert (lab.state(commit), lab.description(commit)) == (
        "pending",
        "no results yet: experiments/broken/experiment.yaml",
    )


def test_push_is_not_judged_again_when_the_next_one_came(lab: Lab) -> None:
    older, newer = lab.push("1"), lab.push("2")
    lab.judge(older, "success")
    assert (lab.state(older), lab.state(newer)) == ("success", "")


# Results


def test_results_are_green_when_nothing_is_missing(lab: Lab) -> None:
    commit = lab.push_experiment()
    lab.push_results()
    newest = lab.push_results()
    ended = lab.judge(commit, "success", "--description", "all 1 jobs are fine")
    assert (lab.state(commit), lab.state(newest)) == ("success", "success")
    assert ended.out.splitlines()[-2:] == [
        f"{commit[:10]}: success: all 1 jobs are fine",
        f"{newest[:10]}: success: {DONE}",
    ]


def test_results_are_red_when_another_experiment_of_the_push_failed(lab: Lab) -> None:
    commit = lab.push_experiment()
    results = lab.push_results()
    lab.checkout.git("reset", "--quiet", "--hard", commit)
    lab.checkout.experiment("failing", "params: {train: {epochs: 9}}\n")
    sync(lab.checkout)
    commit = push(lab.checkout, "topic")
    lab.checkout.git("checkout", "--quiet", results, "--", "experiments/x")
    lab.checkout.git("add", "--all")
    identity = ("-c", "user.name=a", "-c", f"user.email={BOT_EMAIL}")
    lab.checkout.git(*identity, "commit", "--quiet", f"--author=a <{BOT_EMAIL}>", "-m", RESULTS)
    lab.checkout.git("push", "--quiet", "origin", "HEAD:refs/heads/topic")
    lab.judge(commit, "failure", "--description", "1 of 9 jobs failed")
    newest = lab.origin.tip("topic")
    assert (lab.state(newest), lab.description(newest)) == ("failure", "1 of 9 jobs failed")


def test_results_wait_for_the_run_of_the_push_that_they_stand_on(lab: Lab) -> None:
    older = lab.push_experiment()
    newer = lab.push("2")
    results = lab.push_results()
    lab.judge(older, "success")
    assert (lab.state(older), lab.state(newer), lab.state(results)) == ("success", "", "")
    lab.judge(newer, "success")
    assert (lab.state(newer), lab.state(results)) == ("success", "success")


def test_results_of_an_older_push_make_the_branch_green_when_they_come_last(lab: Lab) -> None:
    older = lab.push_experiment()
    newer = lab.push("2")
    lab.judge(newer, "success")
    assert lab.state(newer) == "pending"
    results = lab.push_results()
    lab.judge(older, "success")
    assert lab.state(results) == "success"


def test_results_make_good_what_failed_whoever_asked_for_them(lab: Lab) -> None:
    commit = lab.push_experiment()
    lab.judge(commit, "failure")
    results = lab.push_results()
    lab.judge(commit, "success", event="workflow_dispatch", inputs={"experiments": "x"})
    assert (lab.state(commit), lab.state(results)) == ("failure", "success")


def test_run_that_somebody_asked_for_says_nothing_of_the_push(lab: Lab) -> None:
    commit = lab.push_experiment()
    lab.judge(commit, "success", event="workflow_dispatch", inputs={"experiments": "common"})
    assert lab.github.statuses == []


@pytest.mark.parametrize(
    "commit", [{"author": "ada@lab.org"}, {"committer": "ada@lab.org"}, {"message": "x\n\nresults: x"}]
)
def test_commit_of_another_is_not_taken_for_results(lab: Lab, commit: dict[str, str]) -> None:
    pushed = lab.push_experiment()
    newer = lab.push_results(**commit)
    lab.judge(pushed, "success")
    assert (lab.state(pushed), lab.state(newer)) == ("success", "")


def test_results_that_somebody_amended_are_judged_by_their_own_run(lab: Lab) -> None:
    lab.judge(lab.push_experiment(), "success")
    lab.push_results()
    lab.checkout.experiment("broken", "params: {train: {epochs: 9}}\n")
    sync(lab.checkout)
    lab.checkout.git("add", "--all")
    lab.checkout.git("commit", "--quiet", "--amend", "--no-edit")
    lab.checkout.git("push", "--quiet", "--force", "origin", "HEAD:refs/heads/topic")
    amended = lab.origin.tip("topic")
    lab.judge(amended, "failure")
    assert lab.state(amended) == "failure"


# What moves meanwhile


def test_branch_is_looked_at_again_when_results_come_while_the_push_is_judged(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = lab.push("1")
    results: list[str] = []

    class Late(type(lab.github.statuses)):  # type: ignore[misc]
        """The results come when the branch has been judged without them."""

        def append(self, status: Any) -> None:
            super().append(status)
            if len(self) == 1:
                results.append(lab.push_results())

    lab.github.statuses = Late()
    assert lab.judge(commit, "success").status == 0
    assert lab.state(results[0]) == "success"


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


# GitHub


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


# Gates


def test_results_are_red_when_they_miss_a_gate_also_after_another_push(lab: Lab) -> None:
    lab.checkout.experiment("x", "params: {train: {epochs: 5}}\ngates: [accuracy >= 2]\n")
    sync(lab.checkout)
    pushed = push(lab.checkout, "topic")
    results = lab.push_results()
    assert lab.judge(pushed, "failure", "--description", "1 gate is not passed").status == 0
    assert (lab.state(pushed), lab.state(results)) == ("failure", "failure")
    assert str(lab.description(results)).startswith("not passed: x: accuracy >= 2: 0.")
    later = lab.push("words")
    assert lab.judge(later, "success").status == 0
    assert lab.state(later) == "failure"
    lab.checkout.experiment("x", "params: {train: {epochs: 5}}\ngates: [accuracy >= 0]\n")
    mended = push(lab.checkout, "topic")
    assert lab.judge(mended, "success").status == 0
    assert lab.state(mended) == "success"


LATENCY = "latency_ms.one_sample <= 0"


def push_with_gate(lab: Lab, gate: str) -> tuple[str, str]:
    """Push an experiment with a gate, and its results; return both commits."""
    lab.checkout.experiment("x", f"params: {{train: {{epochs: 5}}}}\ngates: ['{gate}']\n")
    sync(lab.checkout)
    return push(lab.checkout, "topic"), lab.push_results()


def say(missed: str = "", passed: str = "") -> tuple[str, str]:
    """Return the option that has the word of a report."""
    return "--gates", json.dumps({"missed": [missed] if missed else [], "passed": [passed] if passed else []})


def test_gate_of_what_git_does_not_keep_is_the_runs_own_word_until_another_run_passes_it(lab: Lab) -> None:
    pushed, results = push_with_gate(lab, LATENCY)
    assert lab.judge(pushed, "failure", *say(missed=f"x: {LATENCY}: 3")).status == 0
    assert (lab.state(pushed), lab.state(results)) == ("failure", "failure")
    assert lab.description(results) == f"not passed: x: {LATENCY}: 3"
    later = lab.push("words")
    assert lab.judge(later, "success").status == 0
    assert (lab.state(later), lab.description(later)) == ("failure", f"not passed: x: {LATENCY}: 3")
    again = lab.push("more words")
    assert lab.judge(again, "success", *say(passed=f"x: {LATENCY}")).status == 0
    assert lab.state(again) == "success"


@pytest.mark.parametrize("gate", ["num_parameters <= 1000", "model_mib <= 1", LATENCY])
def test_gate_of_a_performance_is_no_fault_where_the_run_passed_it(lab: Lab, gate: str) -> None:
    pushed, results = push_with_gate(lab, gate)
    assert lab.judge(pushed, "success", *say(passed=f"x: {gate}")).status == 0
    assert lab.state(results) == "success"


def test_run_that_had_no_report_is_not_taken_for_one_that_passed(lab: Lab) -> None:
    pushed, results = push_with_gate(lab, LATENCY)
    assert lab.judge(pushed, "failure").status == 0
    assert lab.state(results) == "failure"


def test_word_of_a_run_by_hand_counts_for_the_results_it_stands_on(lab: Lab) -> None:
    pushed, results = push_with_gate(lab, LATENCY)
    assert lab.judge(pushed, "success", *say(passed=f"x: {LATENCY}")).status == 0
    newer = lab.push_results()
    word = say(missed=f"x: {LATENCY}: 3")
    assert lab.judge(results, "failure", *word, event="workflow_dispatch", inputs={"experiments": "x"}).status == 0
    assert lab.state(newer) == "failure"


def test_branch_is_judged_though_results_cannot_be_read(lab: Lab) -> None:
    lab.checkout.experiment("x", "params: {train: {epochs: 5}}\ngates: [accuracy >= 2]\n")
    lab.checkout.write("experiments/x/dvc.lock", "<<<<<<< HEAD\n")
    sync(lab.checkout)
    pushed = push(lab.checkout, "topic")
    assert lab.judge(pushed, "success").status == 0
    assert (lab.state(pushed), lab.description(pushed)) == ("pending", "no results yet: experiments/x/dvc.lock")


def test_gates_that_no_report_wrote_are_an_error(lab: Lab) -> None:
    ended = lab.judge(lab.push("words"), "success", "--gates", "{")
    assert (ended.status, ended.err.splitlines()[0]) == (2, "error: --gates is none of the report: '{'")
