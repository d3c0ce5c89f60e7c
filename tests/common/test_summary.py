"""What a data set holds."""

from pathlib import Path
from typing import Any

import pytest
import torch

from common.samples import Samples
from common.summary import find_target_kind, summarise
from tests.datasets import write_samples


def test_samples_of_each_class_are_counted_in_each_split(tmp_path: Path) -> None:
    samples = Samples(torch.arange(6.0)[:, None], ["b", "a", "b", "c", "b", "a"], torch.arange(6))
    summary = summarise(write_samples(tmp_path / "data", samples, "tttvvt"))
    counts = {name: split.class_counts.tolist() for name, split in summary.splits.items()}
    assert counts == {"train": [2, 2, 0], "valid": [0, 1, 1], "test": [0, 0, 0]}
    assert [split.num_samples for split in summary.splits.values()] == [4, 2, 0]
    assert (summary.inputs.mean.tolist(), summary.inputs.high.tolist()) == ([2.5], [5.0])
    assert summary.splits["train"].targets is None


@pytest.mark.parametrize(
    ("targets", "classes", "kind", "counts"),
    [
        (torch.tensor([0, 1, 1]), ("a", "b"), "classes", [1, 2]),
        (torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]), ("a", "b"), "several classes", [1, 2]),
        (torch.tensor([[0, 1, 1], [0, -100, 1], [0, 0, 0]]), ("a", "b"), "class maps", [5, 3]),
        (torch.tensor([0.5, 1.5, 2.5]), (), "quantities", []),
        (torch.zeros(3, 0), (), "none", []),
    ],
)
def test_targets_are_told_apart(
    tmp_path: Path, targets: torch.Tensor, classes: tuple[str, ...], kind: str, counts: list[int]
) -> None:
    dataset = write_samples(tmp_path / "data", Samples(torch.zeros(3, 2), targets, torch.arange(3), classes))
    assert find_target_kind(dataset.metadata) == kind
    train: Any = summarise(dataset).splits["train"]
    assert train.class_counts.tolist() == counts
    assert (train.targets.mean.tolist() if train.targets else None) == ([1.5] if kind == "quantities" else None)


def test_bytes_are_measured_as_the_model_gets_them(tmp_path: Path) -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    summary = summarise(write_samples(tmp_path / "data", Samples(images, ["a", "b"], torch.arange(2))))
    assert (summary.inputs.high.tolist(), summary.inputs.mean.tolist()) == ([1.0], [0.5])
