"""How fast data are prepared: images beside their decoder, a table beside its reader; opened; within what memory."""

import json
import os
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import csv

from benchmarks.loading import MemoryLimit
from benchmarks.measuring import Figure, time_side_by_side
from common.data import Config, DataModule
from common.dataset import SPLITS, Batch, Metadata, open_dataset, tensor_path, write_metadata
from common.part_states import PartStates

TITLE = "preparing"
_NUM_IMAGES = 50_000
_PART = 256  # images that a process decodes at once
_NUM_ROWS, _NUM_COLUMNS = 5_600_000, 20  # of CSV: 1 GB
_NUM_ROWS_AT_ONCE = 56_000
_OPENED_BYTES = 10 * 10**9
_LIMIT_MIB, _LARGE_MIB = 512, 4096
_LARGE_SIDE = 128  # pixels


def measure(folder: Path) -> list[Figure]:
    """Return the figures; up to 5 GB are written below `folder`."""
    torch.set_num_threads(1)
    return [*_measure_images(folder), *_measure_table(folder), _measure_opening(folder), *_measure_memory(folder)]


def _measure_images(folder: Path) -> list[Figure]:
    paths = _write_images(folder / "images", _NUM_IMAGES, 32)
    config = Config(source={"name": "image_folder", "path": str(folder / "images")})
    seconds = time_side_by_side(
        {"decode": partial(_decode_all, paths), "prepare": partial(_prepare, config)}, repeats=5
    )
    speed = {name: _NUM_IMAGES / value for name, value in seconds.items()}
    return [
        Figure(f"{_NUM_IMAGES:,} PNG of 32 × 32 decoded by 2 processes", speed["decode"], "images/s"),
        Figure("the same, prepared", speed["prepare"], "images/s"),
        Figure("prepared against decoded", speed["prepare"] / speed["decode"], "×", at_least=0.8),
    ]


def _measure_table(folder: Path) -> list[Figure]:
    path = folder / "numbers.csv"
    generator = np.random.default_rng(0)
    names = [f"c{place}" for place in range(_NUM_COLUMNS)]
    with csv.CSVWriter(path, pa.schema([(name, pa.float64()) for name in names])) as writer:
        for _ in range(_NUM_ROWS // _NUM_ROWS_AT_ONCE):
            writer.write(pa.table({name: generator.random(_NUM_ROWS_AT_ONCE).round(6) for name in names}))
    config = Config(source={"name": "table", "path": str(path), "target": "c0"})
    seconds = time_side_by_side(
        {"read": partial(_time, csv.read_csv, path), "prepare": partial(_prepare, config)}, repeats=5
    )
    size_mb = path.stat().st_size / 1e6
    path.unlink()
    return [
        Figure(f"CSV of {size_mb:.0f} MB: pyarrow.csv.read_csv", seconds["read"], "s"),
        Figure("the same, prepared", seconds["prepare"], "s"),
        Figure("prepared against read", seconds["prepare"] / seconds["read"], "×", target=1.5),
    ]


def _measure_opening(folder: Path) -> Figure:
    """Measure the time until the tensors of a data set are there; the files are sparse, as nothing of them is read."""
    data = folder / "large"
    shapes = {"inputs": ("F32", (3, 64, 64)), "targets": ("I64", ()), "ids": ("I64", ())}
    num = _OPENED_BYTES // (4 * 3 * 64 * 64) // 3
    for split in SPLITS:
        (data / split).mkdir(parents=True)
        for field, (dtype, shape) in shapes.items():
            _write_sparse(data / tensor_path(split, field), field, dtype, (num, *shape))
    files = {tensor_path(split, field): "0" * 64 for split in SPLITS for field in Batch._fields}
    counts = dict.fromkeys(SPLITS, num)
    write_metadata(Metadata("large", (3, 64, 64), "float32", ("a", "b"), counts, {}, (), files=files), data)
    seconds = [_open(data) for _ in range(6)][1:]
    return Figure("a data set of 10 GB opened", 1000 * statistics.median(seconds), "ms", target=50)


def _open(folder: Path) -> float:
    opening = open_dataset(folder)
    started = time.perf_counter()
    opening.__enter__()
    seconds = time.perf_counter() - started
    opening.gen.close()  # without waiting for the hashes
    return seconds


def _measure_memory(folder: Path) -> list[Figure]:
    num = _LARGE_MIB * 2**20 // (3 * _LARGE_SIDE**2)
    few = _write_images(folder / "few", 1000, _LARGE_SIDE)
    for place in range(num):
        path = folder / f"many/{place % 10}/{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(few[place % len(few)], path)
    with MemoryLimit(_LIMIT_MIB) as limit:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.preparing", str(folder / "many"), str(limit.procs)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    found = json.loads(done.stdout)
    name = f"{_LARGE_MIB} MiB of images within {_LIMIT_MIB} MiB of memory"
    return [
        Figure(f"{name}: prepared", num / found["seconds"], "images/s"),
        Figure(f"{name}: peak of the processes", found["peak_mib"], "MiB", target=_LIMIT_MIB),
    ]


def _write_images(folder: Path, num: int, side: int) -> list[Path]:
    """Write images of ten classes, all different, with about as much detail as photographs; return their paths."""
    generator = np.random.default_rng(0)
    paths = []
    for place in range(num):
        path = folder / f"class_{place % 10}/{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(path, compress_level=1)
        paths.append(path)
    return paths


def _decode_all(paths: list[Path]) -> float:
    parts = [paths[start : start + _PART] for start in range(0, len(paths), _PART)]
    started = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        for _ in pool.map(_decode, parts):
            pass
    return time.perf_counter() - started


def _decode(paths: list[Path]) -> int:
    for path in paths:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    return len(pixels)


def _prepare(config: Config) -> float:
    """Return the seconds of a preparation that could go on if it were killed, as `force run` has it."""
    with TemporaryDirectory(dir="/var/tmp") as folder:
        (data := Path(folder, "data")).mkdir()
        states = PartStates(Path(folder, "parts.json"))
        return _time(partial(DataModule(config).prepare, states=states), data)


def _time(function: Callable[[Path], object], path: Path) -> float:
    started = time.perf_counter()
    function(path)
    return time.perf_counter() - started


def _write_sparse(path: Path, name: str, dtype: str, shape: tuple[int, ...]) -> None:
    num_bytes = int(dtype[1:]) // 8 * int(np.prod(shape))
    header = json.dumps({name: {"dtype": dtype, "shape": shape, "data_offsets": [0, num_bytes]}}).encode().ljust(4088)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(header)) + header)
        stream.truncate(4096 + num_bytes)


def _prepare_limited(images: str, procs: Path) -> dict[str, float]:
    """Prepare inside the limit."""
    procs.write_text(str(os.getpid()))
    torch.set_num_threads(1)
    config = Config(source={"name": "image_folder", "path": images}, duplicates="allow")
    seconds = _prepare(config)
    peak = (procs.parent / "memory.max_usage_in_bytes", procs.parent / "memory.peak")
    used = next(int(file.read_text()) for file in peak if file.exists())
    return {"seconds": seconds, "peak_mib": used / 2**20}


if __name__ == "__main__":
    print(json.dumps(_prepare_limited(sys.argv[1], Path(sys.argv[2]))))
