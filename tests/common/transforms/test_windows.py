"""Sequences cut into windows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.data import Config, DataModule
from common.samples import BadSourceError, Samples
from common.transforms.windows import Windows

SEQUENCES = torch.arange(14).view(2, 7)
SAMPLES = Samples(SEQUENCES, torch.tensor([5, 6]), torch.tensor([8, 9]))


def test_one_sample_becomes_several() -> None:
    found = Windows(3)(SAMPLES)
    assert found.inputs.tolist() == [[0, 1, 2], [3, 4, 5], [7, 8, 9], [10, 11, 12]]
    assert found.ids == ["8#0", "8#1", "9#0", "9#1"]
    assert found.groups == ["8", "8", "9", "9"]
    assert torch.equal(torch.as_tensor(found.targets), torch.tensor([5, 5, 6, 6]))


def test_windows_overlap_when_the_step_is_shorter() -> None:
    found = Windows(3, step=2)(SAMPLES._replace(inputs=SEQUENCES[..., None].expand(2, 7, 4)))
    assert found.inputs.shape == (6, 3, 4)
    assert found.inputs[:, :, 3].tolist()[:3] == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]


def test_all_that_the_source_says_is_kept() -> None:
    given = SAMPLES._replace(
        targets=["x", "y"],
        groups=["g", "g"],
        splits=["train", "test"],
        times=[1, 2],
        digests=["d", "e"],
        classes=("x", "y"),
    )
    found = Windows(3)(given)
    assert (found.targets, found.groups, found.classes) == (["x", "x", "y", "y"], ["g"] * 4, ("x", "y"))
    assert (found.splits, found.times) == (["train", "train", "test", "test"], [1, 1, 2, 2])
    assert found.digests == ["d", "d", "e", "e"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [(SEQUENCES[:, :2], "wants 3 points of time, and sequences have 2"), (torch.zeros(2), "wants sequences")],
)
def test_what_is_too_short_is_refused(inputs: torch.Tensor, message: str) -> None:
    with pytest.raises(BadSourceError, match=message):
        Windows(3)(SAMPLES._replace(inputs=inputs))


def test_windows_of_one_sequence_stay_in_one_split(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((20, 6), dtype=np.float32))
    source = {"name": "arrays", "inputs": str(tmp_path / "x.npy")}
    config = Config(source=source, transforms=({"name": "windows", "length": 2},), split_by="group")
    (tmp_path / "data").mkdir()
    DataModule(config).prepare(tmp_path / "data")
    found = [
        {name.split("#")[0] for name in (tmp_path / f"data/{split}/names.jsonl").read_text().split('"')[1::2]}
        for split in ("train", "valid", "test")
    ]
    assert sum(map(len, found)) == len(set.union(*found)) == 20
    assert all(found)
