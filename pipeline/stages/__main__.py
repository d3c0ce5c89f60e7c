"""The process of one stage: `python -m pipeline.stages FOLDER`, FOLDER holding its task.

Leaves facts.json beside its results, or failure.json with the reason. Ends when its standard input does, so that it
never outlives `force stage`.
"""

import importlib
import json
import logging
import os
import platform
import resource
import sys
import threading
import traceback
from contextlib import suppress
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import torch

from pipeline.stages.guarantees import collect_doubts
from pipeline.stages.joining import LOST_OTHERS, is_loss_of_others, is_one_of_several, join
from pipeline.stages.lifeline import end_with_input
from pipeline.stages.task import Task, read_task
from pipeline.workspace import TASK

FAILURE = "failure.json"
PACKAGES = ("torch", "numpy", "safetensors", "torchmetrics", "scikit-learn")


def main() -> int:
    """Run the task in the folder that the command line names; return the exit status."""
    folder = Path(sys.argv[1])
    threading.Thread(target=end_with_input, args=(os.dup(0),), daemon=True).start()
    task = read_task(folder / TASK)
    if task.num_processes > 1 and not is_one_of_several(folder):
        return int(importlib.import_module("pipeline.stages.launch").launch(folder, task))
    _close_input()
    try:
        with join(task) as rank:
            return _run(task, folder, rank)
    except RuntimeError as error:  # of the joining itself
        if not is_loss_of_others(error):
            raise
        traceback.print_exc()
        return LOST_OTHERS


def _run(task: Task, folder: Path, rank: int) -> int:
    _start_log(rank)
    try:
        with collect_doubts(task.params.get("runtime", {}), task.num_processes) as doubts:
            # Only this stage's module: another's imports would cost seconds, and look like dependencies of this one.
            figures = importlib.import_module(f"pipeline.stages.{task.stage}").run(task)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        if is_loss_of_others(error):
            return LOST_OTHERS
        described = _describe(error, task.root)
        described["message"] = (f"process {rank}: " if task.num_processes > 1 else "") + described["message"]
        _leave_failure(folder / FAILURE, described)
        return 1
    if not rank:
        (folder / "facts.json").write_text(json.dumps(_collect_facts(task, figures, doubts)))
    return 0


def _start_log(rank: int) -> None:
    """Show what the first process says, and the warnings of the others, with their rank."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True, write_through=False)  # whole lines: others write here, too
    level, prefix = (logging.WARNING, f"process {rank}: ") if rank else (logging.INFO, "")
    logging.basicConfig(level=level, format=f"{prefix}%(message)s", stream=sys.stdout)
    if rank:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # to the end
        logging.captureWarnings(True)


def _leave_failure(path: Path, failure: dict[str, Any]) -> None:
    """Write the reason, all of it or nothing, unless another process was first: what follows from it is none."""
    own = path.with_name(f"{path.name}.{os.getpid()}")
    own.write_text(json.dumps(failure))
    with suppress(FileExistsError):
        os.link(own, path)
    own.unlink()


def _close_input() -> None:
    """Let nobody wait for what is typed: a `breakpoint()` fails the stage, with its place."""
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)


def _describe(error: BaseException, root: str) -> dict[str, Any]:
    """Return type and message of an error, and its innermost place in an experiment's code, else in common's.

    What common says in words of its own is no bug there: its place would help nobody.
    """
    place = ""
    is_said = type(error).__module__.startswith("common.")
    for package in ("experiments",) if is_said else ("common", "experiments"):
        frames = [frame for frame in _list_frames(error) if frame.filename.startswith(f"{root}/{package}/")]
        if frames:
            place = f"{os.path.relpath(frames[-1].filename, root)}:{frames[-1].lineno}"
    return {"type": type(error).__name__, "message": str(error), "place": place}


def _list_frames(error: BaseException | None) -> list[traceback.FrameSummary]:
    """Return where an error came from, and then where what caused it did."""
    if error is None:
        return []
    return [*traceback.extract_tb(error.__traceback__), *_list_frames(error.__cause__)]


def _collect_facts(task: Task, figures: dict[str, float], doubts: list[str]) -> dict[str, Any]:
    peak_gpu_memory_mib = _peak_gpu_memory_mib()  # before the names are asked for, which starts CUDA
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    paths = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    first_party = tuple(f"{task.root}/{package}/" for package in ("common", "experiments"))
    return {
        "figures": figures,
        "doubts": doubts,
        "peak_memory_mib": _peak_memory_mib(),
        "peak_gpu_memory_mib": peak_gpu_memory_mib,
        "hardware": {"machine": platform.machine(), "num_cpus": os.cpu_count(), "gpus": gpus},
        "versions": _collect_versions(),
        "modules": sorted(os.path.relpath(p, task.root) for p in paths if p and p.startswith(first_party)),
    }


def _collect_versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    versions["torch"] = str(torch.__version__)  # names the CUDA that it was built with; the package's version may not
    if torch.cuda.is_available():
        versions["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    return versions


def _peak_gpu_memory_mib() -> float | None:
    """Return the most that torch held of one GPU, None where this process used none."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return None
    return max(torch.cuda.max_memory_reserved(i) for i in range(torch.cuda.device_count())) / 2**20


def _peak_memory_mib() -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    sys.exit(main())
