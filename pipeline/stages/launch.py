"""Run a stage as several processes, as torchrun does: when one is killed, all begin again from the last checkpoint."""

import json
import os
import signal
import sys
import uuid
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

FAILURE = "failure.json"
_MAX_RESTARTS = 3
_RESTART_COUNT = "TORCHELASTIC_RESTART_COUNT"


def is_one_of_several() -> bool:
    """Say whether this process was started by `launch`."""
    return _RESTART_COUNT in os.environ


def has_failed_before(folder: Path) -> bool:
    """Say whether an earlier attempt left a reason: then another would end the same way."""
    return int(os.environ.get(_RESTART_COUNT, "0")) > 0 and (folder / FAILURE).exists()


def launch(folder: Path, num_processes: int, device: str) -> int:
    """Run the task in `folder` on this machine; return the exit status, and leave the reason where it fails."""
    if device == "cuda" and torch.cuda.device_count() < num_processes:
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


def _describe_end(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name
    return f"was killed by {name}" + (", as the system does when memory runs out" if name == "SIGKILL" else "")


def _leave_failure(folder: Path, kind: str, message: str) -> None:
    (folder / FAILURE).write_text(json.dumps({"type": kind, "message": message, "place": ""}))
