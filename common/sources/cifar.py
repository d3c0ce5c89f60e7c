"""CIFAR-10 and CIFAR-100, in their binary version: a folder of .bin files, and of names of the classes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from common.config import DataPath
from common.dataset import hash_file
from common.samples import BadSourceError, Samples, Source

_SHAPE = (3, 32, 32)
_NUM_PIXELS = 3 * 32 * 32
_NUM_IMAGES = 4096  # that are read together


class _Layout(NamedTuple):
    """What the folder of one of the two data sets holds."""

    train: str  # pattern of file names
    test: str
    names: Mapping[str, str]  # file of the classes' names, by kind of label
    places: Mapping[str, int]  # byte of an image's record that holds the label, by kind
    num_labels: int  # bytes before the pixels


_LAYOUTS = (
    _Layout("data_batch_*.bin", "test_batch.bin", {"fine": "batches.meta.txt"}, {"fine": 0}, 1),
    _Layout(
        *("train.bin", "test.bin"),
        names={"fine": "fine_label_names.txt", "coarse": "coarse_label_names.txt"},
        places={"coarse": 0, "fine": 1},
        num_labels=2,
    ),
)


@dataclass(frozen=True)
class Cifar(Source):
    """Images (3, 32, 32) uint8; their ids are file and place in it, as test_batch/0."""

    path: DataPath
    labels: Literal["fine", "coarse"] = "fine"  # CIFAR-100 has both

    @property
    def name(self) -> str:
        """The name of the folder."""
        return Path(self.path).name

    def parts(self) -> Iterator[tuple[str, Path, int, int]]:
        """Yield split, file, first image and number of images. Raises BadSourceError where a file is not whole."""
        layout = self._find_layout()
        size = layout.num_labels + _NUM_PIXELS
        for split, path in self._list_files(layout):
            num_bytes = path.stat().st_size
            if not num_bytes or num_bytes % size:
                raise BadSourceError(f"{path} has {num_bytes} bytes, wanted {size} for each image")
            for first in range(0, num_bytes // size, _NUM_IMAGES):
                yield split, path, first, min(_NUM_IMAGES, num_bytes // size - first)

    def count(self) -> int:
        """Return the number of images."""
        return sum(num for _, _, _, num in self.parts())

    def load(self, part: tuple[str, Path, int, int]) -> Samples:
        """Return some images. Raises BadSourceError for a label that is none of the classes."""
        split, path, first, num = part
        layout = self._find_layout()
        classes = self._read_classes(layout)
        size = layout.num_labels + _NUM_PIXELS
        records = np.fromfile(path, np.uint8, num * size, offset=first * size).reshape(num, size)
        labels = records[:, layout.places[self.labels]].astype(np.int64)
        if labels.max() >= len(classes):
            odd = int(labels.argmax())
            found = f"image {first + odd} (from 0) has the label {labels[odd]}"
            raise BadSourceError(f"{path}: {found}, and there are {len(classes)} classes")
        return Samples(
            inputs=torch.from_numpy(records[:, layout.num_labels :].reshape(num, *_SHAPE)),
            targets=torch.from_numpy(labels),
            ids=[f"{path.stem}/{place}" for place in range(first, first + num)],
            classes=classes,
            splits=[split] * num,
        )

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Return the sha256 of each file of images, and of the names of classes."""
        layout = self._find_layout()
        paths = [*(path for _, path in self._list_files(layout)), Path(self.path) / layout.names[self.labels]]
        return tuple({"name": str(path), "sha256": hash_file(path)} for path in paths)

    def _find_layout(self) -> _Layout:
        for layout in _LAYOUTS:
            if any(Path(self.path).glob(layout.train)):
                if self.labels not in layout.names:
                    raise BadSourceError(f"'{self.path}' is CIFAR-10, and has no coarse labels")
                return layout
        wanted = " or ".join(layout.train for layout in _LAYOUTS)
        raise BadSourceError(f"'{self.path}' is no folder of CIFAR's binary version: wanted {wanted} in it")

    def _list_files(self, layout: _Layout) -> Iterator[tuple[str, Path]]:
        test = Path(self.path) / layout.test
        if not test.is_file():
            raise BadSourceError(f"'{self.path}' has no '{layout.test}'")
        yield from (("train", path) for path in sorted(Path(self.path).glob(layout.train)))
        yield "test", test

    def _read_classes(self, layout: _Layout) -> tuple[str, ...]:
        path = Path(self.path) / layout.names[self.labels]
        try:
            classes = tuple(path.read_text(encoding="utf-8").split())
        except (OSError, UnicodeDecodeError) as error:
            raise BadSourceError(f"{path} has to name the classes, and cannot be read: {error}") from error
        if not classes or len(set(classes)) < len(classes):
            raise BadSourceError(f"{path} has {len(classes)} names of classes, {len(set(classes))} of them different")
        return classes
