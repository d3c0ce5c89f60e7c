"""`force ci results` on real remotes: results reach their branch whoever else pushes, and no newer ones are lost."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.commands import ci_results
from pipeline.ownership import STAGES, folder_of
from pipeline.statuses import Status, list_result_files, write_status
from tests.checkouts import ROOT, Checkout, Ended
from tests.recorded import record, resolve, sync
from tests.remotes import Origin, add_origin, push
from tests.steps import Step, read_commands

pytestmark = pytest.mark.slow

Force = Callable[..., Ended]
NAMES = ("x", "y", "z")
DROPPED = "a newer push has changed what this is a result of; kept as it is"


class Lab:
    """A checkout that was pushed without results, an origin, and what the jobs of that push left."""

    def __init__(self, checkout: Checkout, folder: Path) -> None:
        self.checkout = checkout
        self.folder = folder
        self.origin: Origin = add_origin(checkout)
        for number, name in enumerate(NAMES):
            checkout.experiment(name, f"params: {{train: {{epochs: {number + 5}}}}}\n")
        sync(checkout)
        self.base = push(checkout)
        record(checkout)
        for name in ("common", *NAMES):
            checkout.write(f"{folder_of(name)}/outputs/costs.json", "{}")
        self.results = self.hand_on("results", self.base, "common", *NAMES)

    def hand_on(self, name: str, commit: str, *experiments: str) -> Path:
        """Write what the jobs of a push leave: the results in the checkout of these experiments."""
        for experiment in experiments:
            status = Status(experiment, 1, (experiment,), "ok", commit)
            write_status(status, self.checkout.root, self.folder / name / experiment)
        return self.folder / name

    def clone(self, name: str) -> Checkout:
        """Return another clone, as somebody else has it."""
        return self.origin.clone(self.folder / name)


@pytest.fixture
def lab(checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab whose machines have no name for git."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    return Lab(checkout, tmp_path)


@pytest.fixture
def publish(lab: Lab, force: Force) -> Callable[..., Ended]:
    """Publish what jobs left from the job that runs `force ci results`, in a clone made at the start."""
    job = lab.clone("job")

    def call(results: Path | None = None, branch: str = "main") -> Ended:
        ended = force("ci", "results", str(results or lab.results), "--branch", branch, at=str(job.root))
        assert job.git("status", "--porcelain") == ""
        assert job.git("worktree", "list").count("\n") == 0
        return ended

    return call


def list_changed(origin: Origin, start: str, end: str = "main") -> list[str]:
    return origin.git("diff", "--name-only", start, end).split()


def list_results(*experiments: str) -> list[str]:
    return sorted(path for experiment in experiments for path in list_result_files(experiment))


def find_stale(clone: Checkout) -> set[tuple[str, str]]:
    """Return the stages whose recorded result is not that of the files."""
    project, ownership = resolve(clone)
    planner = project.planner(ownership)
    stages = [ownership.effective(name, stage) for name in project.select(()) for stage in STAGES]
    return {stage.id for stage in stages if planner.find_staleness(stage)}


def race(clone: Checkout, other: Checkout, *, always: bool = False) -> None:
    """Let `other` push its commits whenever `clone` is about to, or only the first time."""
    once = "" if always else f"rm '{clone.root}/.git/hooks/pre-push'\n"
    hook = clone.write(
        ".git/hooks/pre-push",
        f"#!/bin/sh\nunset GIT_DIR\n{once}cd '{other.root}' && git -c user.name=T -c user.email=t@example.com commit "
        "--quiet --allow-empty -m another && git push --quiet origin HEAD:main\n",
    )
    hook.chmod(0o755)


def test_results_of_all_jobs_are_one_commit_when_the_branch_stands_still(lab: Lab, publish: Force) -> None:
    ended = publish()
    tip = lab.origin.tip("main")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == f"committed {tip[:10]} to main: common, x, y, z\n"
    assert lab.origin.git("log", "-1", "--format=%P %an", "main") == f"{lab.base} github-actions[bot]"
    message = f"results: common, x, y, z\n\nOf the files at {lab.base[:10]}."
    assert lab.origin.git("log", "-1", "--format=%B", "main") == message
    generated = {"dvc.yaml", *(f"experiments/{name}/dvc.yaml" for name in NAMES)}  # were there, and are the same
    assert set(list_changed(lab.origin, lab.base)) == set(list_results("common", *NAMES)) - generated


def test_every_result_is_that_of_the_files_when_a_fresh_clone_has_it(lab: Lab, publish: Force) -> None:
    before = lab.clone("before")
    publish()
    assert find_stale(before) == {("common", name) for name in STAGES} | {
        (name, stage) for name in NAMES for stage in ("train", "evaluate")
    }
    assert find_stale(lab.clone("after")) == set()


def test_nothing_is_committed_when_the_branch_has_the_results_already(lab: Lab, publish: Force) -> None:
    publish()
    tip = lab.origin.tip("main")
    ended = publish()
    assert ended == Ended(0, "the branch has these results already\n", "")
    assert lab.origin.tip("main") == tip


def test_nothing_is_committed_when_no_job_left_a_result(lab: Lab, publish: Force, tmp_path: Path) -> None:
    write_status(Status("x", 1, ("x",), "failed", lab.base), tmp_path / "nowhere", tmp_path / "none" / "x")
    ended = publish(tmp_path / "none")
    assert ended.status == 0
    assert ended.out.endswith("no job left a result: nothing to commit\n")
    assert lab.origin.tip("main") == lab.base


def test_results_follow_what_others_pushed_when_the_branch_moved(lab: Lab, publish: Force) -> None:
    other = lab.clone("other")
    other.write("README.md", "theirs")
    theirs = push(other)
    assert publish().status == 0
    assert lab.origin.git("rev-parse", "main~1") == theirs
    assert lab.origin.read("main", "README.md") == "theirs"
    assert "experiments/x/dvc.lock" in list_changed(lab.origin, theirs)


def test_results_come_second_when_somebody_pushes_at_that_very_moment(lab: Lab, publish: Force) -> None:
    other = lab.clone("other")
    race(Checkout(lab.folder / "job"), other)
    ended = publish()
    assert (ended.status, ended.err) == (0, "")
    assert lab.origin.git("log", "--format=%s", "main").splitlines()[:2] == [
        "results: common, x, y, z",
        "another",
    ]


def test_publishing_fails_when_somebody_is_always_faster(
    lab: Lab, publish: Force, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ci_results, "_NUM_TRIES", 2)
    race(Checkout(lab.folder / "job"), lab.clone("other"), always=True)
    ended = publish()
    assert ended.status == 8
    assert ended.err.startswith("error: the results cannot be pushed to 'main': [re")
    assert lab.origin.git("log", "--format=%s", "main").splitlines()[:2] == ["another", "another"]


def test_no_result_is_lost_when_three_jobs_publish_at_once(lab: Lab) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    jobs = []
    for name in NAMES:
        command = [sys.executable, "-m", "pipeline", "ci", "results", str(lab.hand_on(f"of_{name}", lab.base, name))]
        jobs.append(
            subprocess.Popen(
                [*command, "--branch", "main"],
                cwd=lab.clone(f"job_{name}").root,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    assert [job.communicate()[0].splitlines()[-1].split()[-1] for job in jobs] == list(NAMES)
    assert lab.origin.git("rev-list", "--count", "--merges", "main") == "0"
    assert lab.origin.git("rev-list", "--count", f"{lab.base}..main") == "3"
    assert {path.split("/")[1] for path in list_changed(lab.origin, lab.base)} == set(NAMES)


# A newer push


def change_x(lab: Lab) -> str:
    """Push another training of `x`, and return the commit."""
    other = lab.clone("newer")
    other.experiment("x", "params: {train: {epochs: 50}}\n")
    sync(other)
    return push(other)


def publish_newer(lab: Lab, force: Force, newer: str) -> str:
    """Publish the results of `x` as a newer push has it, and return the commit."""
    lab.checkout.git("fetch", "--quiet", "origin")
    lab.checkout.git("checkout", "--quiet", "--force", newer)
    (lab.checkout.root / "experiments/x/dvc.lock").unlink(missing_ok=True)
    shutil.rmtree(lab.checkout.root / "experiments/x/outputs")
    record(lab.checkout)
    lab.checkout.write("experiments/x/outputs/costs.json", "newer")
    results = lab.hand_on("newer_results", newer, "x")
    job = lab.clone("newer_job")
    job.git("checkout", "--quiet", newer)
    ended = force("ci", "results", str(results), "--branch", "main", at=str(job.root))
    assert ended.status == 0
    return lab.origin.tip("main")


def test_results_are_dropped_when_those_of_a_newer_push_came_first(
    lab: Lab, publish: Force, force: Force, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tip = publish_newer(lab, force, change_x(lab))
    Step(tmp_path, monkeypatch)
    ended = publish()
    assert ended.status == 0
    dropped = sorted(command.properties["file"] for command in read_commands(ended.out))
    assert dropped == list_results("x")
    assert {(command.name, command.data) for command in read_commands(ended.out)} == {("warning", DROPPED)}
    changed = list_changed(lab.origin, tip)
    assert not [path for path in changed if path.startswith("experiments/x/")]
    assert {"dvc.lock", "experiments/y/dvc.lock", "experiments/z/dvc.lock"} <= set(changed)


def test_nothing_is_committed_when_all_results_are_dropped(lab: Lab, publish: Force, force: Force) -> None:
    late = lab.hand_on("late", lab.base, "x")
    tip = publish_newer(lab, force, change_x(lab))
    ended = publish(late)
    assert ended.status == 0
    assert lab.origin.tip("main") == tip
    assert ended.out == "nothing to commit: the branch went on\n"


def test_newer_results_take_the_place_of_older_ones_when_they_come_second(
    lab: Lab, publish: Force, force: Force
) -> None:
    newer = change_x(lab)
    assert publish().status == 0
    tip = lab.origin.tip("main")
    assert "experiments/x/dvc.lock" in list_changed(lab.origin, newer)
    publish_newer(lab, force, newer)
    assert "experiments/x/dvc.lock" in list_changed(lab.origin, tip)
    assert lab.origin.read("main", "experiments/x/outputs/costs.json") == "newer"


def test_results_are_better_than_none_when_a_newer_push_broke_the_experiment(lab: Lab, publish: Force) -> None:
    other = lab.clone("other")
    other.experiment("x", "params: {train: {epoch: 50}}\n")
    other.write("experiments/x/dvc.yaml", "stages: {}\n")
    push(other)
    assert publish() == Ended(0, f"committed {lab.origin.tip('main')[:10]} to main: common, x, y, z\n", "")
    assert "experiments/x/dvc.lock" in list_changed(lab.origin, lab.base)


def test_results_are_dropped_when_their_experiment_was_deleted(lab: Lab, publish: Force) -> None:
    other = lab.clone("other")
    other.git("rm", "-r", "--quiet", "experiments/x")
    push(other)
    ended = publish()
    assert ended.status == 0
    assert ended.err.splitlines() == [f"warning: {path}: {DROPPED}" for path in list_result_files("x")]
    files = lab.origin.git("ls-tree", "-r", "--name-only", "main").split()
    assert not [path for path in files if path.startswith("experiments/x/")]
    assert "experiments/y/dvc.lock" in files


def test_results_are_kept_when_the_branch_was_rewritten_and_the_experiments_are_the_same(
    lab: Lab, publish: Force
) -> None:
    other = lab.clone("other")
    other.git("commit", "--quiet", "--amend", "--message", "rewritten")
    push(other)
    assert publish().status == 0
    assert "experiments/x/dvc.lock" in list_changed(lab.origin, lab.base)
    assert lab.origin.git("log", "-1", "--format=%s", "main~2") == "rewritten"


# Where nothing can be published


def test_results_stay_where_they_are_when_the_branch_is_gone(lab: Lab, publish: Force) -> None:
    lab.origin.git("update-ref", "-d", "refs/heads/main")
    ended = publish()
    assert (ended.status, ended.out) == (0, "the branch main is gone: its results stay in the artifacts\n")
    assert lab.origin.git("for-each-ref") == ""


def test_publishing_fails_with_the_remotes_words_when_a_rule_refuses_it(lab: Lab, publish: Force) -> None:
    lab.origin.refuse("only reviewed commits")
    ended = publish()
    assert (ended.status, ended.err) == (
        8,
        "error: the results cannot be pushed to 'main': [remote rejected] (pre-receive hook declined): "
        "only reviewed commits\n"
        "hint: the job needs `permissions: contents: write`, and the branch's rules must let it push: docs/ci.md\n",
    )
    assert lab.origin.count_refused() == 1
    assert lab.origin.tip("main") == lab.base


def test_a_rehearsal_pushes_nothing_when_the_branch_lacks_the_commit_of_the_results(
    lab: Lab, publish: Force, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACT", "true")
    job = Checkout(lab.folder / "job")
    job.write("a.txt", "not pushed")
    job.commit()
    ended = publish()
    assert ended.status == 8
    assert ended.err.startswith("error: 'main' at origin has not got the commit that these are the results of\n")
    assert lab.origin.tip("main") == lab.base


def test_others_results_are_committed_when_a_status_is_not_one_of_ours(lab: Lab, publish: Force) -> None:
    (lab.results / "x/status.json").write_text("{}")
    ended = publish()
    assert (ended.status, ended.out.partition(" to ")[2]) == (0, "main: common, y, z\n")
    assert "experiments/x/dvc.lock" not in list_changed(lab.origin, lab.base)
    assert "experiments/y/dvc.lock" in list_changed(lab.origin, lab.base)


def test_publishing_fails_when_there_is_no_commit(lab: Lab, force: Force, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "new")], check=True)
    for name in ("params.yaml", "common/x"):
        Checkout(tmp_path / "new").write(name, "")
    ended = force("ci", "results", str(lab.results), "--branch", "main", at=str(tmp_path / "new"))
    assert (ended.status, ended.err) == (2, "error: this checkout has no commit\nhint: commit first\n")
