"""`force stage` around a process that stands in for the stage's own; real ones are in tests/flows."""

import gc
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from pipeline import monitoring
from pipeline.checkpoints import hold_checkpoints
from pipeline.containers import IMAGE_VARIABLE, ContainerSpec
from pipeline.errors import ToolError
from pipeline.installing import suggest_install
from pipeline.ownership import PROCESSES_VARIABLE
from pipeline.tools import docker
from pipeline.workspace import Workspace
from tests.checkouts import Checkout, Ended
from tests.recorded import METRICS, make_certificate, override, record

# What the stage's process is told and what it leaves; a test's lines follow.
PROCESS = """\
import json, os, shutil, signal, sys
from pathlib import Path
assert sys.argv[1:3] == ["-m", "pipeline.stages"]
folder = Path(sys.argv[3])
task = json.loads((folder / "task.json").read_text())
shutil.copy(folder / "task.json", {told!r})
facts = {{
    "figures": {{"num_samples": 3}}, "versions": {{"python": "3.11"}}, "modules": [],
    "peak_memory_mib": 1.5, "peak_gpu_memory_mib": 96.0, "doubts": [],
    "hardware": {{"machine": "x86_64", "num_cpus": 2, "gpus": []}},
}}
print("the stage runs")
(folder / "facts.json").write_text(json.dumps(facts))
"""
METRIC_FILES = f"""
(folder / "metrics.json").write_text({json.dumps(METRICS)!r})
(folder / "certificate.json").write_text({json.dumps(make_certificate())!r})
"""


class Stages:
    """A checkout where everything is recorded but what `x` trains, and a process in the place of the stages'."""

    def __init__(self, checkout: Checkout, call: Callable[..., Ended], python: Path) -> None:
        self.checkout = checkout
        self._call = call
        self._python = python
        self._told = python.with_name("told.json")
        checkout.experiment("x", "params: {train: {epochs: 5}, container: {memory_gib: 4}}\n")
        record(checkout)

    def run(self, stage: str, lines: str = "", at: str = "experiments/x") -> Ended:
        """Run a stage whose process does this."""
        text = f"#!{sys.base_prefix}/bin/python3\n{PROCESS.format(told=str(self._told))}{dedent(lines)}"
        self._python.write_text(text)
        self._python.chmod(0o755)
        return self._call("stage", stage, at=at)

    @property
    def task(self) -> dict[str, Any]:
        """What the process was told."""
        task: dict[str, Any] = json.loads(self._told.read_text())
        return task

    def read(self, path: str) -> Any:
        """Read a JSON file of `x`."""
        return json.loads((self.checkout.root / "experiments/x/outputs" / path).read_text())


@pytest.fixture
def stages(
    checkout: Checkout, force: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stages]:
    """Stages, run in this process, whose handler of SIGTERM does not outlast the test."""
    before = signal.getsignal(signal.SIGTERM)
    (tmp_path / "bin").mkdir()
    stages = Stages(checkout, force, tmp_path / "bin" / "python")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    yield stages
    signal.signal(signal.SIGTERM, before)


# What it is told


def test_process_is_told_its_params_but_nothing_of_containers(stages: Stages) -> None:
    assert stages.run("train").status == 0
    assert stages.task["experiment"] == "x"
    params = stages.task["params"]
    assert params["train"]["epochs"] == 5
    assert set(params) == {"data", "loader", "model", "train", "evaluate", "runtime"}


@pytest.fixture
def started(stages: Stages) -> Stages:
    """The same, and `y` starts from the model of `judge`, which is that of `wide`."""
    stages.checkout.experiment("wide", model=override("model", "Wide"))
    stages.checkout.experiment("judge", "inherits: wide\n", evaluator=override("evaluator"))
    stages.checkout.experiment("y", "params: {model: {init_from: judge}}\n")
    record(stages.checkout)
    return stages


def test_process_is_told_where_the_models_are_that_others_built(started: Stages) -> None:
    root = started.checkout.root
    assert started.run("evaluate", METRIC_FILES, at="experiments/y").status == 0
    assert started.task["built_models"] == {}
    assert started.task["inputs"]["train"] == f"{root}/experiments/y/outputs/train/model"
    assert started.run("train", at="experiments/y").status == 0
    assert started.task["inputs"] == {"prepare": f"{root}/common/outputs/prepare/data"}
    assert started.task["built_models"] == {
        "judge": {
            "folder": f"{root}/experiments/wide/outputs/train/model",
            "component": ["experiments.wide.model", "Wide"],
            "sha256": "",
        }
    }


def test_training_is_refused_when_the_model_that_it_starts_from_is_not_as_recorded(started: Stages) -> None:
    model = "experiments/wide/outputs/train/model"
    (started.checkout.root / model / "weights.safetensors").write_text("damaged\n")
    ended = started.run("train", at="experiments/y")
    assert ended.status == 5
    assert ended.err == f"error: {model} is not what train of wide wrote: damaged or edited\nhint: force run wide\n"


def test_training_keeps_its_state_elsewhere_when_the_model_that_it_starts_from_is_another(started: Stages) -> None:
    started.run("train", at="experiments/y")
    before = started.task["checkpoint_dir"]
    (started.checkout.root / "experiments/wide/outputs/train/model/weights.safetensors").write_text("another\n")
    (started.checkout.root / "experiments/wide/dvc.lock").unlink()
    assert started.run("train", at="experiments/y").status == 0
    assert started.task["checkpoint_dir"] != before


def test_training_keeps_its_state_in_a_folder_for_its_inputs(stages: Stages) -> None:
    base = stages.checkout.root / ".force/checkpoints/x"
    folders = []
    for epochs in (5, 7, 5):
        stages.checkout.experiment(
            "x", f"params: {{train: {{epochs: {epochs}}}, container: {{memory_gib: {epochs}}}}}\n"
        )
        stages._call("sync")
        assert stages.run("train").status == 0
        folders.append(Path(stages.task["checkpoint_dir"]))
    assert folders[0] == folders[2] != folders[1]
    assert {folder.parent for folder in folders} == {base}
    assert all(folder.is_dir() for folder in folders)


def test_training_keeps_its_state_elsewhere_when_its_data_are_others(stages: Stages) -> None:
    stages.run("train")
    before = stages.task["checkpoint_dir"]
    product = stages.checkout.root / "common/outputs/prepare/data/metadata.json"
    product.write_text("other data\n")
    (stages.checkout.root / "dvc.lock").unlink()
    assert stages.run("train").status == 0
    assert stages.task["checkpoint_dir"] != before


def test_training_keeps_no_state_when_another_run_of_the_same_one_does(stages: Stages) -> None:
    stages.run("train")
    with hold_checkpoints(Path(stages.task["checkpoint_dir"])):
        ended = stages.run("train")
    assert ended.status == 0
    assert stages.task["checkpoint_dir"] == ""


def test_evaluation_keeps_no_state(stages: Stages) -> None:
    assert stages.run("evaluate", METRIC_FILES).status == 0
    assert stages.task["checkpoint_dir"] == ""


PREPARE = """
kept = Path(task["checkpoint_dir"])
(kept / "data").mkdir(exist_ok=True)
with (kept / "data" / "rows").open("a") as rows:
    rows.write("some ")
(kept / "parts.json").write_text("so far")
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)\n"


def prepare(stages: Stages, seed: int, lines: str) -> Ended:
    """Run the preparation of an experiment with its own splits."""
    stages.checkout.experiment("x", f"params: {{data: {{split_seed: {seed}}}}}\n")
    stages._call("sync")
    return stages.run("prepare", lines)


def test_preparation_goes_on_in_its_folder_until_its_data_are_moved_to_its_outs(stages: Stages) -> None:
    outputs = stages.checkout.root / "experiments/x/outputs/prepare"
    assert prepare(stages, 1, PREPARE + KILL).status == 6
    kept = Path(stages.task["checkpoint_dir"])
    assert {path.name for path in outputs.iterdir()} == {"failed.log", "outcome.json"}
    assert sorted(path.name for path in kept.iterdir()) == ["data", "parts.json"]
    assert prepare(stages, 1, PREPARE).status == 0
    assert (outputs / "data/rows").read_text() == "some some "
    assert not kept.exists()


def test_preparation_that_was_killed_is_forgotten_when_its_inputs_change(stages: Stages) -> None:
    prepare(stages, 1, PREPARE + KILL)
    before = Path(stages.task["checkpoint_dir"])
    assert prepare(stages, 2, PREPARE).status == 0
    assert not before.exists()
    assert (stages.checkout.root / "experiments/x/outputs/prepare/data/rows").read_text() == "some "


def test_links_that_a_preparation_leaves_are_refused(stages: Stages) -> None:
    ended = prepare(stages, 1, 'os.symlink("/etc", Path(task["checkpoint_dir"]) / "data")\n')
    assert ended.status == 6
    assert "a stage leaves files and folders, no links" in ended.err
    assert not (stages.checkout.root / "experiments/x/outputs/prepare/data").exists()


def test_training_is_told_who_hears_of_it(stages: Stages) -> None:
    assert stages.run("train").status == 0
    assert stages.task["monitoring"] == {"loggers": [], "checkpoint_minutes": 10}
    text = "params: {train: {epochs: 5}, monitoring: {loggers: [tensorboard], checkpoint_minutes: null}}\n"
    stages.checkout.experiment("x", text)
    assert stages.run("train") == Ended(0, "the stage runs\n", "")  # dvc.yaml is as it was
    assert stages.task["monitoring"] == {"loggers": ["tensorboard"], "checkpoint_minutes": None}
    assert stages.task["log_dir"] == str(stages.checkout.root / ".force")


def test_training_does_not_start_when_the_package_of_a_logger_is_missing(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "find_spec", lambda name: None)
    stages.checkout.experiment("x", "params: {train: {epochs: 5}, monitoring: {loggers: [wandb]}}\n")
    hint = suggest_install("wandb")
    assert stages.run("train") == Ended(5, "", f"error: Weights & Biases is not installed\nhint: {hint}\n")
    assert stages.run("evaluate", METRIC_FILES).status == 0  # nobody hears of that


@pytest.mark.parametrize(("stage", "num_processes"), [("train", 3), ("evaluate", 1)])
def test_training_alone_is_computed_by_several_processes(
    stages: Stages, monkeypatch: pytest.MonkeyPatch, stage: str, num_processes: int
) -> None:
    monkeypatch.setenv(PROCESSES_VARIABLE, "3")
    assert stages.run(stage, METRIC_FILES if stage == "evaluate" else "").status == 0
    assert stages.task["num_processes"] == num_processes
    assert stages.read(f"{stage}/run.json")["num_processes"] == num_processes


@pytest.mark.parametrize("text", ["0", "-1", "two"])
def test_number_of_processes_is_refused_when_it_is_none(
    stages: Stages, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(PROCESSES_VARIABLE, text)
    message = f"error: FORCE_PROCESSES is '{text}', no number of processes\nhint: force run --processes N sets it\n"
    assert stages.run("train") == Ended(2, "", message)


class NoEngine:
    """A Docker engine that keeps what it is asked to create, and creates nothing."""

    spec: ContainerSpec

    def create(self, spec: ContainerSpec, user: str) -> None:
        """Refuse."""
        type(self).spec = spec
        raise ToolError("no container")


def test_container_may_write_where_its_loggers_do(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "Engine", NoEngine)
    monkeypatch.setattr(monitoring, "find_spec", lambda name: None)  # the image has packages of its own
    for name in (IMAGE_VARIABLE, "WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.setenv(name, "something")
    stages.checkout.experiment("x", "params: {train: {epochs: 5}, monitoring: {loggers: [tensorboard, wandb]}}\n")
    assert "no container" in stages.run("train").err
    root = stages.checkout.root
    assert NoEngine.spec.writable[-2:] == (root / ".force/tensorboard", root / ".force/wandb")
    assert (root / ".force/wandb").is_dir()
    variables = {name for name in NoEngine.spec.variables if name.startswith("WANDB")}
    assert variables == {"WANDB_MODE", "WANDB_PROJECT"}
    assert "no container" in stages.run("evaluate").err
    assert NoEngine.spec.writable == (root / "experiments/x/outputs/evaluate.partial",)


# What it leaves


def test_results_and_costs_are_there_when_the_process_is_done(stages: Stages) -> None:
    assert stages.run("evaluate", METRIC_FILES) == Ended(0, "the stage runs\n", "")
    assert stages.read("evaluate/outcome.json")["status"] == "ok"
    run = stages.read("evaluate/run.json")
    assert (run["experiment"], run["stage"], run["image"], run["peak_memory_mib"]) == ("x", "evaluate", None, 1.5)
    costs = stages.read("costs.json")["stages"]["evaluate"]
    assert run["peak_gpu_memory_mib"] == 96
    assert costs == {"wall_time_s": round(run["wall_time_s"], 1), "peak_memory_mib": 2, "gpus": [], "num_cpus": 2}
    left = {path.name for path in (stages.checkout.root / "experiments/x/outputs/evaluate").iterdir()}
    assert not {"facts.json", "task.json", "running.lock"} & left
    assert {"metrics.json", "certificate.json", "evaluate.log"} <= left


def test_others_see_that_somebody_is_at_work_while_the_process_runs(stages: Stages) -> None:
    lines = """
    import fcntl
    try:
        fcntl.flock(os.open(folder / "running.lock", os.O_RDWR), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        print("it is held")
    """
    assert stages.run("train", lines).out == "the stage runs\nit is held\n"
    assert not Workspace(stages.checkout.root / "experiments/x", "train").is_held()


def test_file_for_bars_is_gone_when_the_training_is_done(stages: Stages) -> None:
    assert stages.run("train", "(folder / 'progress.json').write_text('{}')").status == 0
    left = {path.name for path in (stages.checkout.root / "experiments/x/outputs/train").iterdir()}
    assert "run.json" in left
    assert not {"progress.json", "facts.json", "task.json"} & left


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("sys.exit(3)", "Crashed: the process ended with status 3"),
        ("(folder / 'facts.json').unlink()", "Crashed: the process ended without a result"),
        (
            '(folder / \'failure.json\').write_text(\'{"type": "ValueError", "message": "no"}\'); sys.exit(1)',
            "ValueError: no",
        ),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "Killed: the stage's process was killed by SIGKILL, as the system does when memory runs out",
        ),
        ("sys.exit(143)", "Interrupted: the stage was ended from outside"),
        (
            "Path(task['root'], 'common/trainer.py').write_text('# edited')",
            "SourceChanged: common/trainer.py changed while the stage ran; run it again",
        ),
        (
            "(folder / 'facts.json').write_text(json.dumps({**facts, 'modules': ['common/evaluator.py']}))",
            "HiddenImport: common/evaluator.py was imported in a way that no import statement shows",
        ),
    ],
)
def test_stage_fails_with_the_reason_when_its_process_does(stages: Stages, lines: str, reason: str) -> None:
    ended = stages.run("train", lines)
    assert ended.status == 6
    assert ended.err == (
        f"error: train of x failed: {reason}\nhint: the log is experiments/x/outputs/train/failed.log\n"
    )
    outcome = stages.read("train/outcome.json")
    assert outcome["status"] == ("interrupted" if reason.startswith("Interrupted") else "failed")
    assert (stages.checkout.root / "experiments/x/outputs/train/failed.log").read_text() == "the stage runs\n"
    assert not (stages.checkout.root / "experiments/x/outputs/train.partial").exists()
    assert not (stages.checkout.root / "experiments/x/outputs/costs.json").exists()


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        ("(folder / 'model').mkdir(); (folder / 'model/weights').symlink_to(secret)", "model/weights"),
        ("(folder / 'model').symlink_to(secret.parent)", "model"),
        ("(folder / 'train.log').unlink(); (folder / 'train.log').symlink_to(secret)", "train.log"),
        ("(folder / 'run.json.partial').symlink_to(secret)", "run.json.partial"),
        ("(folder / 'failure.json').symlink_to(secret); status = 1", "failure.json"),
        ("os.mkfifo(folder / 'failure.json'); status = 1", "failure.json"),
    ],
)
def test_nothing_outside_is_read_or_written_when_a_stage_leaves_links(
    stages: Stages, tmp_path: Path, lines: str, path: str
) -> None:
    secret = tmp_path / "secrets" / "token"
    secret.parent.mkdir()
    secret.write_text('{"type": "t0k3n", "message": "t0k3n"}')
    ended = stages.run("train", f"status = 0; secret = Path({str(secret)!r}); {lines}; sys.exit(status)")
    assert ended.status == 6
    reason = f"BadResult: {path}: a stage leaves files and folders, no links or devices"
    assert ended.err.startswith(f"error: train of x failed: {reason}\n")
    assert secret.read_text() == '{"type": "t0k3n", "message": "t0k3n"}'
    outputs = stages.checkout.root / "experiments/x/outputs"
    assert stages.read("train/outcome.json")["reason"]["type"] == "BadResult"
    assert not (outputs / "train.partial").exists()
    assert not [path for path in outputs.rglob("*") if path.is_symlink() or path.is_fifo()]
    assert not [path for path in outputs.rglob("*") if path.is_file() and "t0k3n" in path.read_text()]


# The pipe from the stage's process is left to the system, as `force stage` itself ends here.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_links_are_dropped_too_when_a_stage_is_interrupted(stages: Stages, tmp_path: Path) -> None:
    lines = f"""
        (folder / "model").symlink_to({str(tmp_path)!r})
        (folder / "train.log").unlink()
        (folder / "train.log").symlink_to("/etc/hostname")
        os.kill(os.getppid(), signal.SIGINT)
        sys.stdin.read()
        """
    assert stages.run("train", lines).status == 130
    gc.collect()
    assert stages.read("train/outcome.json")["status"] == "interrupted"
    outputs = stages.checkout.root / "experiments/x/outputs"
    assert not (outputs / "train.partial").exists()
    assert not [path for path in outputs.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("(folder / 'metrics.json').write_text('{\"accuracy\": \"high\"}')", "metrics.json is not as its schema says"),
        ("(folder / 'metrics.json').write_text('{')", "metrics.json is not as its schema says"),
    ],
)
def test_stage_fails_when_what_it_left_is_not_as_its_schema_says(stages: Stages, lines: str, fault: str) -> None:
    ended = stages.run("evaluate", METRIC_FILES + lines)
    assert ended.status == 6
    assert f"error: evaluate of x failed: BadResult: {fault}" in ended.err


def test_files_of_another_tool_have_no_schema_when_they_describe_a_model(stages: Stages) -> None:
    lines = (
        "(folder / 'model/architecture').mkdir(parents=True); (folder / 'model/architecture/x.json').write_text('[')"
    )
    ended = stages.run("evaluate", METRIC_FILES + lines)
    assert (ended.status, ended.err) == (0, "")


# Where it does not start


@pytest.mark.parametrize(
    ("stage", "at", "status", "message"),
    [
        ("trian", "experiments/x", 2, "no stage 'trian'; did you mean 'train'?"),
        ("train", "experiments", 2, "experiments' is not the folder of an experiment"),
        ("prepare", "experiments/x", 4, "x inherits prepare from common"),
    ],
)
def test_stage_is_refused_when_it_is_none_of_the_folder(
    stages: Stages, stage: str, at: str, status: int, message: str
) -> None:
    ended = stages.run(stage, at=at)
    assert ended.status == status
    assert message in ended.err


def test_stage_is_refused_when_dvc_yaml_is_out_of_date(stages: Stages) -> None:
    stages.checkout.experiment("x", "params: {model: {channels: 40}}\n")
    assert stages.run("train") == Ended(4, "", "error: experiments/x/dvc.yaml is out of date\nhint: force sync\n")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ("", "is missing: prepare of common has not run here"),
        ("edited", "is not what prepare of common wrote: damaged or edited"),
    ],
)
def test_stage_is_refused_when_what_it_reads_is_not_there(stages: Stages, edit: str, message: str) -> None:
    folder = stages.checkout.root / "common/outputs/prepare/data"
    if edit:
        (folder / "metadata.json").write_text(edit)
    else:
        folder.rename(folder.with_name("moved"))
    ended = stages.run("train")
    assert (ended.status, ended.err) == (
        5,
        f"error: common/outputs/prepare/data {message}\nhint: force run common\n",
    )
