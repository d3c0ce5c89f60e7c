"""`force ci last-run` in clones of a real remote: which run has the evidence for a pull request."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.tools.github import GitHub
from pipeline.verdicts import CONTEXT, Verdict
from tests.checkouts import Checkout, Ended
from tests.remotes import Origin, add_origin, push
from tests.standins.github import GitHubStandIn
from tests.steps import Step

pytestmark = pytest.mark.slow

URL = "https://github.com/octo-lab/force-build/actions/runs/{}"
PAYLOAD = {"pull_request": {"number": 1, "head": {"ref": "topic"}, "base": {"ref": "main"}}}


class Job:
    """A job of a pull request of `topic`."""

    def __init__(self, checkout: Checkout, step: Step, force: Callable[..., Ended], server: GitHubStandIn) -> None:
        self.step = step
        self.server = server
        self.origin: Origin = add_origin(checkout)
        push(checkout, "topic")
        server.git_dir = self.origin.root
        self._force = force
        self.checkout = checkout
        step.set(GITHUB_API_URL=server.url, GITHUB_REPOSITORY=server.repository, GITHUB_TOKEN=server.token)
        step.set(GITHUB_SERVER_URL="https://github.com", GITHUB_RUN_ID="99")
        step.set_event("pull_request", PAYLOAD, GITHUB_HEAD_REF="topic")

    def find(self) -> Ended:
        """Find the run."""
        return self._force("ci", "last-run", at=str(self.checkout.root))

    def say(self, context: str, url: str) -> None:
        """Let the branch's newest commit have a status."""
        github = GitHub(self.server.url, self.server.token, self.server.repository)
        github.set_status(self.origin.tip("topic"), context, Verdict("failure", "one failed", url))

    def push(self, text: str) -> None:
        """Push another commit to the branch."""
        self.checkout.write("notes.md", text)
        push(self.checkout, "topic")


@pytest.fixture
def job(
    checkout: Checkout, force: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Job]:
    """A job whose branch nobody has said anything of."""
    with GitHubStandIn() as server:
        yield Job(checkout, Step(tmp_path, monkeypatch), force, server)
    assert server.violations == []


def test_runs_are_the_last_two_that_commits_name_but_this_one(job: Job) -> None:
    for number in (70, 71, 71, 72):
        job.push(f"for the run {number}, again {len(job.server.statuses)}")
        job.say(CONTEXT, URL.format(number))
        job.say("another", URL.format(50))
    job.push("results")
    job.push("this run")
    job.say(CONTEXT, URL.format(99))
    assert job.find().status == 0
    assert (job.step.outputs["id_1"], job.step.outputs["id_2"]) == ("72", "71")


@pytest.mark.parametrize(
    "url",
    ["", "https://ci.lab.org/71", URL.format(71).replace("lab/", "lab2/"), URL.format("71; rm -r"), URL.format("")],
)
def test_there_is_no_run_when_the_status_names_none(job: Job, url: str) -> None:
    job.say(CONTEXT, url)
    assert job.find().status == 0
    assert job.step.outputs["id_1"] == ""


def test_there_is_no_run_when_nothing_was_said_or_the_branch_is_gone(job: Job) -> None:
    assert job.find().status == 0
    assert job.step.outputs["id_1"] == ""
    job.origin.git("update-ref", "-d", "refs/heads/topic")
    assert job.find().status == 0


def test_it_is_a_warning_alone_when_github_does_not_answer(job: Job) -> None:
    job.say(CONTEXT, URL.format(71))
    job.server.fail(403, "Resource not accessible by integration", times=9)
    ended = job.find()
    assert ended.status == 0
    assert "the artifacts of earlier runs are not looked for: could not read the status" in ended.out
    assert job.step.outputs["id_1"] == ""


@pytest.mark.parametrize("variables", [{"ACT": "true"}, {"GITHUB_TOKEN": ""}])
def test_nothing_is_asked_in_a_rehearsal_or_without_a_token(job: Job, variables: dict[str, str]) -> None:
    job.say(CONTEXT, URL.format(71))
    job.step.set(**variables)
    assert job.find().status == 0
    assert job.step.outputs["id_1"] == ""
