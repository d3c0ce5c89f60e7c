"""The loggers of `pipeline`: the file that a bar is drawn from, and those that write to experiment trackers.

What they hear goes into no result. A tracker's library is loaded when the training starts, where it is asked for.
"""

import fcntl
import importlib
import json
import math
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.loggers import Logger
from pipeline.errors import ToolError
from pipeline.monitoring import check_installed
from pipeline.params import flatten
from pipeline.stages.task import Task
from pipeline.workspace import PROGRESS, read_json, write_json

PROJECT = "force-build"  # what MLflow calls an experiment, and W&B a project; their own variables name another
_PLACES = ("epoch", "step", "fraction", "seconds_left")  # where a training is; the other values are figures of it


def make_loggers(task: Task) -> list[Logger]:
    """Return the loggers that a task wants, its progress file first.

    Raises ToolError where a package is missing: in a container, as elsewhere `force stage` has looked for it.
    """
    names = task.monitoring.get("loggers", ())
    try:
        check_installed(names)
    except ToolError as error:
        raise ToolError(f"{error.message} here; docs/results.md says how an image gets it") from None
    return [ProgressFile(task.target_dir / PROGRESS), *(_TRACKERS[name](task) for name in names)]


class ProgressFile:
    """A small JSON that says where a training is, whole at any time. Its schema is `progress`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state: dict[str, Any] = {"version": 1, "step": 0, "fraction": 0.0, "metrics": {}}

    def start(self, facts: Mapping[str, Any]) -> None:
        """Write what is known from the start."""
        num_epochs = facts.get("params", {}).get("train", {}).get("epochs")
        known = {"experiment": facts.get("experiment", ""), "num_steps": facts.get("num_steps")}
        self._write({**known, "num_epochs": num_epochs, "started_at": _now(), "status": "running"}, {})

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Write where the training is."""
        fraction = min(1.0, max(0.0, values.get("fraction", self._state["fraction"])))
        places = {name: _plain(values.get(name)) for name in ("epoch", "seconds_left")}
        self._write({**places, "step": step, "fraction": fraction}, values)

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Write the figures of an epoch, and how much of the training is done with it."""
        step, num_steps = _find_step(row), self._state.get("num_steps")
        fraction = min(1.0, step / num_steps) if num_steps else self._state["fraction"]
        self._write({"epoch": _plain(row.get("epoch")), "step": step, "fraction": fraction}, row)

    def finish(self, status: str) -> None:
        """Write how it ended."""
        self._write({"status": status, "seconds_left": 0}, {})

    def _write(self, state: Mapping[str, Any], values: Mapping[str, float]) -> None:
        self._state |= {**state, "updated_at": _now()}
        self._state["metrics"] |= {name: _plain(value) for name, value in _find_figures(values).items()}
        write_json(self._path, self._state)


class Tracker:
    """A logger that writes to an experiment tracker. A training that is resumed goes on in its run, where that ended.

    The figures of steps are called `step/NAME`, those of epochs `epoch/NAME`.
    """

    def __init__(self, task: Task) -> None:
        self.experiment = task.experiment
        self.log_dir = Path(task.log_dir)
        # Kept as long as the training is not finished, beside the states that it is resumed from.
        self._note = Path(task.checkpoint_dir, f"{type(self).__name__}.json") if task.checkpoint_dir else None
        self._heard: dict[str, int] = {}  # kind → the last step that an earlier process wrote
        self._written: dict[str, Any] = {}

    def start(self, facts: Mapping[str, Any]) -> None:
        """Open the run that an earlier process left unfinished, or a new one."""
        found = (read_json(self._note) if self._note else None) or {"run": "", "heard": {}}
        run = self.open(facts, found["run"], max(found["heard"].values(), default=-1) + 1)
        self._heard = found["heard"] if run == found["run"] else {}
        self._written = {"run": run, "heard": dict(self._heard)}

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Write the figures of a step, but for those of the validation, which the epoch's row has."""
        self._log("step", step, {name: v for name, v in _find_figures(values).items() if not name.startswith("valid")})

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Write the figures of an epoch."""
        self._log("epoch", _find_step(row), _find_figures(row))

    def finish(self, status: str) -> None:
        """Close the run. Who trains the same again gets a new one, unless this failed."""
        self.close(status)
        if self._note and status == "finished":
            self._note.unlink(missing_ok=True)

    def _log(self, kind: str, step: int, figures: Mapping[str, float]) -> None:
        if step <= self._heard.get(kind, -1):
            return  # an earlier process wrote it
        self.write(step, {f"{kind}/{name}": value for name, value in figures.items()})
        self._written["heard"][kind] = step
        if self._note:
            write_json(self._note, self._written)

    def open(self, facts: Mapping[str, Any], run: str, step: int) -> str:
        """Go on from `step` in the run with this id, else begin a new one; return the id."""
        raise NotImplementedError

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Write named figures."""
        raise NotImplementedError

    def close(self, status: str) -> None:
        """End the run as "finished" or "failed"."""
        raise NotImplementedError


class TensorBoard(Tracker):
    """Event files in a folder for the experiment. Those of an earlier training stay, hidden by the new one."""

    def open(self, facts: Mapping[str, Any], run: str, step: int) -> str:
        """Hide what an earlier process wrote from `step` on."""
        folder = self.log_dir / "tensorboard" / self.experiment
        is_there = bool(run) and any(folder.glob("events.*"))
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self._writer = writer(str(folder), purge_step=step if is_there else 0)
        if is_there:
            return run
        self._writer.add_text("params", f"```\n{json.dumps(facts.get('params', {}), indent=1)}\n```", 0)
        return uuid.uuid4().hex

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Write them to disk."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, status: str) -> None:
        """Close the file."""
        self._writer.close()


class MLflow(Tracker):
    """A run at MLFLOW_TRACKING_URI, else in a database of the checkout."""

    def open(self, facts: Mapping[str, Any], run: str, step: int) -> str:
        """Go on in the run, where it is there."""
        self._mlflow = importlib.import_module("mlflow")
        for name, value in {"MAX_RETRIES": "2", "TIMEOUT": "10"}.items():  # its own would hold a training for minutes
            os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)
        folder = self.log_dir / "mlflow"
        if "MLFLOW_TRACKING_URI" not in os.environ:
            self._mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        with _hold(folder):  # two trainings at once would both make the tables
            self._mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
        with suppress(self._mlflow.MlflowException):  # it was deleted, or is elsewhere
            if run:
                return str(self._mlflow.start_run(run_id=run).info.run_id)
        started = self._mlflow.start_run(run_name=self.experiment)
        self._mlflow.log_params(dict(flatten(facts.get("params", {}))))
        return str(started.info.run_id)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Leave them to MLflow's own thread: a server takes its time."""
        self._mlflow.log_metrics(figures, step=step, synchronous=False)

    def close(self, status: str) -> None:
        """Wait for that thread, and end the run."""
        self._mlflow.flush_async_logging()
        self._mlflow.end_run(status.upper())


class WeightsAndBiases(Tracker):
    """A run of Weights & Biases, as its own variables say: WANDB_MODE, WANDB_PROJECT …"""

    def open(self, facts: Mapping[str, Any], run: str, step: int) -> str:
        """Go on in the run, where it is there; W&B hears of it in a process of its own."""
        wandb = importlib.import_module("wandb")
        folder = self.log_dir / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=self.experiment,
            id=run or None,
            resume="allow",
            dir=str(folder),
            config=facts.get("params", {}),
            settings=wandb.Settings(console="off", quiet=True, init_timeout=30),
        )
        return str(self._run.id)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Leave them to that process."""
        self._run.log(dict(figures), step=step)

    def close(self, status: str) -> None:
        """Wait until it has everything."""
        self._run.finish(exit_code=0 if status == "finished" else 1)


_TRACKERS: dict[str, Callable[[Task], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WeightsAndBiases,
}


@contextmanager
def _hold(folder: Path) -> Iterator[None]:
    """Let one process at a time work in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _find_figures(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers that are no places; a row of somebody's own trainer may hold more than numbers."""
    return {name: v for name, v in values.items() if name not in _PLACES and isinstance(v, int | float)}


def _find_step(row: Mapping[str, float]) -> int:
    """Return the step of an epoch's row, or its epoch where somebody's own trainer counts no steps."""
    return int(row.get("step", row.get("epoch", 0)))


def _plain(value: float | None) -> float | None:
    """Return a number that JSON has, None for others."""
    return value if value is not None and math.isfinite(value) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
