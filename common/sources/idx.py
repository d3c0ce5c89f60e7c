"""IDX files, as those of MNIST: a folder of images and labels for training and test, compressed by gzip or not."""

import gzip
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from common.array_files import read_exactly, read_some
from common.config import DataPath
from common.dataset import hash_file
from common.samples import BadSourceError, Samples, Source

_NAME = re.compile(r"(?:.*-)?(train|t10k|test)-images[-.]idx\d-ubyte(?:\.gz)?")
_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_BLOCK_BYTES = 2**24  # of images that are read at once


class Part(NamedTuple):
    """Some images of one file."""

    split: str
    first: int
    images: np.ndarray  # (samples, …)
    labels: np.ndarray  # (samples,)


@dataclass(frozen=True)
class Idx(Source):
    """Images (1, height, width) uint8 of `train-images-idx3-ubyte` and the like; their ids are as train/0."""

    path: DataPath
    classes: tuple[str, ...] = ()  # what labels from 0 stand for; without them, each label is a class

    @property
    def name(self) -> str:
        """The name of the folder."""
        return Path(self.path).name

    def parts(self) -> Iterator[Part]:
        """Yield some images and their labels, those for training first. Raises BadSourceError for a damaged file."""
        for split, images, labels in self._find_files():
            yield from _read_pair(split, images, labels)

    def load(self, part: Part) -> Samples:
        """Return the samples of some images."""
        whole = torch.from_numpy(part.labels.astype(np.int64))
        return Samples(
            inputs=_settle(part.images),
            targets=whole if self.classes else [str(label) for label in whole.tolist()],
            ids=[f"{part.split}/{part.first + place}" for place in range(len(whole))],
            classes=self.classes,
            splits=[part.split] * len(whole) if len(self._find_files()) > 1 else None,
        )

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Return the sha256 of each file."""
        paths = [path for _, images, labels in self._find_files() for path in (images, labels)]
        return tuple({"name": str(path), "sha256": hash_file(path)} for path in paths)

    def _find_files(self) -> list[tuple[str, Path, Path]]:
        """Return split, images and labels; train comes first. Raises BadSourceError where one of them is missing."""
        root = Path(self.path)
        names = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
        found: dict[str, tuple[str, Path, Path]] = {}
        for name in names:
            if match := _NAME.fullmatch(name):
                split = "train" if match[1] == "train" else "test"
                if split in found:
                    raise BadSourceError(
                        f"'{root}' has two files of {split} images: '{found[split][1].name}', '{name}'"
                    )
                found[split] = split, root / name, _find_labels(root, name)
        if "train" not in found:
            raise BadSourceError(f"'{root}' has no train images: wanted 'train-images-idx3-ubyte', perhaps with .gz")
        return [found[split] for split in ("train", "test") if split in found]


def _find_labels(root: Path, images: str) -> Path:
    stem = re.sub(r"images([-.])idx\d", r"labels\1idx1", images.removesuffix(".gz"))
    for name in (stem, f"{stem}.gz"):
        if (root / name).is_file():
            return root / name
    raise BadSourceError(f"'{root}' has '{images}', but no '{stem}'")


def _read_pair(split: str, images: Path, labels: Path) -> Iterator[Part]:
    with _open(images) as pixels, _open(labels) as answers:
        shape, dtype = _read_header(pixels, images)
        label_shape, label_dtype = _read_header(answers, labels)
        if label_shape != shape[:1] or label_dtype.kind == "f":
            found = f"{label_dtype.name} of shape {label_shape}"
            raise BadSourceError(f"{labels} holds {found}, wanted a whole number for each of {shape[0]} images")
        num = max(1, _BLOCK_BYTES // (math.prod(shape[1:]) * dtype.itemsize))
        for first in range(0, shape[0], num):
            count = min(num, shape[0] - first)
            rows = _read_rows(pixels, (count, *shape[1:]), dtype, images)
            yield Part(split, first, rows, _read_rows(answers, (count,), label_dtype, labels))
        _check_end(pixels, images)
        _check_end(answers, labels)


def _read_header(stream: IO[bytes], path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype. Raises BadSourceError where the file does not begin as IDX does."""
    magic = bytes(read_exactly(stream, 4, path))
    if magic[:2] != b"\0\0" or magic[2] not in _DTYPES or not magic[3]:
        raise BadSourceError(f"{path} is no IDX file: it begins with {magic.hex(' ')}, wanted as 00 00 08 03")
    shape = struct.unpack(f">{magic[3]}I", read_exactly(stream, 4 * magic[3], path))
    if 0 in shape:
        raise BadSourceError(f"{path} is of shape {shape}, and so empty")
    return shape, np.dtype(_DTYPES[magic[2]])


def _read_rows(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], path: Path) -> np.ndarray:
    content = read_exactly(stream, math.prod(shape) * dtype.itemsize, path)
    return np.frombuffer(content, dtype).reshape(shape)


def _check_end(stream: IO[bytes], path: Path) -> None:
    if read_some(stream, 1, path):
        raise BadSourceError(f"{path} holds more than its header says")


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _settle(rows: np.ndarray) -> Tensor:
    """Return rows as float32, uint8 or int64; images of one channel get the dimension of it."""
    wanted = np.float32 if rows.dtype.kind == "f" else rows.dtype if rows.dtype == np.uint8 else np.int64
    settled = torch.from_numpy(rows.astype(wanted))
    return settled[:, None] if settled.ndim == 3 else settled
