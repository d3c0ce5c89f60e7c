"""Stages of several processes, started for real: what they leave, and what happens when one fails or is killed."""

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from common.model import ConvNet
from common.saved_model import read_model
from pipeline.stages.task import Task
from pipeline.workspace import LOCK, read_json, write_json
from tests.checkouts import ROOT, Checkout, make_checkout
from tests.datasets import make_dataset, write_dataset
from tests.flows.commands import wait_until
from tests.stages import PATIENCE_S, read_log, start_stage

pytestmark = pytest.mark.slow

STEADY = '''
import torch
import warnings
from common.trainer import Trainer

class SteadyTrainer(Trainer):
    """Says where it is, and keeps its state at every step."""

    agree_steps = 1

    def on_step_end(self, step):
        print(f"step {step} of process {self.processes.rank}", flush=True)
'''
FAILURES = {
    "loss": (
        "ValueError: process 1: a bad batch",
        """
        def compute_loss(self, model, batch, role):
            if self.processes.rank == 1 and self.progress.step == 3:
                raise ValueError("a bad batch")
            return super().compute_loss(model, batch, role)
        """,
    ),
    "end of an epoch": (
        "KeyError: process 1: 'nowhere'",
        """
        def on_epoch_end(self, row):
            if self.processes.rank == 1:
                row["nowhere"]
        """,
    ),
    "end of training": (
        "RuntimeError: process 1: too late",
        """
        def on_fit_end(self):
            if self.processes.rank == 1:
                raise RuntimeError("too late")
        """,
    ),
    "memory": (
        "MemoryError: process 1: cpu memory is too small for batches of 8: lower loader.batch_size and raise",
        """
        def on_step_end(self, step):
            if self.processes.rank == 1:
                torch.empty(2**50)
        """,
    ),
    "exit": (
        "SystemExit: process 0: 4",
        """
        def on_step_end(self, step):
            if self.processes.rank == 0:
                raise SystemExit(4)
        """,
    ),
}


def _make_task(checkout: Checkout, source: str = STEADY, **params: Any) -> Task:
    """Return the task of two processes that train a small network on dots with the trainer in a source."""
    checkout.experiment("x", trainer=source)
    folder = checkout.root.parent
    for name in ("data", "target"):
        (folder / name).mkdir()
    write_dataset(make_dataset(), folder / "data")
    components = {
        "engine": ["common.engine", "Engine"],
        "loader": ["common.loader", "Loader"],
        "model": ["common.model", "ConvNet"],
        "trainer": ["experiments.x.trainer", "SteadyTrainer"],
    }
    sections = {
        "loader": {"batch_size": 8},
        "model": {"channels": 4, "dropout": 0.5},
        "runtime": {"device": "cpu"},
        "train": {"epochs": 2},
    }
    return Task(
        "train",
        str(checkout.root),
        str(folder / "target"),
        {"prepare": str(folder / "data")},
        components,
        {name: {**section, **params.get(name, {})} for name, section in sections.items()},
        num_processes=2,
        monitoring={"checkpoint_minutes": 0},
    )


def _keep_checkpoints(task: Task) -> Task:
    return replace(task, checkpoint_dir=f"{task.target}_checkpoints")


@contextmanager
def _start(task: Task) -> Iterator[subprocess.Popen[str]]:
    """Start the process of the stage in an empty target; whatever happens, nothing of it is left."""
    shutil.rmtree(task.target_dir)
    task.target_dir.mkdir()
    write_json(task.target_dir / "task.json", asdict(task))
    (task.target_dir / LOCK).touch()  # which `force stage` holds
    try:
        with start_stage(task.target, Path(task.root), also=[ROOT]) as process:
            yield process
    finally:
        wait_until(lambda: not _list_left(task), "the end of every process")


def _run(task: Task) -> str:
    """Run the stage to its end; return its log."""
    with _start(task) as process:
        return read_log(process)


def _list_left(task: Task) -> list[int]:
    """Return the processes that work on a task."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes().decode() if folder.name.isdigit() else ""
        except OSError:
            continue
        if task.target in line.split("\0"):
            found.append(int(folder.name))
    return found


def _list_workers(task: Task, launcher: subprocess.Popen[str]) -> list[int]:
    return sorted(pid for pid in _list_left(task) if pid != launcher.pid)


def _read_results(task: Task) -> dict[str, Any]:
    """Return what the stage left, without times."""
    rows = [json.loads(line) for line in (task.target_dir / "history.jsonl").read_text().splitlines()]
    for row in rows:
        assert row.pop("samples_per_s") > 0
    return {"rows": rows, "weights": (task.target_dir / "model/weights.safetensors").read_bytes()}


def _read_until(process: subprocess.Popen[str], start: str) -> str:
    assert process.stdout
    return next(line for line in process.stdout if line.startswith(start))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What six epochs leave when nothing ends them."""
    root = tmp_path_factory.mktemp("whole") / "checkout"
    root.mkdir()
    task = _make_task(make_checkout(root), train={"epochs": 6})
    _run(task)
    results = _read_results(task)
    assert len(results["rows"]) == 6
    return results


def test_stage_of_two_processes_leaves_what_that_of_one_does(checkout: Checkout) -> None:
    source = STEADY + "        warnings.warn('take care')\n"
    task = _make_task(checkout, source, model={"dropout": 0.0}, train={"optimizer": {"name": "SGD", "lr": 0.03}})
    log = _run(task)
    facts, several = read_json(task.target_dir / "facts.json"), _read_results(task)
    left = sorted(path.name for path in task.target_dir.iterdir())
    assert read_model(ConvNet, task.target_dir / "model")
    alone = replace(task, num_processes=1)
    _run(alone)
    assert several["rows"] == [pytest.approx(row, rel=1e-4) for row in _read_results(alone)["rows"]]
    assert left == sorted(path.name for path in task.target_dir.iterdir())
    assert [line for line in log.splitlines() if line.startswith("step")] == [
        f"step {n} of process 0" for n in range(1, 13)
    ]
    assert "epoch 2/2" in log
    assert "process 1: " in log
    assert "UserWarning: take care" in log.partition("process 1: ")[2].splitlines()[0]
    assert "find_unused_parameters" not in log  # a remark of torch on what it is told to do
    assert facts["doubts"] == ["computed by 2 processes: another number of them adds and draws otherwise"]
    assert read_json(task.target_dir / "facts.json")["doubts"] == []


@pytest.mark.parametrize("name", FAILURES)
def test_stage_ends_with_the_reason_of_the_process_that_failed(checkout: Checkout, name: str) -> None:
    expected, method = FAILURES[name]
    task = _make_task(checkout, STEADY.partition("    def on_step_end")[0] + method.replace("\n    ", "\n"))
    with _start(task) as process:
        log = read_log(process)
        assert process.returncode == 1
        assert not _list_left(task)
    failure = read_json(task.target_dir / "failure.json")
    assert f"{failure['type']}: {failure['message']}".startswith(expected), log
    line = int(failure["place"].rpartition(":")[2])
    assert failure["place"] == f"experiments/x/trainer.py:{line}"
    assert "all begin again" not in log


def test_stage_ends_when_the_loss_of_one_process_is_no_number(checkout: Checkout) -> None:
    method = """
    def compute_loss(self, model, batch, role):
        loss = super().compute_loss(model, batch, role)
        return loss * float("nan") if self.processes.rank == 1 and self.progress.step == 3 else loss
    """
    task = _make_task(checkout, STEADY + method)
    log = _run(task)
    failure = read_json(task.target_dir / "failure.json")
    assert failure["type"] == "FloatingPointError", log
    assert failure["message"].startswith("process "), log
    assert ": the loss is nan at step " in failure["message"]


def test_stage_of_processes_that_are_killed_again_and_again_leaves_what_it_would_have_left(
    checkout: Checkout, whole: dict[str, Any]
) -> None:
    task = _keep_checkpoints(_make_task(checkout, train={"epochs": 6}))
    moments = sorted(random.SystemRandom().sample(range(2, 30), 2))
    with _start(task) as process:
        for rank, step in enumerate(moments):
            _read_until(process, f"step {step} of")
            os.kill(_list_workers(task, process)[rank], signal.SIGKILL)
            _read_until(process, f"process {rank} was killed by SIGKILL")
            _read_until(process, "resumed after step ")
        log = read_log(process)
        assert process.returncode == 0, f"killed at {moments}: {log}"
    assert _read_results(task) == whole, f"killed at {moments}"
    assert read_json(task.target_dir / "facts.json")
    assert (task.target_dir / LOCK).exists()


def test_results_are_written_anew_when_a_process_is_killed_after_they_were(checkout: Checkout) -> None:
    method = """
    def on_fit_end(self):
        from pathlib import Path
        if self.processes.rank and not Path("killed").exists():
            while not Path("TARGET/model/model.json").exists():
                pass
            Path("killed").touch()
            import os
            os.kill(os.getpid(), 9)
    """
    task = _make_task(checkout, STEADY + method.replace("TARGET", str(checkout.root.parent / "target")))
    log = _run(task)
    assert log.count("process 1 was killed by SIGKILL") == 1
    assert read_json(task.target_dir / "facts.json"), log
    assert [row["epoch"] for row in _read_results(task)["rows"]] == [1, 2]
    assert not (task.target_dir / "failure.json").exists()


def test_stage_ends_when_a_process_is_killed_too_often(checkout: Checkout) -> None:
    method = """
        if self.processes.rank:
            import os
            os.kill(os.getpid(), 9)
"""
    task = _make_task(checkout, STEADY + method)
    log = _run(task)
    assert log.count(": all begin again from the last checkpoint\n") == 3
    assert read_json(task.target_dir / "failure.json") == {
        "type": "Killed",
        "message": "process 1 was killed by SIGKILL, as the system does when memory runs out",
        "place": "",
    }


def test_stage_ends_when_a_process_leaves_without_a_word(checkout: Checkout) -> None:
    method = """
        if self.processes.rank:
            import os
            os._exit(7)
"""
    task = _make_task(checkout, STEADY + method)
    log = _run(task)
    assert "all begin again" not in log
    failure = read_json(task.target_dir / "failure.json")
    assert failure == {"type": "Crashed", "message": "process 1 ended with status 7", "place": ""}


@pytest.mark.parametrize(
    ("how", "status"), [("its input ends", 143), (signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)]
)
def test_no_process_is_left_and_the_next_stage_goes_on_when_the_launcher_ends(
    checkout: Checkout, whole: dict[str, Any], how: signal.Signals | str, status: int
) -> None:
    task = _keep_checkpoints(_make_task(checkout, train={"epochs": 6}))
    with _start(task) as process:
        assert process.stdin
        _read_until(process, "step 9 of")
        if isinstance(how, signal.Signals):
            process.send_signal(how)
        else:
            process.stdin.close()
        assert process.wait(PATIENCE_S) == status
        wait_until(lambda: not _list_left(task), "the end of every process")
    with _start(task) as process:
        assert int(_read_until(process, "resumed after step ").split()[3]) >= 7
        read_log(process)
    assert _read_results(task) == whole


def test_more_processes_than_gpus_are_refused(checkout: Checkout) -> None:
    task = replace(_make_task(checkout, runtime={"device": "cuda"}), num_processes=16)
    _run(task)
    message = read_json(task.target_dir / "failure.json")["message"]
    assert message.startswith("16 processes need a GPU each, and this machine has ")
