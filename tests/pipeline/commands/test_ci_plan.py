"""`force ci plan`, as the workflow calls it, on pushes to real remotes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.checkouts import Checkout, Ended
from tests.recorded import override, record, sync
from tests.remotes import Origin, add_origin, push
from tests.steps import Command, Step, read_commands

pytestmark = pytest.mark.slow

ZEROS = "0" * 40
REPOSITORY = {"default_branch": "main", "full_name": "octo-lab/force-build"}
NOTHING: dict[str, str] = {}


class Job:
    """The job `plan` of a workflow, in a checkout where everything was pushed to main with its results."""

    def __init__(self, checkout: Checkout, step: Step, force: Callable[..., Ended]) -> None:
        self.checkout = checkout
        self.step = step
        self._force = force
        checkout.experiment("x", "params: {train: {epochs: 5}}\n")
        checkout.experiment("y", evaluator=override("evaluator"))
        record(checkout)
        self.origin: Origin = add_origin(checkout)
        self.before = push(checkout)

    def push(self, branch: str = "main") -> Ended:
        """Sync, push everything, and plan that push."""
        sync(self.checkout)
        return self.push_as_it_is(branch)

    def push_as_it_is(self, branch: str = "main") -> Ended:
        """Push everything, and plan that push."""
        before = self.checkout.git("ls-remote", "origin", f"refs/heads/{branch}").partition("\t")[0]
        push(self.checkout, branch)
        return self.plan("push", branch, before=before or ZEROS)

    def plan(self, name: str, branch: str, head: str = "", **payload: Any) -> Ended:
        """Plan for an event."""
        self.step.set_event(name, {"repository": REPOSITORY, **payload}, GITHUB_REF_NAME=branch, GITHUB_HEAD_REF=head)
        return self._force("ci", "plan")

    @property
    def waves(self) -> list[dict[str, str]]:
        """Job → targets of each wave, as the matrices say."""
        outputs = self.step.outputs
        waves = []
        for number in "123":
            include = json.loads(outputs[f"wave_{number}"])["include"]
            assert outputs[f"any_{number}"] == ("true" if include else "false")
            assert {entry["wave"] for entry in include} <= {number}
            waves.append({entry["name"]: entry["targets"] for entry in include})
        names = [name for wave in waves for name in wave]
        assert outputs["entries"].split() == names
        assert outputs["any"] == ("true" if names else "false")
        return waves


@pytest.fixture
def job(checkout: Checkout, force: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """The job of a workflow."""
    return Job(checkout, Step(tmp_path, monkeypatch), force)


def find_annotations(ended: Ended) -> list[Command]:
    return read_commands(ended.out)


# Pushes


def test_experiment_is_a_job_when_its_folder_is_new(job: Job) -> None:
    job.checkout.experiment("z", "params: {model: {channels: 40}}\n")
    ended = job.push()
    assert (ended.status, ended.err) == (0, "")
    assert job.waves == [{"z": "z"}, NOTHING, NOTHING]
    assert job.step.outputs["faults"] == "0"
    assert [line.split() for line in ended.out.splitlines()[-2:]] == [
        ["wave", "job", "targets", "about"],
        ["1", "z", "z", "?"],
    ]
    assert "| 1 | z | z | ? |" in job.step.summary
    assert "| z | train | is new; " in job.step.summary


def test_experiment_is_a_job_when_one_of_its_params_changes(job: Job) -> None:
    job.checkout.experiment("x", "params: {train: {epochs: 7}}\n")
    cost = {"wall_time_s": 90, "peak_memory_mib": 1, "gpus": [], "num_cpus": 1}
    costs = {"version": 1, "stages": {"train": cost, "evaluate": {**cost, "wall_time_s": 30}}}
    job.checkout.write("experiments/x/outputs/costs.json", json.dumps(costs))
    assert job.push().status == 0
    assert job.waves == [{"x": "x"}, NOTHING, NOTHING]
    assert "| 1 | x | x | 2 min |\n\n1 job, about 2 min in all\n" in job.step.summary
    assert "| x | train | train.epochs: 5 → 7 |" in job.step.summary


def test_experiment_is_a_job_under_its_new_name_when_its_folder_was_renamed(job: Job) -> None:
    job.checkout.git("mv", "experiments/y", "experiments/judge")
    (job.checkout.root / "experiments/judge/dvc.lock").unlink()
    assert job.push().status == 0
    assert job.waves == [{"judge": "judge"}, NOTHING, NOTHING]
    assert "| y |  | deleted |" in job.step.summary


def test_renamed_experiment_needs_no_job_when_its_results_came_with_it(job: Job) -> None:
    job.checkout.git("mv", "experiments/y", "experiments/judge")
    assert job.push().status == 0
    assert job.waves == [NOTHING] * 3
    assert "All results are there already: nothing to run." in job.step.summary


def test_nothing_is_a_job_when_a_folder_was_deleted(job: Job) -> None:
    job.checkout.git("rm", "-r", "--quiet", "experiments/y")
    ended = job.push()
    assert (ended.status, find_annotations(ended)) == (0, [])
    assert job.waves == [NOTHING] * 3
    assert "| y |  | deleted |" in job.step.summary


def test_everything_is_a_job_when_what_all_share_changes(job: Job) -> None:
    path = job.checkout.root / "common/dataset.py"
    path.write_text(path.read_text() + "\nVERSION = 2\n")
    assert job.push().status == 0
    assert job.waves == [
        {"common-prepare": "common:prepare"},
        {"common-train": "common:train", "x": "x"},
        {"common": "common", "y": "y"},
    ]
    assert "common/dataset.py changed" in job.step.summary


def test_nothing_is_a_job_when_only_documents_change(job: Job) -> None:
    job.checkout.write("README.md", "a document")
    job.checkout.write("experiments/x/notes.md", "another one")
    ended = job.push()
    assert (ended.status, find_annotations(ended)) == (0, [])
    assert job.waves == [NOTHING] * 3
    assert job.step.summary == (
        "### Plan for <code>main</code>\n\nNo stage of an experiment is affected: nothing to do.\n\n"
    )


def test_what_a_branch_changes_counts_when_it_is_new(job: Job) -> None:
    job.checkout.git("checkout", "--quiet", "-b", "topic")
    job.checkout.experiment("x", "params: {train: {epochs: 7}}\n")
    job.checkout.commit()
    job.checkout.write("README.md", "a document")
    assert job.push("topic").status == 0
    assert job.waves == [{"x": "x"}, NOTHING, NOTHING]


def test_everything_that_has_no_results_is_a_job_when_the_repository_is_new(job: Job) -> None:
    job.origin.git("update-ref", "-d", "refs/heads/main")
    (job.checkout.root / "experiments/y/dvc.lock").unlink()
    assert job.push().status == 0
    assert job.waves == [{"y": "y"}, NOTHING, NOTHING]
    assert job.step.summary.count("is new") >= 9


def test_only_what_changed_is_a_job_when_a_branch_was_rewritten(job: Job) -> None:
    job.checkout.experiment("x", "params: {train: {epochs: 7}}\n")
    job.push("topic")
    job.checkout.git("reset", "--quiet", "--hard", job.before)
    job.checkout.experiment("y", evaluator=override("evaluator", "Another"))
    assert job.push("topic").status == 0
    assert job.waves == [{"y": "y"}, NOTHING, NOTHING]


def test_what_a_merge_brings_is_a_job_when_it_has_no_results_yet(job: Job) -> None:
    job.checkout.git("checkout", "--quiet", "-b", "topic")
    job.checkout.write("README.md", "a document")
    job.push("topic")
    job.checkout.git("checkout", "--quiet", "main")
    job.checkout.experiment("x", "params: {train: {epochs: 7}}\n")
    job.push()
    job.checkout.git("checkout", "--quiet", "topic")
    job.checkout.git("merge", "--quiet", "--no-edit", "main")
    assert job.push_as_it_is("topic").status == 0
    assert job.waves == [{"x": "x"}, NOTHING, NOTHING]


def test_nothing_is_a_job_when_a_branch_was_deleted(job: Job) -> None:
    job.checkout.experiment("x", "params: {train: {epochs: 7}}\n")
    ended = job.plan("push", "topic", before=job.before, after=ZEROS, deleted=True)
    assert ended.status == 0
    assert job.waves == [NOTHING] * 3
    assert job.step.summary == "The branch was deleted: nothing to do.\n\n"


def test_plan_is_the_same_when_nobody_sent_a_payload(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.checkout.experiment("x", "params: {train: {epochs: 7}}\n")
    job.step.set(GITHUB_REF_NAME="main")
    assert job._force("ci", "plan").status == 0
    assert job.waves == [{"x": "x"}, NOTHING, NOTHING]


# Faults


def test_push_fails_at_the_place_when_an_experiment_that_it_changes_is_faulty(job: Job) -> None:
    job.checkout.experiment("x", "params:\n  train: {epoch: 7}\n  model: {chanels: 3}\n")
    ended = job.push_as_it_is()
    assert ended.status == 3
    file = "experiments/x/experiment.yaml"
    assert find_annotations(ended) == [
        Command("error", {"file": file, "line": "2"}, "unknown key 'epoch' in 'params.train'; did you mean 'epochs'?"),
        Command(
            "error", {"file": file, "line": "3"}, "unknown key 'chanels' in 'params.model'; did you mean 'channels'?"
        ),
    ]
    assert "::error file=experiments/x/experiment.yaml,line=2::" in ended.out
    assert "any" not in job.step.outputs


def test_push_fails_when_what_all_share_is_faulty(job: Job) -> None:
    params = job.checkout.root / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 20", "epochs: many"))
    ended = job.push_as_it_is()
    assert ended.status == 3
    (annotation,) = find_annotations(ended)
    assert (annotation.name, annotation.properties["file"]) == ("error", "params.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params: {train: {epoch: 7}}\n", "unknown key 'epoch' in 'params.train'; did you mean 'epochs'?"),
        ("params: {train: {epochs: 20}}\n", "changes nothing of 'common': train.epochs is 20 in 'common' already"),
    ],
)
def test_push_is_only_warned_when_somebody_elses_experiment_is_faulty(job: Job, text: str, message: str) -> None:
    job.checkout.experiment("x", text)
    push(job.checkout)
    job.checkout.experiment("z", "params: {model: {channels: 40}}\n")
    ended = job.push_as_it_is()
    assert ended.status == 0
    (annotation,) = find_annotations(ended)
    assert (annotation.name, annotation.properties["file"]) == ("warning", "experiments/x/experiment.yaml")
    assert annotation.data == message
    assert job.waves == [{"z": "z"}, NOTHING, NOTHING]


@pytest.mark.parametrize("text", ["params: {train: {epoch: 7}}\n", "params: {train: {epochs: 20}}\n"])
def test_push_fails_when_an_experiment_that_it_changes_inherits_from_a_faulty_one(job: Job, text: str) -> None:
    job.checkout.experiment("x", text)
    push(job.checkout)
    job.checkout.experiment("z", "inherits: x\nparams: {model: {channels: 40}}\n")
    ended = job.push_as_it_is()
    assert ended.status == 3
    (annotation,) = find_annotations(ended)
    assert (annotation.name, annotation.properties["file"]) == ("error", "experiments/x/experiment.yaml")


@pytest.mark.parametrize("name", ["common", "class", "1x"])
def test_push_fails_when_a_folder_that_it_brings_has_a_bad_name(job: Job, name: str) -> None:
    job.checkout.experiment(name, "params: {model: {channels: 40}}\n")
    ended = job.push_as_it_is()
    assert ended.status == 3
    assert [command.properties["file"] for command in find_annotations(ended)] == [f"experiments/{name}"]


def test_push_fails_when_a_lock_has_marks_of_a_merge(job: Job) -> None:
    job.checkout.experiment("x", "params: {train: {epochs: 7}}\n")
    path = job.checkout.root / "experiments/x/dvc.lock"
    path.write_text(f"<<<<<<< HEAD\n{path.read_text()}=======\n>>>>>>> topic\n")
    ended = job.push()
    assert ended.status == 3
    assert [command.properties["file"] for command in find_annotations(ended)] == ["experiments/x/dvc.lock"]


def test_sound_experiments_are_jobs_when_another_that_the_push_changes_is_faulty(job: Job) -> None:
    job.checkout.experiment("x", "params:\n  train: {epoch: 7}\n")
    job.checkout.experiment("z", "params: {model: {channels: 40}}\n")
    ended = job.push_as_it_is()
    assert (ended.status, ended.err) == (0, "")
    assert job.waves == [{"z": "z"}, NOTHING, NOTHING]
    (annotation,) = find_annotations(ended)
    assert (annotation.name, annotation.properties["line"]) == ("error", "2")
    assert job.step.outputs["faults"] == "1"
    assert "Left out, and the gate will fail for it:\n\n- experiments/x/experiment.yaml:2:11: " in job.step.summary


def test_sound_experiments_are_jobs_when_a_lock_has_marks_of_a_merge(job: Job) -> None:
    job.checkout.experiment("x", "params: {train: {epochs: 7}}\n")
    job.checkout.experiment("z", "params: {model: {channels: 40}}\n")
    sync(job.checkout)
    path = job.checkout.root / "experiments/x/dvc.lock"
    path.write_text(f"<<<<<<< HEAD\n{path.read_text()}=======\n>>>>>>> topic\n")
    ended = job.push_as_it_is()
    assert (ended.status, job.step.outputs["faults"]) == (0, "1")
    assert job.waves == [{"z": "z"}, NOTHING, NOTHING]
    assert [command.properties["file"] for command in find_annotations(ended)] == ["experiments/x/dvc.lock"]


# Requests


def dispatch(job: Job, experiments: str) -> Ended:
    return job.plan("workflow_dispatch", "main", inputs={"experiments": experiments})


def test_named_experiments_are_jobs_when_somebody_asks_for_them(job: Job) -> None:
    for name in ("x", "y"):
        (job.checkout.root / f"experiments/{name}/dvc.lock").unlink()
    push(job.checkout)
    assert dispatch(job, "y, common").status == 0
    assert job.waves == [{"y": "y"}, NOTHING, NOTHING]
    assert "| common |  | asked for |" in job.step.summary


def test_all_experiments_are_jobs_when_somebody_asks_for_all(job: Job) -> None:
    for name in ("x", "y"):
        (job.checkout.root / f"experiments/{name}/dvc.lock").unlink()
    push(job.checkout)
    assert dispatch(job, "all").status == 0
    assert job.waves == [{"x": "x", "y": "y"}, NOTHING, NOTHING]


@pytest.mark.parametrize(
    ("experiments", "message"),
    [
        ("xx", "no experiment 'xx'; did you mean 'x'?"),
        ("x $(touch pwned)", "'$(touch' cannot be the name of an experiment"),
    ],
)
def test_request_is_refused_when_it_names_no_experiment(job: Job, experiments: str, message: str) -> None:
    ended = dispatch(job, experiments)
    assert ended.status == 2
    assert find_annotations(ended) == [Command("error", {}, message)]


# Pull requests


def ask_to_pull(job: Job, branch: str) -> Ended:
    """Plan a pull request of what is checked out into main."""
    pull_request = {"number": 7, "head": {"ref": branch}, "base": {"ref": "main"}}
    return job.plan("pull_request", "7/merge", branch, pull_request=pull_request)


@pytest.mark.parametrize("branch", ["topic", "main"])
def test_pull_request_only_says_what_it_affects(job: Job, branch: str) -> None:
    job.checkout.git("checkout", "--quiet", "-b", "pulled")
    job.checkout.experiment("x", "params: {train: {epochs: 7}}\n")
    sync(job.checkout)
    job.checkout.commit()
    assert ask_to_pull(job, branch).status == 0
    outputs = job.step.outputs
    assert {name: value for name, value in outputs.items() if name.startswith("any")} == dict.fromkeys(
        ("any", "any_1", "any_2", "any_3"), "false"
    )
    assert outputs["entries"] == "x"
    assert "| x | train | train.epochs: 5 → 7 |" in job.step.summary
    assert "| y |" not in job.step.summary


def test_pull_request_fails_when_it_brings_a_fault(job: Job) -> None:
    job.checkout.git("checkout", "--quiet", "-b", "topic")
    job.checkout.experiment("x", "params: {train: {epoch: 7}}\n")
    job.checkout.commit()
    ended = ask_to_pull(job, "topic")
    assert ended.status == 3
    assert [command.name for command in find_annotations(ended)] == ["error"]


def test_pull_request_fails_when_it_brings_a_fault_beside_what_the_push_trains(job: Job) -> None:
    job.checkout.git("checkout", "--quiet", "-b", "topic")
    job.checkout.experiment("x", "params: {train: {epoch: 7}}\n")
    job.checkout.experiment("z", "params: {model: {channels: 40}}\n")
    job.checkout.commit()
    assert ask_to_pull(job, "topic").status == 3


def test_event_is_refused_when_nothing_is_planned_on_it(job: Job) -> None:
    ended = job.plan("release", "main")
    assert ended.status == 2
    assert ended.err.startswith("error: the event 'release' plans nothing\n")
