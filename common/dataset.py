"""The form that all data takes: three `TensorDataset`s and their metadata, memory-mapped from disk.

On disk a dataset is a folder: `metadata.json`, and for each split a folder with a safetensors file for each tensor.
Nothing in it depends on when or where it was written, so that equal data has equal bytes.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import TensorDataset

SPLITS = ("train", "valid", "test")
NO_CLASS = -100  # a target that counts nowhere, as losses of torch have it by default
_NUM_READERS = 2  # files that are hashed at once
_NUM_BYTES_CHECKED_FIRST = 2**26
_HASHED_BYTES = 2**20  # at once


class Batch(NamedTuple):
    """Samples in the order of a `TensorDataset`'s tensors."""

    inputs: Tensor  # (batch, *input_shape)
    targets: Tensor  # (batch, *target_shape); class indices are (batch,) int64
    ids: Tensor  # (batch,) int64, which name the samples

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
    input_dtype: str  # as the model gets them
    classes: tuple[str, ...]  # empty where targets are no classes
    num_samples: Mapping[str, int]  # by split
    statistics: Mapping[str, float]  # mean and standard deviation of the train inputs, as the model gets them
    sources: tuple[Mapping[str, Any], ...]  # name and sha256 of what was read
    target_shape: tuple[int, ...] = ()  # of one sample
    target_dtype: str = "int64"
    stored_dtype: str = ""  # of inputs on disk, where that is another: uint8 reaches the model as float32 from 0 to 1
    transforms: tuple[Mapping[str, Any], ...] = ()  # params of what was done to samples, with what was learned of them
    prepared_by: str = ""  # the class that did it
    input_names: tuple[str, ...] = ()  # of the columns, where inputs are such and they have names
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)  # sha256 by path


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


def tensor_path(split: str, field: str) -> str:
    """Return where the tensor of a field of `Batch` stands in the folder of a dataset."""
    return f"{split}/{field}.safetensors"


def write_metadata(metadata: Metadata, folder: Path) -> None:
    """Write metadata into `folder`, which must exist."""
    (folder / "metadata.json").write_text(json.dumps(dataclasses.asdict(metadata), indent=1, sort_keys=True) + "\n")


def read_metadata(folder: Path) -> Metadata:
    """Read the metadata in `folder`: of the dataset there, or of the one that a model there was built for."""
    fields = json.loads((folder / "metadata.json").read_text())
    for name in ("input_shape", "target_shape", "classes", "sources", "transforms", "input_names"):
        fields[name] = tuple(fields.get(name, ()))  # earlier datasets lack the last two
    return Metadata(**fields)


@contextmanager
def open_dataset(folder: Path) -> Iterator[Dataset]:
    """Open the dataset in `folder`, memory-mapped and at once, however large: large ones are hashed while it is used.

    Raises CorruptDatasetError where a file is not of the recorded shape, and at once or in the end where its sha256 is
    not the recorded one: safetensors itself accepts flipped bits.
    """
    dataset = map_dataset(folder)
    metadata = dataset.metadata
    threads, is_over = ThreadPoolExecutor(_NUM_READERS), Event()
    try:
        hashes = {path: threads.submit(hash_file, folder / path, is_over) for path in sorted(metadata.files)}
        if sum((folder / path).stat().st_size for path in metadata.files) <= _NUM_BYTES_CHECKED_FIRST:
            _check(folder, metadata, hashes)
        yield dataset
        _check(folder, metadata, hashes)
    finally:
        is_over.set()
        threads.shutdown(cancel_futures=True)


def _check(folder: Path, metadata: Metadata, hashes: Mapping[str, Future[str]]) -> None:
    for path, found in hashes.items():
        if found.result() != metadata.files[path]:
            raise CorruptDatasetError(f"{folder / path} does not have the sha256 that metadata.json records")


def read_dataset(folder: Path) -> Dataset:
    """Return the dataset in `folder`, once its files are hashed. Raises CorruptDatasetError as `open_dataset` does."""
    with open_dataset(folder) as dataset:
        return dataset


def map_dataset(folder: Path) -> Dataset:
    """Return the dataset in `folder`, memory-mapped, without hashing it: of one that was just written, say.

    Raises CorruptDatasetError where a file is not of the recorded shape, or cannot be read.
    """
    try:
        metadata = read_metadata(folder)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptDatasetError(f"{folder / 'metadata.json'} cannot be read: {error}") from error
    return Dataset(metadata=metadata, **{name: _open_split(folder, name, metadata) for name in SPLITS})


def read_names(folder: Path, split: str, rows: Sequence[int]) -> list[str]:
    """Return the ids of samples, by their rows in a split of the dataset in `folder`, as its source gave them."""
    path = folder / split / "names.jsonl"
    if not path.exists():
        ids = load_file(folder / tensor_path(split, "ids"))["ids"]
        return [str(ids[row].item()) for row in rows]
    wanted = set(rows)
    with path.open("rb") as lines:
        found = {row: str(json.loads(line)) for row, line in enumerate(lines) if row in wanted}
    return [found[row] for row in rows]


def _open_split(folder: Path, name: str, metadata: Metadata) -> TensorDataset:
    tensors = []
    for field in Batch._fields:
        path = folder / tensor_path(name, field)
        try:
            tensors.append(load_file(path)[field])
        except (OSError, SafetensorError, KeyError) as error:
            raise CorruptDatasetError(f"{path} cannot be read: {error}") from error
    inputs, targets, _ = tensors
    found = [(tuple(tensor.shape[1:]), describe_dtype(tensor.dtype)) for tensor in (inputs, targets)]
    wanted = [
        (metadata.input_shape, metadata.stored_dtype or metadata.input_dtype),
        (metadata.target_shape, metadata.target_dtype),
    ]
    if found != wanted or {len(tensor) for tensor in tensors} != {metadata.num_samples[name]}:
        raise CorruptDatasetError(f"the {name} split in {folder} is not of the shapes that metadata.json records")
    return TensorDataset(*tensors)


def describe_dtype(dtype: torch.dtype) -> str:
    """Return the name of a dtype without its package."""
    return str(dtype).removeprefix("torch.")


def hash_file(path: Path, is_over: Event | None = None) -> str:
    """Return the sha256 of a file; nothing of use, and at once, where `is_over` is set."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while (chunk := stream.read(_HASHED_BYTES)) and not (is_over and is_over.is_set()):
            digest.update(chunk)
    return digest.hexdigest()
