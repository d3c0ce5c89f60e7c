"""Folders of images: one folder a class, below train, valid and test or not; or a table of labels; or masks."""

import hashlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common.config import DataPath, NonNegativeInt, PositiveInt
from common.dataset import NO_CLASS
from common.labelled_files import list_files, list_labelled_files, open_inside
from common.samples import BadSourceError, Samples, Source
from common.sources.table import Table

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_NUM_IMAGES = 256  # that are decoded together
_UNREADABLE = (OSError, SyntaxError, ValueError, Warning, Image.DecompressionBombError)
_MODES = {"rgb": "RGB", "grey": "L"}

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
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a file that is truncated, or has far too many pixels
            images = [self._decode(name, content) for (name, _, _), content in zip(part, contents, strict=True)]
            targets = self._read_masks(part, images) if self.masks else [label for _, label, _ in part]
        shapes = {image.shape for image in images}
        if len(shapes) > 1:
            odd = next(place for place, image in enumerate(images) if image.shape != images[0].shape)
            sizes = [f"'{part[place][0]}' is {images[place].shape[0]} × {images[place].shape[1]}" for place in (0, odd)]
            raise BadSourceError(f"images differ: {sizes[0]} and {sizes[1]}; data.source.size resizes them")
        return Samples(
            inputs=_stack(images),
            targets=targets,
            classes=self.classes,
            ids=[name for name, _, _ in part],
            splits=[split for _, _, split in part] if part[0][2] else None,
            digests=[hashlib.sha256(content).hexdigest() for content in contents],
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

    def _read_masks(self, part: Part, images: Sequence[np.ndarray]) -> Tensor:
        """Return (samples, height, width) int64, of the sizes of the images."""
        masks = []
        for (name, _, _), image in zip(part, images, strict=True):
            path = str(Path(name).with_suffix(".png"))
            mask = self._decode_mask(path, _read(str(self.masks), path))
            if mask.shape != image.shape[:2]:
                sizes = [" × ".join(map(str, array.shape[:2])) for array in (mask, image)]
                raise BadSourceError(f"the mask '{path}' is {sizes[0]}, and its image {sizes[1]}")
            if (odd := mask[(mask >= len(self.classes)) & (mask != self.ignored)]).size:
                raise BadSourceError(
                    f"the mask '{path}' has the number {odd[0]}, and there are {len(self.classes)} classes"
                )
            masks.append(np.where(mask == self.ignored, NO_CLASS, mask))
        return torch.from_numpy(np.stack(masks))

    def _decode_mask(self, name: str, content: bytes) -> np.ndarray:
        """Return (height, width) int64: the numbers of a greyscale image, or those of a palette."""
        try:
            with Image.open(io.BytesIO(content)) as image:
                size = (self.size, self.size) if self.size else image.size
                picture = image if image.size == size else image.resize(size, Image.Resampling.NEAREST)
                numbers = np.asarray(picture)
        except _UNREADABLE as error:
            raise BadSourceError(f"'{name}' is no image that can be read: {error}") from error
        if numbers.ndim != 2:
            raise BadSourceError(f"the mask '{name}' has {numbers.shape[2]} channels, wanted one number a pixel")
        return numbers.astype(np.int64)

    def _decode(self, name: str, content: bytes) -> np.ndarray:
        """Return (height, width, channels) or (height, width)."""
        try:
            with Image.open(io.BytesIO(content)) as image:
                picture = image if image.mode == _MODES[self.colours] else image.convert(_MODES[self.colours])
                if self.size and picture.size != (self.size, self.size):
                    picture = picture.resize((self.size, self.size), Image.Resampling.BILINEAR)
                return np.asarray(picture)
        except _UNREADABLE as error:
            raise BadSourceError(f"'{name}' is no image that can be read: {error}") from error


def _read(root: str, name: str) -> bytes:
    with open_inside(root, name) as stream:
        return stream.read()


def _stack(images: Sequence[np.ndarray]) -> Tensor:
    """Return (samples, channels, height, width)."""
    stacked = torch.from_numpy(np.stack(images))
    return stacked[:, None] if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2).contiguous()
