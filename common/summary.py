"""What a data set holds: counts, classes and what its numbers are like, split by split, found in one walk."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import torch
from torch import Tensor

from common.dataset import SPLITS, Dataset, Metadata
from common.measures import Measures, find_channel_axis, find_unit, iterate_blocks, measure, merge

TargetKind = Literal["classes", "several classes", "class maps", "quantities", "none"]


@dataclass(frozen=True)
class Split:
    """What one split holds."""

    num_samples: int
    inputs: Measures
    targets: Measures | None  # of quantities
    class_counts: Tensor  # (classes,) int64: samples, or of maps, numbers of that class


@dataclass(frozen=True)
class Summary:
    """What a data set holds."""

    metadata: Metadata
    splits: Mapping[str, Split]

    @property
    def inputs(self) -> Measures:
        """The measures of the inputs of all splits; rows mean nothing there."""
        return reduce(merge, (split.inputs for split in self.splits.values()))


def summarise(dataset: Dataset) -> Summary:
    """Return what a data set holds."""
    return Summary(dataset.metadata, {name: _summarise_split(dataset, name) for name in SPLITS})


def find_target_kind(metadata: Metadata) -> TargetKind:
    """Say what targets are, as their shape and dtype tell."""
    if 0 in metadata.target_shape:
        return "none"
    if not metadata.classes:
        return "quantities"
    if metadata.target_shape == (len(metadata.classes),):
        return "several classes"
    if metadata.target_dtype.startswith(("float", "bfloat")):
        return "quantities"
    return "class maps" if metadata.target_shape else "classes"


def _summarise_split(dataset: Dataset, name: str) -> Split:
    inputs, targets, ids = dataset.split(name).tensors
    metadata = dataset.metadata
    kind = find_target_kind(metadata)
    return Split(
        num_samples=len(ids),
        inputs=measure(inputs, find_channel_axis(metadata), find_unit(metadata)),
        targets=measure(targets, 1 if targets.ndim == 2 else None) if kind == "quantities" else None,
        class_counts=_count_classes(targets, kind, len(metadata.classes)),
    )


def _count_classes(targets: Tensor, kind: TargetKind, num_classes: int) -> Tensor:
    counts = torch.zeros(num_classes, dtype=torch.int64)
    for _, block in iterate_blocks(targets):
        if kind == "several classes":
            counts += (block > 0.5).sum(0)
        elif kind in ("classes", "class maps"):
            known = block[(block >= 0) & (block < num_classes)]  # a map may have a number for what is not to be learnt
            counts += torch.bincount(known.flatten().long(), minlength=num_classes)
    return counts


def name_targets(count: int) -> list[str]:
    """Return what to call each quantity of the targets."""
    return ["target"] if count == 1 else [f"target {place}" for place in range(count)]
