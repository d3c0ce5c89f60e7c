"""The stage `prepare`: a source becomes a dataset."""

import logging
import math
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

from common.part_states import PERIOD_S, PartStates
from pipeline.checkpoints import PREPARED
from pipeline.stages.task import Task
from pipeline.workspace import PROGRESS, write_json

log = logging.getLogger("force")

_REPORT_S = 0.25


def run(task: Task) -> dict[str, float]:
    """Write the dataset; return the number of samples.

    Where the task has a folder for it, the dataset stays there, and with it the state by which a preparation that is
    killed goes on: `force stage` takes it from there once it is whole.
    """
    torch.set_num_threads(1)  # as params.yaml says of training: more change the last bits of a sum
    module = task.component("data")(task.config("data", "data"))
    report = ProgressReport(task.target_dir / PROGRESS, task.experiment)
    if task.checkpoint_dir and module.repeats:
        folder = Path(task.checkpoint_dir) / PREPARED
        folder.mkdir(exist_ok=True)
        states = PartStates(folder.with_name("parts.json"), _find_period(task))
        metadata = module.prepare(folder, states, report)
    else:
        metadata = module.prepare(task.make_dir("data"), None, report)
    counts = ", ".join(f"{count} {split}" for split, count in metadata.num_samples.items())
    log.info("%s: %s", metadata.name, counts)
    return {"num_samples": sum(metadata.num_samples.values())}


def _find_period(task: Task) -> float:
    """Return the seconds between two states: a few, as they cost little, or what the params say, where that is less."""
    return min(PERIOD_S, 60 * (task.monitoring.get("checkpoint_minutes") or math.inf))


class ProgressReport:
    """A small JSON that says how many samples are read, a few times a second. Its schema is `progress`."""

    def __init__(self, path: Path, experiment: str) -> None:
        self._path = path
        self._experiment = experiment
        self._started_at = _now()
        self._first: tuple[float, int] | None = None  # when how many were read: those of an earlier process were before
        self._written = -math.inf

    def __call__(self, num_read: int, total: int | None) -> None:
        """Write how many are read, of how many where that is known, unless it was just written."""
        now = time.perf_counter()
        self._first = self._first or (now, num_read)
        if now - self._written < _REPORT_S:
            return
        self._written = now
        seconds, num_new = now - self._first[0], num_read - self._first[1]
        speed = num_new / seconds if num_new else None
        progress = {
            "version": 1,
            "experiment": self._experiment,
            "status": "running",
            "started_at": self._started_at,
            "updated_at": _now(),
            "num_read": num_read,
            "num_samples": total,
            "fraction": min(1.0, num_read / total) if total else None,
            "seconds_left": max(0, total - num_read) / speed if total and speed else None,
            "metrics": {"samples_per_s": speed},
        }
        try:
            write_json(self._path, progress)
        except OSError as error:
            log.warning("how far it is cannot be told: %s", error)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
