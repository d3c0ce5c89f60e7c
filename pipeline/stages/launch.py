"""Run a stage as several processes, as torchrun does: when one is killed, all begin again from the last checkpoint."""

import importlib
import json
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from pipeline.stages.task import Task

FAILURE = "failure.json"
_MAX_RESTARTS = 3
_RESTART_COUNT = "TORCHELASTIC_RESTART_COUNT"


def is_one_of_several() -> bool:
    """Say whether this process was started by `launch`."""
    return _RESTART_COUNT in os.environ


def has_failed_before(folder: Path) -> bool:
    """Say whether an earlier attempt left a reason: then another would end the same way."""
    return int(os.environ.get(_RESTART_COUNT, "0")) > 0 and (folder / FAILURE).exists()


def launch(folder: Path, task: Task) -> int:
    """Run the task in `folder` on this machine; return the exit status, and leave the reason where it fails."""
    num_processes = task.num_processes
    if _find_device(task) == "cuda" and torch.cuda.device_count() < num_processes:
        there = torch.cuda.device_count()
        _leave_failure(folder, "ValueError", f"{num_processes} processes need as many GPUs, and there are {there}")
        return 1
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # with a shared store, a restart hangs
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=_MAX_RESTARTS,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "pipeline.stages", str(folder))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if not (folder / FAILURE).exists():
            _leave_failure(folder, "Killed", f"process {rank} {_describe_end(failure.exitcode)}")
        return 1
    return 0


@contextmanager
def join(task: Task) -> Iterator[int]:
    """Join the other processes, where there are any; yield the rank."""
    if task.num_processes == 1:
        yield 0
        return
    parallel = importlib.import_module("common.parallel")  # a stage that is one process does not depend on it
    with parallel.join(_find_device(task)) as processes:
        yield processes.rank


def is_loss_of_others(error: BaseException) -> bool:
    """Say whether an error is only that another process is gone."""
    signs = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return is_one_of_several() and isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def _find_device(task: Task) -> str:
    device: str = task.params.get("runtime", {}).get("device", "auto")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def _describe_end(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name
    return f"was killed by {name}" + (", as the system does when memory runs out" if name == "SIGKILL" else "")


def _leave_failure(folder: Path, kind: str, message: str) -> None:
    (folder / FAILURE).write_text(json.dumps({"type": kind, "message": message, "place": ""}))
