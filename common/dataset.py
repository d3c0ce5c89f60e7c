"""The form that all data takes: three `TensorDataset`s and their metadata, in memory and on disk.

On disk a dataset is a folder: one safetensors file a split, and `metadata.json` with the sha256 of each file.
Nothing in it depends on when or where it was written, so that equal data has equal bytes.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import TensorDataset

SPLITS = ("train", "valid", "test")


class Batch(NamedTuple):
    """Samples in the order of a `TensorDataset`'s tensors."""

    inputs: Tensor  # (batch, *input_shape)
    targets: Tensor  # (batch,) class indices
    ids: Tensor  # (batch,) int64, the sample's place in its source

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on `device`."""
        return Batch(*(tensor.to(device) for tensor in self))

    def select(self, rows: Tensor) -> "Batch":
        """Return the samples of these rows."""
        inputs, targets, ids = self
        return Batch(inputs.index_select(0, rows), targets.index_select(0, rows), ids.index_select(0, rows))


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a model has to know of the data, and where the data came from."""

    name: str
    input_shape: tuple[int, ...]  # of one sample, without the batch dimension
    input_dtype: str
    classes: tuple[str, ...]
    num_samples: Mapping[str, int]  # by split
    statistics: Mapping[str, float]  # mean and standard deviation of the train inputs
    sources: tuple[Mapping[str, Any], ...]  # name and sha256 of what was read
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)  # sha256 by file name


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The splits of one data set; each holds the tensors (inputs, targets, ids)."""

    train: TensorDataset
    valid: TensorDataset
    test: TensorDataset
    metadata: Metadata

    def split(self, name: str) -> TensorDataset:
        """Return the split called `name`, one of `SPLITS`."""
        split: TensorDataset = getattr(self, name)
        return split


class CorruptDatasetError(RuntimeError):
    """A file of a dataset is not the one that its metadata describes."""


class BadTargetError(ValueError):
    """A target is none of the classes."""


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Write a dataset into `folder`, which must exist. Raises BadTargetError where a target is none of its classes."""
    files = {}
    for name in SPLITS:
        _check_targets(name, Batch(*dataset.split(name).tensors), len(dataset.metadata.classes))
        path = folder / f"{name}.safetensors"
        tensors = zip(Batch._fields, dataset.split(name).tensors, strict=True)
        save_file({field: tensor.contiguous() for field, tensor in tensors}, path)
        files[path.name] = _sha256(path)
    write_metadata(dataclasses.replace(dataset.metadata, files=files), folder)


def write_metadata(metadata: Metadata, folder: Path) -> None:
    """Write metadata into `folder`, which must exist."""
    (folder / "metadata.json").write_text(json.dumps(dataclasses.asdict(metadata), indent=1, sort_keys=True) + "\n")


def _check_targets(split: str, samples: Batch, num_classes: int) -> None:
    """Check class indices; without classes, or where a sample may have several, there are none."""
    if not num_classes or samples.targets.ndim != 1 or samples.targets.is_floating_point():
        return
    outside = ((samples.targets < 0) | (samples.targets >= num_classes)).nonzero()
    if len(outside):
        row = int(outside[0])
        raise BadTargetError(
            f"{len(outside)} samples of the {split} split have no class: sample {int(samples.ids[row])} has the target "
            f"{int(samples.targets[row])}, and there are {num_classes} classes, 0 … {num_classes - 1}"
        )


def read_metadata(folder: Path) -> Metadata:
    """Read the metadata in `folder`: of the dataset there, or of the one that a model there was built for."""
    fields = json.loads((folder / "metadata.json").read_text())
    for name in ("input_shape", "classes", "sources"):
        fields[name] = tuple(fields[name])
    return Metadata(**fields)


def read_dataset(folder: Path) -> Dataset:
    """Read the dataset in `folder`, its tensors memory-mapped.

    Raises CorruptDatasetError where a file's sha256 is not the recorded one: safetensors itself accepts flipped bits.
    """
    metadata = read_metadata(folder)
    splits = {}
    for name in SPLITS:
        path = folder / f"{name}.safetensors"
        if _sha256(path) != metadata.files[path.name]:
            raise CorruptDatasetError(f"{path} does not have the sha256 that metadata.json records")
        tensors = load_file(path)
        splits[name] = TensorDataset(*(tensors[field] for field in Batch._fields))
    return Dataset(metadata=metadata, **splits)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
