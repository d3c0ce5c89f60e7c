"""Rows of samples that are on a disk: told of in advance, and the same."""

import ctypes
import mmap
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from common import disk
from common.disk import announce
from tests.flows.commands import wait_until


def _draw(num_samples: int, size: int) -> list[Tensor]:
    return list(torch.split(torch.randperm(num_samples, generator=torch.Generator().manual_seed(0)), size))


@pytest.mark.parametrize("num_batches", [1, 2, 3, 99])
def test_rows_of_each_batch_come_as_they_are(tmp_path: Path, num_batches: int) -> None:
    inputs = torch.rand(47, 3, 4)
    save_file({"inputs": inputs, "empty": torch.zeros(47, 0)}, tmp_path / "a")
    mapped = load_file(tmp_path / "a")
    for ours, theirs in zip(announce(mapped.values(), _draw(47, 7), num_batches), _draw(47, 7), strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(mapped["inputs"][ours], inputs[theirs])


class AtOnce(ThreadPoolExecutor):
    """Readers that are done before they are asked anything else."""

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        future = super().submit(*args, **kwargs)
        future.result()
        return future


def test_each_window_is_told_of_once_and_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[int]] = []
    monkeypatch.setattr(disk, "ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(disk, "_read", lambda run: told.append(run.tolist()))
    batches = _draw(60, 5)  # four windows of three batches
    bounds = [(int(rows.min()), int(rows.max())) for rows in (torch.cat(batches[i : i + 3]) for i in range(0, 12, 3))]
    num_told = []
    for _ in announce([torch.arange(60)], batches, 3):
        num_told.append(len(told))
    assert told == [list(range(first, last + 1)) for first, last in bounds]
    assert num_told == [2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4]


@pytest.mark.parametrize("rows", [[5], [0, 1, 2, 200, 201, 999], list(range(1000))])
def test_runs_of_rows_hold_all_of_them_and_little_else(rows: list[int]) -> None:
    held = [row for run in disk._find_runs([torch.arange(1000)], torch.tensor(rows)) for row in run.tolist()]
    assert set(rows) <= set(held)
    assert len(held) == len(set(held))
    assert len(held) <= len(rows) + 2 * 64


@pytest.mark.parametrize("has_large_pages", [True, False])
@pytest.mark.parametrize(("first", "end"), [(0, 3), (5, 1500), (1, 4096), (700, 701), (512, 1024)])
def test_a_run_is_read_once(monkeypatch: pytest.MonkeyPatch, first: int, end: int, has_large_pages: bool) -> None:
    pages: list[int] = []  # one row is one page
    samples = torch.zeros(4096, mmap.PAGESIZE, dtype=torch.uint8)

    def note(begin: int, stop: int, advice: int) -> None:
        if begin < stop:
            assert has_large_pages or advice != disk._READ_NOW
            pages.extend(range(begin // mmap.PAGESIZE, -(-stop // mmap.PAGESIZE)))

    monkeypatch.setattr(disk, "_has_large_pages", has_large_pages)
    monkeypatch.setattr(disk, "_advise", note)
    run = samples[first:end]
    disk._read(run)
    wanted = range(run.data_ptr() // mmap.PAGESIZE, -(-(run.data_ptr() + run.nbytes) // mmap.PAGESIZE))
    assert sorted(pages) == list(wanted)


def test_what_is_read_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_file({"inputs": torch.rand(64, 2**18)}, path)  # 1 MiB a row
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    inputs = load_file(path)["inputs"]
    disk._advise(*disk._find_pages(inputs), mmap.MADV_RANDOM)
    disk._read(inputs[10:20])
    wait_until(lambda: _is_in_memory(inputs[10:20]), "the rows")


def _is_in_memory(run: Tensor) -> bool:
    first, end = disk._find_pages(run)
    found = (ctypes.c_ubyte * -(-(end - first) // mmap.PAGESIZE))()
    ctypes.CDLL(None).mincore(ctypes.c_void_p(first), ctypes.c_size_t(end - first), found)
    return all(found)


def test_advice_is_left_out_when_there_is_nothing_to_advise_on(monkeypatch: pytest.MonkeyPatch) -> None:
    disk._read(torch.zeros(0))
    disk._read(torch.rand(4, 4).t())
    monkeypatch.setattr(disk, "_madvise", None)
    disk._read(torch.zeros(4))
    assert next(announce([torch.zeros(4)], [torch.tensor([1, 0])], 1)).tolist() == [1, 0]


def test_nothing_more_is_read_when_an_epoch_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Tensor] = []
    is_left = threading.Event()

    def read_slowly(run: Tensor) -> None:
        read.append(run)
        is_left.wait()

    monkeypatch.setattr(disk, "_read", read_slowly)
    rows = announce([torch.arange(10_000)], list(torch.arange(0, 10_000, 100).split(5)), 10)  # 50 runs a window
    next(rows)
    threading.Timer(0.1, is_left.set).start()
    rows.close()
    assert len(read) < 50
