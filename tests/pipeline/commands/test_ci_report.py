"""`force ci report` in clones of real remotes: what a branch did to the metrics, said where people look."""

import hashlib
import html
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.outs import OutFinder, hand_on
from pipeline.ownership import folder_of
from pipeline.statuses import Status, write_status
from tests.checkouts import Checkout, Ended
from tests.recorded import override, read_lock, record, resolve, sync, write_lock
from tests.remotes import Origin, add_origin, push
from tests.reported import leave
from tests.standins.github import NOT_ACCESSIBLE, GitHubStandIn
from tests.steps import Step

pytestmark = pytest.mark.slow

REPOSITORY = {"default_branch": "main"}
EVALUATE = "outputs/evaluate"
PULL_REQUEST = {"number": 1, "head": {"ref": "topic"}, "base": {"ref": "main"}}


class Lab:
    """A checkout whose results are on main, and the job `report` for its branch `topic`."""

    def __init__(self, checkout: Checkout, step: Step, force: Callable[..., Ended], folder: Path) -> None:
        self.checkout = checkout
        self.step = step
        self._force = force
        self._folder = folder
        self.results = folder / "results"
        self._numbers = itertools.count()
        checkout.experiment("x", "params: {train: {epochs: 5}}\n")
        checkout.experiment("y", evaluator=override("evaluator"))
        record(checkout)
        self.set_metrics("common", 0.5)
        self.set_metrics("x", 0.75)
        self.origin: Origin = add_origin(checkout)
        push(checkout)
        checkout.git("checkout", "--quiet", "-b", "topic")

    def set_metrics(self, name: str, accuracy: float, **certificate: Any) -> None:
        """Let the recorded evaluation of an experiment have this accuracy, and its certificate these fields."""
        stages = read_lock(self.checkout, name)
        path = f"{folder_of(name)}/{EVALUATE}/certificate.json"
        documents = {
            "metrics": {"accuracy": accuracy},
            "certificate": {**json.loads((self.checkout.root / path).read_text()), **certificate},
        }
        for out in stages["evaluate"]["outs"]:
            document = documents.get(Path(out["path"]).stem)
            if document:
                text = json.dumps(document)
                self.checkout.write(f"{folder_of(name)}/{out['path']}", text)
                out["md5"] = hashlib.md5(text.encode()).hexdigest()
        write_lock(self.checkout, name, stages)

    def retrain(self, name: str, epochs: int, accuracy: float | None, **certificate: Any) -> None:
        """Change an experiment, and record a result, or none."""
        self.checkout.experiment(name, f"params: {{train: {{epochs: {epochs}}}}}\n")
        if accuracy is None:
            sync(self.checkout)
            return
        for path in (f"experiments/{name}/outputs", f"experiments/{name}/dvc.lock"):
            if (self.checkout.root / path).exists():
                (self.checkout.root / path).rename(self._folder / f"aside{next(self._numbers)}")
        record(self.checkout)
        self.set_metrics(name, accuracy, **certificate)

    def leave_release(self) -> None:
        """Let `release` be what main is, and main go on with another x; `topic` starts from there."""
        self.checkout.git("checkout", "--quiet", "main")
        push(self.checkout, "release")
        self.retrain("x", 6, 0.625)
        push(self.checkout)
        self.checkout.git("checkout", "--quiet", "-B", "topic")

    def hand_on(self, name: str, word: str = "ok", message: str = "", log: str = "") -> None:
        """Let the job of an experiment leave what is in the checkout."""
        status = Status(name, 1, (name,), word, "", message, log=log)
        write_status(status, self.checkout.root, self.results / name)

    def forget_jobs(self) -> None:
        """Let a run begin that has no jobs yet, and nothing in its summary."""
        self.results.rename(self._folder / f"jobs{next(self._numbers)}")
        self.step.clear_summary()

    def push_without_results(self) -> None:
        """Push to the branch what a person commits: no results of this branch."""
        self.checkout.git("add", "--all", ":!*/outputs/*", ":!*dvc.lock")
        self.checkout.git("commit", "--quiet", "--message", "a change")
        self.checkout.git("push", "--quiet", "origin", "HEAD:refs/heads/topic")

    def report(self, *args: str, name: str = "push", branch: str = "topic", **payload: Any) -> Ended:
        """Report, from a clone of the branch made for it."""
        job = self.origin.clone(self._folder / f"job{next(self._numbers)}", branch)
        return self.report_from(job, *args, name=name, branch=branch, **payload)

    def report_from(
        self, job: Checkout, *args: str, name: str = "push", branch: str = "topic", **payload: Any
    ) -> Ended:
        """Report from a clone that was made before."""
        variables = {"GITHUB_REF_NAME": branch, "GITHUB_HEAD_REF": branch if name == "pull_request" else ""}
        self.step.set_event(name, {"repository": REPOSITORY, **payload}, **variables)
        ended = self._force("ci", "report", "--results", str(self.results), *args, at=str(job.root))
        assert job.git("worktree", "list").count("\n") == 0
        assert job.git("status", "--porcelain") == ""
        return ended

    @property
    def rows(self) -> list[list[str]]:
        """Of each row of the tables of the summary: experiment, metric, value, and what each difference is."""
        rows = []
        for section in self.step.summary.split("\n### ")[1:]:
            lines = [line[1:-1].split("|") for line in section.splitlines() if line.startswith("| ")]
            header, _, *cells = [[cell.strip() for cell in line] for line in lines]
            rows += [[header[2], row[0], row[2], f"{row[3]} ({header[1]})", *row[6:]] for row in cells]
        return rows


@pytest.fixture
def lab(checkout: Checkout, force: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab where nobody comments: a rehearsal without a token."""
    step = Step(tmp_path, monkeypatch)
    step.set(ACT="true")
    return Lab(checkout, step, force, tmp_path)


# What is reported


def test_changed_experiments_are_beside_parent_and_base_when_jobs_left_their_results(lab: Lab) -> None:
    lab.retrain("x", 7, 0.875)
    lab.retrain("z", 9, 0.25)
    lab.push_without_results()
    lab.hand_on("x")
    lab.hand_on("z")
    ended = lab.report()
    assert (ended.status, ended.err) == (0, "")
    assert lab.rows == [
        ["z", "accuracy", "0.2500", "▼ -0.2500 (common)"],
        ["x", "accuracy", "0.8750", "▲ +0.3750 (common)", "▲ +0.1250"],
    ]
    assert lab.step.summary.startswith("## Force Build\n")


def test_what_jobs_hand_on_gives_intervals_curves_and_confusion(lab: Lab) -> None:
    lab.retrain("x", 7, 0.9)
    gates = "[accuracy >= 0.8, accuracy >= 95 %, num_parameters <= 10]"
    lab.checkout.experiment("x", f"params: {{train: {{epochs: 7}}}}\ngates: {gates}\n")
    for name, accuracy in (("common", 0.8), ("x", 0.9)):
        rows = "".join(f'{{"epoch": {epoch}, "train_loss": {accuracy / epoch}}}\n' for epoch in (1, 2))
        lab.checkout.write(f"{folder_of(name)}/outputs/train/history.jsonl", rows)
        lab.checkout.write(f"{folder_of(name)}/outputs/evaluate/confusion.csv", "actual,predicted\n8,1\n1,1\n")
        lab.checkout.write(f"{folder_of(name)}/outputs/evaluate/performance.json", '{"num_parameters": 9}')
        leave(lab.checkout, name, accuracy, 0.5)
    push(lab.checkout, "topic")
    lab.hand_on("x")
    project, ownership = resolve(lab.checkout)
    finder = OutFinder(project, ownership, project.planner(ownership), project.cache)
    hand_on(finder, ["x", "common"], lab.results / "x/outs")
    assert lab.report().status == 0
    cells = next(line for line in lab.step.summary.splitlines() if line.startswith("| accuracy | 0.8000 | 0.9000 |"))
    assert "| 🟢 +0.1000 | +0.07" in cells
    assert "| better |" in cells
    assert "- **x** beside common: 🟢 better in accuracy; ⚪ equivalent in cross_entropy" in lab.step.summary
    assert 'title "train_loss: x blue, common orange"' in lab.step.summary
    assert 'x-axis ["8 as 1"]' in lab.step.summary
    assert "1 of 3 gates are not passed" in lab.step.summary
    assert json.loads(lab.step.outputs["gates"]) == {
        "missed": ["x: accuracy >= 95 %: 0.9"],
        "passed": ["x: num_parameters <= 10"],
    }
    evidence = lab.results.parent / "evidence"
    assert lab.report("--evidence", str(evidence)).status == 0
    lab.forget_jobs()
    assert lab.report("--earlier", str(evidence), name="pull_request", pull_request=PULL_REQUEST).status == 0
    assert "🟢 better in accuracy; ⚪ equivalent in cross_entropy" in lab.step.summary
    assert "1 of 3 gates are not passed" in lab.step.summary


def test_what_changed_and_what_it_took_is_told(lab: Lab) -> None:
    lab.checkout.git("checkout", "--quiet", "main")
    for name, seconds, gpus in (("common", 60, []), ("x", 3600, ["H100", "H100"])):
        stage = {"wall_time_s": seconds, "peak_memory_mib": 1024 + seconds, "gpus": gpus, "num_cpus": 2}
        stages = dict.fromkeys(("prepare", "train", "evaluate") if name == "common" else ("train", "evaluate"), stage)
        lab.checkout.write(f"{folder_of(name)}/outputs/costs.json", json.dumps({"version": 1, "stages": stages}))
    push(lab.checkout)
    lab.checkout.git("checkout", "--quiet", "-B", "topic")
    costs = (lab.checkout.root / "experiments/x/outputs/costs.json").read_text()
    lab.retrain("x", 7, 0.875)
    lab.checkout.write("experiments/x/outputs/costs.json", costs)
    lab.checkout.write("notes.md", "words")
    push(lab.checkout, "topic")
    assert lab.report().status == 0
    summary = lab.step.summary
    assert "**x: params changed**\n\n- train.epochs: 5 → 7\n" in summary
    assert "files that changed (1)</summary>\n\n- experiments/x/experiment.yaml +1 −1\n" in summary
    cost = "2.0 h (3 min), 4.00 GPU hours (no GPU), 4,624 MiB at most (1,084 MiB at most)"
    assert f"**x: cost** (in brackets: common): {cost}" in summary
    lab.retrain("x", 8, None)
    push(lab.checkout, "topic")
    lab.step.clear_summary()
    assert lab.report().status == 0
    assert "- **x** has no present result\n" in lab.step.summary
    assert 'x: train<br/>out of date"' in lab.step.summary
    assert "**x: cost**" not in lab.step.summary


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("experiments/y/experiment.yaml", "params: {train: {epoch: 9}}\n"),
        ("experiments/y/dvc.lock", "<<<<<<< HEAD\n"),
    ],
)
def test_new_gates_are_judged_though_nothing_was_trained_and_a_baseline_has_faults(
    lab: Lab, path: str, text: str
) -> None:
    lab.checkout.experiment("x", "params: {train: {epochs: 5}}\ngates: [accuracy >= 0.9, accuracy no worse than y]\n")
    lab.checkout.write(path, text)
    push(lab.checkout, "topic")
    assert lab.report().status == 0
    assert json.loads(lab.step.outputs["gates"])["missed"] == [
        "x: accuracy >= 0.9: 0.75",
        "x: accuracy no worse than y: 'y' has faults: nothing compares with it",
    ]
    assert "2 of 2 gates are not passed" in lab.step.summary


def test_a_stage_that_a_job_ran_for_others_does_not_make_it_their_evaluation(lab: Lab) -> None:
    status = Status("y-prepare", 1, ("y:prepare",), "ok", "", stages={"y:prepare": "done"})
    write_status(status, lab.checkout.root, lab.results / "y-prepare")
    push(lab.checkout, "topic")
    assert lab.report().status == 0
    assert "**y**" not in lab.step.summary


@pytest.mark.parametrize("content", ["actual,predicted\n8,1\n8", "actual\n8", "\x00", ""])
def test_damaged_confusions_do_no_harm(lab: Lab, content: str) -> None:
    lab.retrain("x", 7, 0.9)
    lab.checkout.write("experiments/x/outputs/evaluate/confusion.csv", content)
    leave(lab.checkout, "x", 0.9, 0.5)
    push(lab.checkout, "topic")
    lab.hand_on("x")
    project, ownership = resolve(lab.checkout)
    hand_on(OutFinder(project, ownership, project.planner(ownership), project.cache), ["x"], lab.results / "x/outs")
    ended = lab.report()
    assert (ended.status, "as None" in lab.step.summary) == (0, False)


def test_report_is_the_same_when_the_branch_has_the_results_already(lab: Lab) -> None:
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    assert lab.report().status == 0
    assert lab.rows == [["x", "accuracy", "0.8750", "▲ +0.3750 (common)", "▲ +0.1250"]]


def test_base_is_what_the_branch_left_when_the_base_went_on(lab: Lab) -> None:
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    lab.checkout.git("checkout", "--quiet", "main")
    lab.retrain("x", 11, 0.125)
    lab.retrain("w", 12, 0.125)
    push(lab.checkout)
    assert lab.report().status == 0
    assert lab.rows == [["x", "accuracy", "0.8750", "▲ +0.3750 (common)", "▲ +0.1250"]]


def test_experiment_is_named_with_the_reason_when_its_result_is_still_to_come(lab: Lab) -> None:
    lab.retrain("x", 7, None)
    lab.checkout.experiment("z", "params: {train: {epochs: 9}}\n")
    sync(lab.checkout)
    push(lab.checkout, "topic")
    assert lab.report().status == 0
    assert lab.rows == [["x", "accuracy", "0.7500 (out of date)", " (common)", ""]]
    assert "- x is out of date: train.epochs: 5 → 7\n" in lab.step.summary
    assert "- z: no result: experiments/z/outputs/evaluate/metrics.json is missing\n" in lab.step.summary


def test_values_are_not_compared_when_they_do_not_mean_the_same(lab: Lab) -> None:
    lab.retrain("x", 7, 0.875, dtype="float16")
    push(lab.checkout, "topic")
    assert lab.report().status == 0
    assert lab.rows == [["x", "accuracy", "0.8750", "not comparable (common)", "not comparable"]]
    assert "- x does not compare with common: dtype differs: float16 vs float32" in lab.step.summary


def test_failures_come_first_with_their_logs_when_jobs_failed(lab: Lab) -> None:
    lab.retrain("x", 7, 0.875)
    lab.retrain("z", 9, None)
    lab.push_without_results()
    lab.hand_on("x")
    lab.hand_on("z", "failed", "train of z failed: RuntimeError", "epoch 1\n</pre><b>RuntimeError")
    assert lab.report().status == 0
    before, _, after = lab.step.summary.partition("### x")
    assert "- ❌ **z**: train of z failed: RuntimeError\n" in before
    assert "epoch 1\n</pre><b>RuntimeError\n</pre>" in before
    assert "| accuracy | 0.5000 | 0.8750 |" in after


def test_faults_are_told_and_the_others_reported_when_an_experiment_is_faulty(lab: Lab) -> None:
    lab.retrain("x", 7, 0.875)
    lab.checkout.experiment("y", "params: {train: {epoch: 9}}\n")
    lab.checkout.experiment("z", "description: changes nothing\n")
    push(lab.checkout, "topic")
    assert lab.report().status == 0
    assert "- ❌ experiments/y/experiment.yaml:1:18: unknown key 'epoch' in 'params.train'" in lab.step.summary
    assert "- ❌ experiments/z/experiment.yaml:1:1: changes nothing of 'common'" in lab.step.summary
    assert lab.rows == [["x", "accuracy", "0.8750", "▲ +0.3750 (common)", "▲ +0.1250"]]


def test_experiment_has_no_value_of_the_base_when_it_was_faulty_there(lab: Lab) -> None:
    lab.checkout.git("checkout", "--quiet", "main")
    lab.checkout.experiment("x", "params: {train: {epoch: 7}}\n")
    push(lab.checkout)
    lab.checkout.git("checkout", "--quiet", "-B", "topic")
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    assert lab.report().status == 0
    assert [row[:4] for row in lab.rows] == [["x", "accuracy", "0.8750", "▲ +0.3750 (common)"]]
    assert "❌" not in lab.step.summary


def test_report_says_so_when_the_branch_changes_no_experiment(lab: Lab) -> None:
    lab.checkout.write("README.md", "a document")
    push(lab.checkout, "topic")
    assert lab.report().status == 0
    assert "The branch changes no experiment." in lab.step.summary


def test_there_is_no_base_when_the_default_branch_itself_was_pushed(lab: Lab) -> None:
    lab.checkout.git("checkout", "--quiet", "main")
    lab.retrain("x", 7, 0.875)
    push(lab.checkout)
    lab.hand_on("x")
    assert lab.report(branch="main").status == 0
    assert lab.rows == [["x", "accuracy", "0.8750", "▲ +0.3750 (common)"]]


@pytest.mark.parametrize("base", ["nowhere", "main"])
def test_base_is_another_branch_when_one_is_named(lab: Lab, base: str) -> None:
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    lab.hand_on("x")
    assert lab.report("--base", base).status == 0
    assert ("against main" in lab.step.summary) is (base == "main")


# Which commit


def test_newest_commit_of_the_branch_counts_when_another_one_is_checked_out(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACT")
    lab.retrain("x", 7, None)
    lab.push_without_results()
    job = lab.origin.clone(lab.checkout.root.parent / "job", "topic")
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    assert lab.report_from(job, "--no-comment").status == 0
    assert lab.rows == [["x", "accuracy", "0.8750", "▲ +0.3750 (common)", "▲ +0.1250"]]


def test_what_is_checked_out_counts_when_a_rehearsal_has_not_pushed_it(lab: Lab) -> None:
    push(lab.checkout, "topic")
    job = lab.origin.clone(lab.checkout.root.parent / "job", "topic")
    job.experiment("x", "params: {train: {epochs: 7}}\n")
    sync(job)
    job.commit()
    assert lab.report_from(job).status == 0
    assert "- x is out of date: train.epochs: 5 → 7\n" in lab.step.summary


def test_what_is_checked_out_counts_when_a_rehearsal_is_of_a_branch_that_is_nowhere(lab: Lab) -> None:
    job = lab.origin.clone(lab.checkout.root.parent / "rehearsal")
    job.git("checkout", "--quiet", "-b", "fresh")
    job.experiment("x", "params: {train: {epochs: 8}}\n")
    job.commit()
    ended = lab.report_from(job, branch="fresh")
    assert (ended.status, ended.err) == (0, "")
    assert "x is out of date" in lab.step.summary


def test_what_is_checked_out_counts_when_the_branch_went_on_without_the_rehearsal(lab: Lab) -> None:
    push(lab.checkout, "topic")
    job = lab.origin.clone(lab.checkout.root.parent / "rehearsal", "topic")
    lab.checkout.write("README.md", "the branch goes on")
    lab.push_without_results()
    job.experiment("x", "params: {train: {epochs: 8}}\n")
    job.commit()
    assert lab.report_from(job).status == 0
    assert "x is out of date" in lab.step.summary


def test_what_is_checked_out_counts_when_a_rehearsal_reaches_no_remote(lab: Lab) -> None:
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    job = lab.origin.clone(lab.checkout.root.parent / "job", "topic")
    job.git("fetch", "--quiet", "origin")
    lab.origin.root.rename(lab.origin.root.with_name("moved"))
    assert lab.report_from(job).status == 0
    assert lab.rows == [["x", "accuracy", "0.8750", "▲ +0.3750 (common)", "▲ +0.1250"]]


def test_nothing_is_reported_when_the_branch_is_gone(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACT")
    push(lab.checkout, "topic")
    job = lab.origin.clone(lab.checkout.root.parent / "job", "topic")
    lab.origin.git("update-ref", "-d", "refs/heads/topic")
    ended = lab.report_from(job)
    assert ended.status == 0
    assert ended.out.endswith("the branch topic is gone: there is nothing to report\n")
    assert lab.step.summary == ""


def test_report_fails_when_the_remote_cannot_be_asked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACT")
    push(lab.checkout, "topic")
    job = lab.origin.clone(lab.checkout.root.parent / "job", "topic")
    lab.origin.root.rename(lab.origin.root.with_name("moved"))
    assert lab.report_from(job).status == 5


# Comments


@pytest.fixture
def server(lab: Lab) -> Iterator[GitHubStandIn]:
    """GitHub, which the lab's jobs may write to."""
    with GitHubStandIn() as server:
        lab.step.set(GITHUB_API_URL=server.url, GITHUB_REPOSITORY=server.repository, GITHUB_TOKEN=server.token)
        yield server
    assert server.violations == []


def test_each_pull_request_of_the_branch_keeps_one_comment_when_it_is_pushed_again(
    lab: Lab, server: GitHubStandIn
) -> None:
    numbers = [server.add_pull_request("topic"), server.add_pull_request("topic")]
    other = server.add_pull_request("other")
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    ended = lab.report()
    assert ended.status == 0
    assert {f"comment on pull request {number}: created" for number in numbers} <= set(ended.out.splitlines())
    lab.retrain("x", 8, 0.625)
    push(lab.checkout, "topic")
    assert lab.report().status == 0
    bodies = [body for number in numbers for body in server.bodies(number)]
    assert len(bodies) == 2
    assert all("| accuracy | 0.5000 | 0.6250 |" in body for body in bodies)
    assert server.bodies(other) == []


def test_the_pull_request_alone_has_a_comment_when_it_started_the_run(lab: Lab, server: GitHubStandIn) -> None:
    first, second = server.add_pull_request("topic"), server.add_pull_request("topic")
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    pull_request = {"number": second, "head": {"ref": "topic"}, "base": {"ref": "main"}}
    assert lab.report(name="pull_request", pull_request=pull_request).status == 0
    assert (len(server.bodies(first)), len(server.bodies(second))) == (0, 1)
    assert lab.rows == [["x", "accuracy", "0.8750", "▲ +0.3750 (common)", "▲ +0.1250"]]


AGAINST_MAIN = (
    "| metric | common | x | Δ | 95 % interval | verdict | against main |\n"
    "| --- | --- | --- | --- | --- | --- | --- |\n"
    "| accuracy | 0.5000 | 0.8750 | ▲ +0.3750 |  | "
    "no interval: its predictions are not here: dvc pull brings them | ▲ +0.2500 |\n"
)
AGAINST_RELEASE = AGAINST_MAIN.replace("against main", "against release").replace("+0.2500", "+0.1250")


def test_each_pull_request_is_compared_with_its_own_base_when_these_differ(lab: Lab, server: GitHubStandIn) -> None:
    lab.leave_release()
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    to_main, to_release = server.add_pull_request("topic"), server.add_pull_request("topic", "release")
    assert lab.report().status == 0
    ((main_body,), (release_body,)) = (server.bodies(number) for number in (to_main, to_release))
    assert AGAINST_MAIN in html.unescape(main_body)
    assert "release" not in main_body
    assert AGAINST_RELEASE in html.unescape(release_body)
    assert "main" not in release_body
    before, release_title, rest = lab.step.summary.partition("# Against release\n")
    release_text, main_title, main_text = rest.partition("# Against main\n")
    assert (before, bool(release_title), bool(main_title)) == ("", True, True)
    assert AGAINST_RELEASE in release_text
    assert AGAINST_MAIN in main_text


def test_base_is_what_it_is_by_then_when_it_moved_after_the_checkout(lab: Lab, server: GitHubStandIn) -> None:
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    job = lab.origin.clone(lab.checkout.root.parent / "early", "topic")
    lab.origin.git("update-ref", "refs/heads/main", lab.origin.tip("topic"))  # merged meanwhile
    number = server.add_pull_request("topic")
    assert lab.report_from(job).status == 0
    (body,) = server.bodies(number)
    assert "The branch changes no experiment." in body


def test_others_have_their_comment_when_one_pull_request_refuses_it(lab: Lab, server: GitHubStandIn) -> None:
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    first, second = server.add_pull_request("topic"), server.add_pull_request("topic")
    server.fail(403, "Unable to create comment because issue is locked.", method="POST")
    ended = lab.report()
    assert (ended.status, "locked" in ended.err) == (8, True)
    assert sorted(len(server.bodies(number)) for number in (first, second)) == [0, 1]


def test_comment_is_the_same_when_the_push_or_the_pull_request_reports_last(lab: Lab, server: GitHubStandIn) -> None:
    lab.leave_release()
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    server.add_pull_request("topic")
    number = server.add_pull_request("topic", "release")
    pull_request = {"number": number, "head": {"ref": "topic"}, "base": {"ref": "release"}}
    assert lab.report(name="pull_request", pull_request=pull_request).status == 0
    assert lab.step.summary.startswith("## Force Build\n")
    (body,) = server.bodies(number)
    assert AGAINST_RELEASE in html.unescape(body)
    assert f"comment on pull request {number}: unchanged\n" in lab.report().out


def test_nothing_is_checked_out_twice_when_pull_requests_share_a_base(lab: Lab, server: GitHubStandIn) -> None:
    lab.leave_release()
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    for base in ("main", "release", "main", "release"):
        server.add_pull_request("topic", base)
    job = lab.origin.clone(lab.checkout.root.parent / "job", "topic")
    hook, log = job.root / ".git/hooks/post-checkout", job.root.parent / "checkouts"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho $2 >> '{log}'\n")
    hook.chmod(0o755)
    assert lab.report_from(job).status == 0
    tip, main, release = (lab.origin.tip(branch) for branch in ("topic", "main", "release"))
    assert log.read_text().split() == [tip, release, main]
    assert len(server.comments) == 4


def test_one_base_is_for_all_when_it_is_named(lab: Lab, server: GitHubStandIn) -> None:
    lab.leave_release()
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    numbers = [server.add_pull_request("topic"), server.add_pull_request("topic", "other")]
    assert lab.report("--base", "release").status == 0
    bodies = [body for number in numbers for body in server.bodies(number)]
    assert [AGAINST_RELEASE in html.unescape(body) for body in bodies] == [True, True]
    assert lab.step.summary.startswith("## Force Build\n")


def test_default_branch_is_compared_when_it_has_a_pull_request_itself(lab: Lab, server: GitHubStandIn) -> None:
    lab.leave_release()
    number = server.add_pull_request("main", "release")
    assert lab.report(branch="main").status == 0
    assert "against release" in lab.step.summary
    assert lab.rows == [["x", "accuracy", "0.6250", "▲ +0.1250 (common)", "▼ -0.1250"]]
    assert len(server.bodies(number)) == 1


def test_report_says_so_when_a_base_is_not_to_be_found(lab: Lab, server: GitHubStandIn) -> None:
    empty = lab.origin.git("hash-object", "-t", "tree", "--stdin", "-w")
    foreign = lab.checkout.git("commit-tree", "-m", "another root", empty)
    lab.checkout.git("push", "--quiet", "origin", f"{foreign}:refs/heads/foreign")
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    to_main, to_nowhere, to_foreign = (server.add_pull_request("topic", it) for it in ("main", "nowhere", "foreign"))
    assert lab.report().status == 0
    main_body, nowhere_body, foreign_body = (
        html.unescape(body) for number in (to_main, to_nowhere, to_foreign) for body in server.bodies(number)
    )
    assert "against main" in main_body
    assert "❌" not in main_body
    assert "- ❌ the base branch 'nowhere' is not there: nothing is compared with it" in nowhere_body
    assert "- ❌ the base branch 'foreign' shares no commit with this one: nothing is compared with it" in foreign_body
    assert "changes no experiment" not in nowhere_body + foreign_body
    lab.hand_on("x")
    assert lab.report().status == 0
    assert "| accuracy | 0.5000 | 0.8750 | ▲ +0.3750 |" in server.bodies(to_nowhere)[0]


@pytest.mark.parametrize("is_remote_there", [True, False])
def test_what_the_checkout_has_of_a_base_will_do_when_it_cannot_be_fetched(
    lab: Lab, server: GitHubStandIn, is_remote_there: bool
) -> None:
    lab.leave_release()
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    number = server.add_pull_request("topic", "release")
    job = lab.origin.clone(lab.checkout.root.parent / "job", "topic")
    if is_remote_there:
        lab.origin.git("update-ref", "-d", "refs/heads/release")
    else:
        lab.origin.root.rename(lab.origin.root.with_name("moved"))
    assert lab.report_from(job).status == 0
    assert AGAINST_RELEASE in html.unescape(server.bodies(number)[0])


def test_summary_has_the_report_when_github_names_no_pull_request(lab: Lab, server: GitHubStandIn) -> None:
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    server.fail(403, NOT_ACCESSIBLE)
    ended = lab.report()
    assert ended.status == 8
    assert ended.err.startswith("error: could not find the pull requests of branch 'topic' in octo-lab/force-build: ")
    assert lab.rows == [["x", "accuracy", "0.8750", "▲ +0.3750 (common)", "▲ +0.1250"]]


def test_the_summary_has_the_report_when_the_branch_has_no_pull_request(lab: Lab, server: GitHubStandIn) -> None:
    lab.retrain("x", 7, 0.875)
    push(lab.checkout, "topic")
    ended = lab.report()
    assert ended.status == 0
    assert ended.out.endswith("the branch has no open pull request: the report is in the summary alone\n")
    assert len(lab.rows) == 1


def test_nobody_is_asked_when_no_comment_is_wanted(lab: Lab, server: GitHubStandIn) -> None:
    server.add_pull_request("topic")
    push(lab.checkout, "topic")
    assert lab.report("--no-comment").status == 0
    assert server.requests == []


def test_report_fails_after_the_summary_when_there_is_no_token(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACT")
    push(lab.checkout, "topic")
    ended = lab.report()
    assert ended.status == 8
    assert ended.err.startswith("error: GITHUB_TOKEN and GITHUB_REPOSITORY not set in the environment\n")
    assert lab.step.summary
