"""What a process of a stage knows of the others that `launch` started with it."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from pipeline.stages.task import Task

LAUNCHED = "FORCE_LAUNCHED"  # the folder of the task that several processes work on, in their environment
LOST_OTHERS = 75  # the exit status of a process that failed only because another one is gone

_SIGNS = ("/gloo/", "Connection closed by peer", "Connection reset by peer", "Connection was likely closed")


def is_one_of_several(folder: Path) -> bool:
    """Say whether this process was started by `launch` for the task in a folder."""
    return os.environ.get(LAUNCHED) == str(folder)


@contextmanager
def join(task: Task) -> Iterator[int]:
    """Join the other processes, where there are any; yield the rank."""
    if task.num_processes == 1:
        yield 0
        return
    parallel = importlib.import_module("common.parallel")  # a stage that is one process does not depend on it
    with parallel.join(find_device(task)) as processes:
        yield processes.rank


def is_loss_of_others(error: BaseException) -> bool:
    """Say whether an error is only that another process is gone."""
    is_of_torch = LAUNCHED in os.environ and isinstance(error, RuntimeError)
    return is_of_torch and (isinstance(error, dist.DistError) or any(sign in str(error) for sign in _SIGNS))


def find_device(task: Task) -> str:
    """Return where a task computes: `cpu` or `cuda`."""
    device: str = task.params.get("runtime", {}).get("device", "auto")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
