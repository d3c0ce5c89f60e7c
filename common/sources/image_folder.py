"""Folders of images: one folder a class, below train, valid and test or not; or a table of labels; or masks."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from common.config import DataPath, NonNegativeInt, PositiveInt
from common.dataset import hash_file
from common.image_files import decode_images, decode_masks
from common.labelled_files import list_files, list_labelled_files, open_inside
from common.samples import BadSourceError, Samples, Source
from common.sources.table import Table

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_NUM_IMAGES = 256  # that are decoded together

Part = list[tuple[str, str, str]]  # path in the folder, label, split or nothing


@dataclass(frozen=True)
class ImageFolder(Source):
    """Images become (channels, height, width) uint8, which reach the model as numbers from 0 to 1."""

    path: DataPath
    colours: Literal["rgb", "grey"] = "rgb"
    size: PositiveInt | None = None  # height and width in pixels; None: all images have the same already
    labels: DataPath | None = None  # a table instead of folders
    file: str = "file"  # its column of paths below `path`
    label: str = "label"  # its column of labels
    masks: DataPath | None = None  # instead of both: a folder with a .png of the same path for each image
    classes: tuple[str, ...] = ()  # what the numbers in masks stand for, from 0
    ignored: NonNegativeInt = 255  # the number of pixels that have no class

    decodes = True

    @property
    def name(self) -> str:
        """The name of the folder."""
        return Path(self.path).name

    def parts(self) -> Iterator[Part]:
        """Yield paths, labels and splits of some images, in alphabetical order. Raises BadSourceError without any."""
        images = self._images
        if not images:
            raise BadSourceError(f"'{self.path}' has no images: wanted {self.path}/CLASS/IMAGE.png or the like")
        for start in range(0, len(images), _NUM_IMAGES):
            yield images[start : start + _NUM_IMAGES]

    def count(self) -> int:
        """Return the number of images."""
        return len(self._images)

    @cached_property
    def _images(self) -> Part:
        return list(self._list_images())

    def load(self, part: Part) -> Samples:
        """Return some images, decoded. Raises BadSourceError, naming the file, where one cannot be."""
        contents = [_read(self.path, name) for name, _, _ in part]
        paths = [str(Path(name).with_suffix(".png")) for name, _, _ in part] if self.masks else []
        masks = [_read(str(self.masks), path) for path in paths] or [b""] * len(part)
        inputs = decode_images(zip((name for name, _, _ in part), contents, strict=True), self.colours, self.size)
        return Samples(
            inputs=inputs,
            targets=self._decode_masks(paths, masks, inputs) if self.masks else [label for _, label, _ in part],
            classes=self.classes,
            ids=[name for name, _, _ in part],
            splits=[split for _, _, split in part] if part[0][2] else None,
            digests=[hashlib.sha256(content + mask).hexdigest() for content, mask in zip(contents, masks, strict=True)],
        )

    def _list_images(self) -> Iterator[tuple[str, str, str]]:
        if self.masks is None:
            yield from self._list_named() if self.labels else list_labelled_files(self.path, _ENDINGS)
            return
        if not self.classes:
            raise BadSourceError("data.source.masks needs data.source.classes: what the numbers in masks stand for")
        yield from ((name, "", split) for name, split in list_files(self.path, _ENDINGS))

    def _list_named(self) -> Iterator[tuple[str, str, str]]:
        table = Table(str(self.labels), target=self.label, task="classification", inputs=(self.file,), id=self.file)
        for part in table.parts():
            samples = table.load(part)
            yield from ((name, label, "") for name, label in zip(samples.ids, samples.targets, strict=True))

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Return the sha256 of the table of labels; each image and mask has its own."""
        return ({"name": self.labels, "sha256": hash_file(Path(self.labels))},) if self.labels else ()

    def _decode_masks(self, paths: list[str], masks: list[bytes], images: Tensor) -> Tensor:
        """Return (samples, height, width) int64, of the size of the images."""
        files, size = zip(paths, masks, strict=True), (images.shape[2], images.shape[3])
        return decode_masks(files, size, len(self.classes), self.ignored, bool(self.size))


def _read(root: str, name: str) -> bytes:
    with open_inside(root, name) as stream:
        return stream.read()
