"""Rows of samples that are on a disk: told of in advance, and the same."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from common import disk
from common.disk import announce


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


def test_each_window_is_told_of_once_and_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[int]] = []
    monkeypatch.setattr(disk, "_fetch", lambda tensors, rows: told.append(rows.tolist()))
    batches = _draw(60, 5)  # four windows of three batches
    windows = [torch.cat(batches[first : first + 3]).sort().values.tolist() for first in range(0, 12, 3)]
    num_told = []
    for _ in announce([torch.zeros(60)], batches, 3):
        num_told.append(len(told))
    assert told == windows
    assert num_told == [2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4]


@pytest.mark.parametrize("rows", [[5], [0, 1, 2, 200, 201, 999], list(range(1000))])
def test_runs_of_rows_hold_all_of_them_and_little_else(monkeypatch: pytest.MonkeyPatch, rows: list[int]) -> None:
    runs: list[list[int]] = []
    monkeypatch.setattr(disk, "_advise", lambda tensor, advice: runs.append(tensor.tolist()))
    disk._fetch([torch.arange(1000)], torch.tensor(rows))
    held = [row for run in runs for row in run]
    assert set(rows) <= set(held)
    assert len(held) == len(set(held))
    assert len(held) <= len(rows) + 2 * 64


def test_advice_is_left_out_when_there_is_nothing_to_advise_on(monkeypatch: pytest.MonkeyPatch) -> None:
    disk._advise(torch.zeros(0), "MADV_WILLNEED")
    disk._advise(torch.rand(4, 4).t(), "MADV_WILLNEED")
    monkeypatch.setattr(disk, "_madvise", None)
    disk._advise(torch.zeros(4), "MADV_WILLNEED")
    assert next(announce([torch.zeros(4)], [torch.tensor([1, 0])], 1)).tolist() == [1, 0]
