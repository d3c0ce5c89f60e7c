"""A pull request is reported on, from what its branch has already: one comment, on GitHub's API as it is described."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.comments import MARKER
from tests.checkouts import with_bins
from tests.standins.github import GitHubStandIn
from tests.workflows.labs import REPOSITORY, ActRun, Lab

TOKEN = "t0k3n-of-the-job"


@pytest.fixture
def github() -> Iterator[GitHubStandIn]:
    """GitHub's API on loopback; it must not have been spoken to in a way that GitHub would not understand."""
    with GitHubStandIn(REPOSITORY, TOKEN) as server:
        yield server
    assert server.violations == []


def act(lab: Lab, github: GitHubStandIn, event: str, payload: Path, *args: str) -> ActRun:
    """Run an event with GitHub's API at hand, which knows the commits of `origin`."""
    github.git_dir = lab.folder / "origin.git"
    api = ("--env", f"GITHUB_API_URL={github.url}", "--secret", f"GITHUB_TOKEN={TOKEN}")
    return lab.act(event, payload, *api, *args)


def open_pull_request(lab: Lab, github: GitHubStandIn, branch: str, source: str = REPOSITORY) -> Path:
    """Open a pull request into main; return its event."""
    number = github.add_pull_request(branch, head_repository="" if source == REPOSITORY else source)
    payload = {
        "action": "opened",
        "pull_request": {
            "number": number,
            "head": {"ref": branch, "sha": lab.git("rev-parse", "HEAD"), "repo": {"full_name": source}},
            "base": {"ref": "main", "repo": {"full_name": REPOSITORY}},
        },
        "repository": {"default_branch": "main", "full_name": REPOSITORY},
    }
    return lab.write_event("pull_request", payload)


def start_branch(lab: Lab, branch: str) -> None:
    """Commit a change of `judge`, which trains nothing, to a new branch."""
    lab.git("checkout", "--quiet", "-b", branch)
    lab.experiment("judge", with_bins(5))
    lab.commit()


def test_the_comment_is_there_when_the_pull_request_is_opened_after_the_push(lab: Lab, github: GitHubStandIn) -> None:
    branch = "bins/$(touch${IFS}pwned)`x`"
    start_branch(lab, branch)
    pushed = act(lab, github, "push", lab.push(branch), "--var", "FORCE_RESULTS=branch")
    assert pushed.status == 0, pushed.text
    assert github.comments == []
    results = lab.git("ls-remote", "origin", f"refs/heads/{branch}").partition("\t")[0]
    assert results != lab.git("rev-parse", "HEAD")
    for commit in (results, lab.git("rev-parse", "HEAD")):
        assert github.said_of(commit) == {"force/experiments": "success"}
    lab.git("pull", "--quiet", "--rebase", "origin", branch)
    payload = open_pull_request(lab, github, branch)
    for _ in range(150):
        github.add_comment(1, "words", login="somebody")
    run = act(lab, github, "pull_request", payload)
    assert run.status == 0, run.text
    assert [job for job in run.results if "wave" in job or "image" in job] == []
    (comment,) = [body for body in github.bodies(1) if body.startswith(MARKER)]
    assert "### judge\n" in comment
    assert "\n| accuracy |" in comment
    assert "\n| calibration_error |" in comment
    assert "| against main |" in comment
    assert "### wide" not in comment  # the branch does not change it
    again = act(lab, github, "pull_request", payload)
    assert again.status == 0, again.text
    assert len([body for body in github.bodies(1) if body.startswith(MARKER)]) == 1
    assert not list(lab.folder.rglob("pwned"))


def test_a_push_updates_the_comments_of_its_open_pull_requests(lab: Lab, github: GitHubStandIn) -> None:
    start_branch(lab, "bins")
    lab.push("bins")
    run = act(lab, github, "pull_request", open_pull_request(lab, github, "bins"))
    assert run.status == 0, run.text
    (pending,) = github.bodies(1)
    assert "judge is out of date" in pending
    lab.git("push", "--quiet", "origin", "main:refs/heads/release")
    other = github.add_pull_request("bins", "release")
    head = lab.git("rev-parse", "HEAD")
    payload = {"before": lab.git("rev-parse", "HEAD~1"), "after": head, "repository": {"default_branch": "main"}}
    pushed = act(lab, github, "push", lab.write_event("push", payload), "--var", "FORCE_RESULTS=branch")
    assert pushed.status == 0, pushed.text
    for number, base in ((1, "main"), (other, "release")):
        (comment,) = github.bodies(number)
        assert "out of date" not in comment
        assert re.findall(r"\| against ([\w ]+) \|", comment) == [base]
        assert re.search(r"^\| accuracy \|.+\| [+-][\d.]+ to [+-][\d.]+ \|", comment, re.MULTILINE)
        assert "confusion of judge" in comment


def test_a_fork_runs_nothing_on_our_machines(lab: Lab, github: GitHubStandIn) -> None:
    start_branch(lab, "bins")
    lab.push("bins")
    run = act(lab, github, "pull_request", open_pull_request(lab, github, "bins", source="stranger/experiments"))
    assert run.status == 0, run.text
    assert set(run.results) == {"experiments/plan", "experiments/report gate"}
    assert "judge" in run.summaries["experiments/plan"]
    assert github.requests == []
