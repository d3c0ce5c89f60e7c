"""How fast batches come: from memory beside torch's DataLoader, and from a file larger than the memory allowed."""

import json
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.measuring import Figure, time_side_by_side
from benchmarks.training import make_samples
from common import loader
from common.loader import Loader

TITLE = "loading"
_BATCH = 128
_ROW_SHAPE = (3, 64, 64)  # of float32: 48 KiB
_LIMIT_MIB = 512
_SIZE_MIB = 4 * _LIMIT_MIB
_WINDOW = 512  # samples: 24 MiB


def measure(folder: Path) -> list[Figure]:
    """Return the figures; a file of `_SIZE_MIB` is written below `folder`."""
    return [*_measure_memory(), *_measure_disk(folder)]


def _measure_memory() -> list[Figure]:
    torch.set_num_threads(1)
    samples = make_samples(200 * _BATCH, (64,))
    batches = Loader(samples, loader.Config(_BATCH), training=True, seed=0)
    theirs = DataLoader(samples, _BATCH, shuffle=True)
    seconds = time_side_by_side(
        {"ours": partial(_drain, batches.epoch, 1), "theirs": partial(_drain, iter, theirs)}, repeats=9
    )
    per_batch = {name: 1e6 * value / 200 for name, value in seconds.items()}
    return [
        Figure("Loader, batches of 128 × 64 in memory", per_batch["ours"], "µs a batch"),
        Figure("DataLoader over TensorDataset, the same", per_batch["theirs"], "µs a batch"),
        Figure("DataLoader against Loader", per_batch["theirs"] / per_batch["ours"], "×", at_least=12.0),
    ]


def _drain(begin, *args) -> float:
    started = time.perf_counter()
    for _ in begin(*args):
        pass
    return time.perf_counter() - started


def _measure_disk(folder: Path) -> list[Figure]:
    """Measure in a process of its own, that may have `_LIMIT_MIB` of memory, the pages of the file among them."""
    path = folder / "samples.safetensors"
    num_samples = _SIZE_MIB * 2**20 // (4 * 3 * 64 * 64)
    generator = torch.Generator().manual_seed(0)
    save_file({"inputs": torch.randn(num_samples, *_ROW_SHAPE, generator=generator)}, path)
    with MemoryLimit(_LIMIT_MIB) as limit:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.loading", str(path), str(limit.procs)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    found = json.loads(done.stdout)
    path.unlink()
    name = f"{_SIZE_MIB} MiB within {_LIMIT_MIB} MiB of memory"
    return [
        Figure(f"{name}: gathered in order", found["raw"], "MiB/s"),
        Figure(f"{name}: Loader, shuffled in windows of {_WINDOW} samples", found["loader"], "MiB/s"),
        Figure(f"{name}: against in order", found["loader"] / found["raw"], "×", at_least=0.8),
        Figure(f"{name}: peak of the process", found["peak_mib"], "MiB", target=_LIMIT_MIB),
    ]


class MemoryLimit:
    """A control group with so much memory; needs root, and the memory controller of version 1 or 2."""

    def __init__(self, mib: int) -> None:
        self._mib = mib
        self._folder = _find_cgroup() / f"force-benchmark-{os.getpid()}"
        self.procs = self._folder / "cgroup.procs"

    def __enter__(self) -> "MemoryLimit":
        self._folder.mkdir()
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (self._folder / name).exists():
                (self._folder / name).write_text(str(self._mib * 2**20))
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.rmdir()


def _find_cgroup() -> Path:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return Path("/sys/fs/cgroup/memory" + path)
    return Path("/sys/fs/cgroup" + Path("/proc/self/cgroup").read_text().split("::")[1].strip())


def _measure_limited(path: Path, procs: Path) -> dict[str, float]:
    """Measure inside the limit, in turns; the pages of the file are forgotten before each."""
    procs.write_text(str(os.getpid()))
    torch.set_num_threads(1)
    inputs = load_file(path)["inputs"]
    ids = torch.arange(len(inputs))
    batches = Loader(
        TensorDataset(inputs, ids, ids), loader.Config(_BATCH, shuffle_window=_WINDOW), training=True, seed=0
    )
    speeds: dict[str, list[float]] = {"raw": [], "loader": []}
    for epoch in range(5):
        for name, iterate in {
            "raw": partial(_gather_in_order, inputs),
            "loader": partial(batches.epoch, epoch),
        }.items():
            with path.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            speeds[name].append(_SIZE_MIB / _drain(iterate))
    peak = (procs.parent / "memory.max_usage_in_bytes", procs.parent / "memory.peak")
    used = next(int(file.read_text()) for file in peak if file.exists())
    return {name: statistics.median(values) for name, values in speeds.items()} | {"peak_mib": used / 2**20}


def _gather_in_order(inputs):
    for rows in torch.arange(len(inputs)).split(_BATCH):
        yield inputs.index_select(0, rows)


if __name__ == "__main__":
    print(json.dumps(_measure_limited(Path(sys.argv[1]), Path(sys.argv[2]))))
