"""What a training leaves for those who watch it: a file for bars, TensorBoard's events, runs of MLflow and W&B."""

import json
import os
import random
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.summary.writer import event_file_writer

from common.loggers import Logger
from pipeline.bars import read_progress
from pipeline.errors import ToolError
from pipeline.monitoring import LOGGERS
from pipeline.stages.task import Task
from pipeline.stages.trackers import MLflow, ProgressFile, TensorBoard, Tracker, WeightsAndBiases, make_loggers
from pipeline.validation import find_faults

FACTS = {"experiment": "x", "params": {"train": {"epochs": 4}, "runtime": {"seed": 0}}, "num_steps": 40}
NUM_STEPS = 10  # in an epoch


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """A training that keeps its state."""
    folders = {"target": str(tmp_path / "target"), "log_dir": str(tmp_path / "logs")}
    return Task(
        "train", "", **folders, inputs={}, components={}, params={}, checkpoint_dir=str(tmp_path / "c"), experiment="x"
    )


def log_step(logger: Logger, step: int) -> None:
    """Tell of a step, with the accuracy of the epoch before."""
    values = {"train_loss": 1 / step, "samples_per_s": 100.0, "valid_accuracy": 0.5, "epoch": 1, "fraction": step / 40}
    logger.log_step(step, {**values, "seconds_left": 40.0 - step})


def log_epoch(logger: Logger, epoch: int) -> None:
    """Tell of an epoch."""
    row = {"epoch": epoch, "step": epoch * NUM_STEPS, "train_loss": 1 / epoch, "valid_accuracy": epoch / 4}
    logger.log_epoch(row)


def train(logger: Logger, first_step: int, last_step: int) -> None:
    """Tell of a training that goes on after `first_step`, as the trainer does, until it is killed after `last_step`."""
    logger.start(FACTS)
    for epoch in range(1, first_step // NUM_STEPS + 1):
        log_epoch(logger, epoch)
    for step in range(first_step + 1, last_step + 1):
        if step % 5 == 0:
            log_step(logger, step)
        if step % NUM_STEPS == 0:
            log_epoch(logger, step // NUM_STEPS)


STEPS = list(range(5, 41, 5))
EPOCHS = list(range(10, 41, 10))

# The file for bars


def read_file(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(path.read_text())
    assert find_faults("progress", state) == []
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    return state


def test_file_says_where_the_training_is(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    file = ProgressFile(path)
    file.start(FACTS)
    state = read_file(path)
    assert (state["experiment"], state["num_steps"], state["num_epochs"]) == ("x", 40, 4)
    assert (state["status"], state["step"], state["fraction"], state["metrics"]) == ("running", 0, 0, {})
    log_step(file, 8)
    state = read_file(path)
    assert (state["step"], state["epoch"], state["fraction"], state["seconds_left"]) == (8, 1, 0.2, 32)
    assert state["metrics"] == {"train_loss": 0.125, "samples_per_s": 100, "valid_accuracy": 0.5}
    log_epoch(file, 1)
    state = read_file(path)
    assert (state["step"], state["fraction"]) == (10, 0.25)
    assert state["metrics"] == {"train_loss": 1, "samples_per_s": 100, "valid_accuracy": 0.25}
    file.finish("failed")
    assert read_file(path)["status"] == "failed"
    file.start(FACTS)  # a trainer may fit more than once
    assert read_file(path)["status"] == "running"


def test_file_can_be_read_when_the_figures_are_none(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    file = ProgressFile(path)
    file.start({})
    file.log_step(1, {"train_loss": float("nan"), "fraction": 1.0000001, "seconds_left": float("inf")})
    state = read_file(path)
    assert (state["metrics"], state["fraction"], state["seconds_left"]) == ({"train_loss": None}, 1, None)
    file.log_epoch({"loss": 0.5})
    assert read_progress(path) == read_file(path)


# Which loggers there are


def test_file_for_bars_is_all_there_is_when_nobody_asks_for_more(task: Task, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (file,) = make_loggers(task)
    file.start(FACTS)
    assert read_file(tmp_path / "target/progress.json")["experiment"] == "x"


def test_loggers_are_those_that_the_params_name(task: Task) -> None:
    file, board = make_loggers(replace(task, monitoring={"loggers": ["tensorboard"]}))
    assert (type(file), type(board)) == (ProgressFile, TensorBoard)


@pytest.mark.parametrize(("name", "title"), LOGGERS.items())
def test_training_does_not_begin_when_a_package_is_missing(
    task: Task, monkeypatch: pytest.MonkeyPatch, name: str, title: str
) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ToolError, match=f"^{title} is not installed here; docs/results.md says how an image gets it$"):
        make_loggers(replace(task, monitoring={"loggers": [name]}))


# Trackers: each is told the same, and read back with its own library.

Points = dict[str, list[int]]  # name → the steps that it has a value of


def read_events(task: Task) -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    events = EventAccumulator(str(Path(task.log_dir, "tensorboard", "x")))
    events.Reload()
    return {name: [event.step for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def read_mlflow(task: Task) -> Points:
    from mlflow import MlflowClient  # noqa: PLC0415

    client = MlflowClient(f"sqlite:///{task.log_dir}/mlflow/mlflow.db")
    (run, *_) = client.search_runs([client.get_experiment_by_name("force-build").experiment_id])
    return {n: sorted(m.step for m in client.get_metric_history(run.info.run_id, n)) for n in run.data.metrics}


def read_wandb(task: Task) -> Points:
    """Return the points in the files of all processes, which `wandb sync` takes for one run: they have one id."""
    from wandb.proto.wandb_internal_pb2 import Record  # noqa: PLC0415

    points: Points = {}
    paths = sorted(Path(task.log_dir, "wandb").rglob("run-*.wandb"))
    assert len({path.name for path in paths}) == 1
    for record in (Record.FromString(data) for path in paths for data in read_chunks(path.read_bytes())):
        for name in (key for item in record.history.item for key in item.nested_key if "/" in key):
            points.setdefault(name, []).append(record.history.step.num)
    return points


def read_chunks(data: bytes, block: int = 2**15) -> Iterator[bytes]:
    """Yield the records of a file in LevelDB's format for logs, after W&B's own 7 bytes."""
    position, record = 7, b""
    while position + 7 <= len(data):
        room = block - position % block
        if room < 7:
            position += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def needs(package: str) -> list[Any]:
    is_here = find_spec(package) is not None
    ignored = pytest.mark.filterwarnings("ignore")  # what its own libraries warn each other of
    return [pytest.mark.skipif(not is_here, reason=f"{package} is not installed"), pytest.mark.slow, ignored]


TRACKERS = [
    pytest.param(TensorBoard, read_events, id="tensorboard"),
    pytest.param(MLflow, read_mlflow, marks=needs("mlflow"), id="mlflow"),
    pytest.param(WeightsAndBiases, read_wandb, marks=needs("wandb"), id="wandb"),
]
Reader = Callable[[Task], Points]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep trackers off the network, and end MLflow's run where a test leaves it as a killed training does."""
    counter = event_file_writer.AtomicCounter(100)  # part of a name: of two of one second, 10 came before 9
    monkeypatch.setattr(event_file_writer, "_global_uid", counter)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    yield
    kill("mlflow"), kill("wandb")


def kill(package: str) -> None:
    """Do to the library what the end of the process does."""
    library = sys.modules.get(package)
    if library and package == "mlflow":
        library.flush_async_logging()
        library.end_run("KILLED")
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # where MLflow keeps the address that it was told
    if library and package == "wandb" and library.run:
        library.run.finish(exit_code=1)


@pytest.mark.parametrize(("kind", "read"), TRACKERS)
def test_each_figure_has_a_point_a_step(task: Task, kind: type[Tracker], read: Reader) -> None:
    tracker = kind(task)
    train(tracker, 0, 40)
    tracker.finish("finished")
    assert read(task) == {
        "step/train_loss": STEPS,
        "step/samples_per_s": STEPS,
        "epoch/train_loss": EPOCHS,
        "epoch/valid_accuracy": EPOCHS,
    }


@pytest.mark.parametrize("killed_after", [[5], [20], [25, 32]])
@pytest.mark.parametrize(("kind", "read"), TRACKERS)
def test_no_point_is_doubled_or_lost_when_a_training_is_resumed(
    task: Task, kind: type[Tracker], read: Reader, killed_after: list[int]
) -> None:
    first = 0
    for last in killed_after:
        train(kind(task), first, last)
        kill("mlflow"), kill("wandb")
        first = max(0, last - 3) // NUM_STEPS * NUM_STEPS
    tracker = kind(task)
    train(tracker, first, 40)
    tracker.finish("finished")
    points = read(task)
    assert (points["step/train_loss"], points["epoch/valid_accuracy"]) == (STEPS, EPOCHS)


@pytest.mark.parametrize("status", ["finished", "failed"])
@pytest.mark.parametrize(("kind", "read"), TRACKERS[:2])
def test_same_training_is_a_new_run_when_the_last_one_is_finished(
    task: Task, kind: type[Tracker], read: Reader, status: str
) -> None:
    tracker = kind(task)
    train(tracker, 0, 20)
    tracker.finish(status)
    tracker = kind(task)
    train(tracker, 0, 40)
    tracker.finish("finished")
    assert read(task)["step/train_loss"] == STEPS
    assert list(Path(task.checkpoint_dir).iterdir()) == []


@pytest.mark.parametrize(("kind", "read"), TRACKERS)
def test_all_is_written_again_when_what_was_written_is_gone(
    task: Task, tmp_path: Path, kind: type[Tracker], read: Reader
) -> None:
    train(kind(task), 0, 25)
    kill("mlflow"), kill("wandb")
    task = replace(task, log_dir=str(tmp_path / "others"))
    tracker = kind(task)
    train(tracker, 20, 40)
    tracker.finish("finished")
    if kind is not WeightsAndBiases:  # which knows its own runs by their id
        assert read(task)["epoch/valid_accuracy"] == EPOCHS


@pytest.mark.parametrize(("kind", "read"), TRACKERS)
def test_no_generator_is_drawn_from(task: Task, kind: type[Tracker], read: Reader) -> None:
    before = read_generators()
    tracker = kind(task)
    train(tracker, 0, 10)
    tracker.finish("finished")
    assert read_generators() == before


def read_generators() -> Mapping[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),
        "torch": torch.get_rng_state().tolist(),
    }
