"""Run a stage as several processes, as torchrun does: when one is killed, all begin again from the last checkpoint."""

import json
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from pipeline.stages.joining import LAUNCHED, LOST_OTHERS, find_device
from pipeline.stages.task import Task
from pipeline.workspace import LOCK, TASK

FAILURE = "failure.json"
_MAX_RESTARTS = 3


def launch(folder: Path, task: Task) -> int:
    """Run the task in `folder` on this machine; return the exit status, and leave the reason where it fails."""
    num_gpus = torch.cuda.device_count()
    if find_device(task) == "cuda" and num_gpus < task.num_processes:
        has = f"this machine has {num_gpus or 'none'}"
        _leave_failure(folder, "ValueError", f"{task.num_processes} processes need a GPU each, and {has}")
        return 1
    _prepare(folder)
    for num_restarts in range(_MAX_RESTARTS + 1):
        statuses = _run_once(folder, task.num_processes)
        if not statuses:
            return 0
        rank = _find_culprit(statuses)
        if (folder / FAILURE).exists() and statuses[rank] != -signal.SIGKILL:
            return 1
        reason = f"process {rank} {_describe_end(statuses[rank])}"
        if statuses[rank] > 0 and statuses[rank] != LOST_OTHERS:
            break
        if num_restarts < _MAX_RESTARTS:
            _clear(folder, task)
            print(f"{reason}: all begin again from the last checkpoint", flush=True)
    _leave_failure(folder, "Killed" if statuses[rank] < 0 else "Crashed", reason)
    return 1


def _prepare(folder: Path) -> None:
    """Set what the processes inherit."""
    os.environ[LAUNCHED] = str(folder)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch's remarks on how it does what it is told
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a container may have no other interface
    # Each ends when its standard input does. What keeps it open is ours alone, and closes however we end.
    reading, _ = os.pipe()
    os.dup2(reading, 0)
    os.close(reading)


def _clear(folder: Path, task: Task) -> None:
    """Delete what the processes left, results and reasons alike."""
    for path in folder.iterdir():
        if path.name not in (TASK, LOCK, f"{task.stage}.log"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _run_once(folder: Path, num_processes: int) -> dict[int, int]:
    """Run the processes until all have ended; return the exit statuses of those that failed, the first one first.

    Ends this process where it is told to end, as by a container that is stopped: then they have ended, too.
    """
    with tempfile.TemporaryDirectory(prefix="force-") as log_dir:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=num_processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,  # one that failed by itself would fail again
            monitor_interval=0.1,
            logs_specs=DefaultLogsSpecs(log_dir=log_dir),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "pipeline.stages", str(folder))
        except SignalException:
            sys.exit(143)
        except ChildFailedError as error:
            failures = sorted(error.failures.items(), key=lambda item: item[1].timestamp)
            return {rank: failure.exitcode for rank, failure in failures}
    return {}


def _find_culprit(statuses: Mapping[int, int]) -> int:
    """Return the rank of the process that made the others fail: these lost it, or were ended when it was.

    >>> _find_culprit({0: 75, 1: -9, 2: -15})
    1
    """
    causes = [rank for rank, status in statuses.items() if status not in (LOST_OTHERS, -signal.SIGTERM)]
    killed = [rank for rank in causes if statuses[rank] < 0]
    return [*killed, *causes, *statuses][0]


def _describe_end(status: int) -> str:
    if status == LOST_OTHERS:
        return "lost the others"
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name
    return f"was killed by {name}" + (", as the system does when memory runs out" if name == "SIGKILL" else "")


def _leave_failure(folder: Path, kind: str, message: str) -> None:
    (folder / FAILURE).write_text(json.dumps({"type": kind, "message": message, "place": ""}))
