"""Images in the bytes of a file, as arrays of one size."""

import io
import re
import warnings
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common.dataset import NO_CLASS
from common.samples import BadSourceError

_UNREADABLE = (OSError, SyntaxError, ValueError, Warning, Image.DecompressionBombError)
_NARROW = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")
_MODES = {"rgb": "RGB", "grey": "L"}


def decode_images(files: Iterable[tuple[str, bytes]], colours: str, size: int | None) -> Tensor:
    """Return (samples, channels, height, width) uint8 of images given by name and content.

    `colours` are rgb or grey; with `size`, that is height and width. Raises BadSourceError, naming the image, where one
    cannot be decoded, or is of another size than the first.
    """
    names, sizes, pixels = [], [], []
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a file that is truncated, or has far too many pixels
        warnings.filterwarnings("ignore", "Palette images with Transparency")
        for name, content in files:
            names.append(name)
            found, numbers = _decode(name, content, colours, size)
            sizes.append(found)
            pixels.append(numbers)
    odd = next((place for place, found in enumerate(sizes) if found != sizes[0]), None)
    if odd is not None:
        both = [f"'{names[place]}' is {sizes[place][1]} × {sizes[place][0]}" for place in (0, odd)]
        raise BadSourceError(f"images differ: {both[0]} and {both[1]}; data.source.size resizes them")
    width, height = sizes[0]
    stacked = torch.frombuffer(bytearray().join(pixels), dtype=torch.uint8).view(len(sizes), height, width, -1)
    return stacked.permute(0, 3, 1, 2).contiguous()


def decode_masks(
    files: Iterable[tuple[str, bytes]], size: tuple[int, int], num_classes: int, ignored: int, resize: bool
) -> Tensor:
    """Return (samples, height, width) int64 of images of class numbers; `size` is (height, width).

    The number `ignored` becomes NO_CLASS. Raises BadSourceError, naming the mask, where one cannot be decoded, is of
    another size and not to be resized, or has a number that is none of the classes.
    """
    masks = []
    for name, content in files:
        mask = _decode_mask(name, content, size if resize else None)
        if mask.shape != size:
            sizes = [" × ".join(map(str, shape)) for shape in (mask.shape, size)]
            raise BadSourceError(f"the mask '{name}' is {sizes[0]}, and its image {sizes[1]}")
        if (odd := mask[(mask >= num_classes) & (mask != ignored)]).size:
            raise BadSourceError(f"the mask '{name}' has the number {odd[0]}, and there are {num_classes} classes")
        masks.append(np.where(mask == ignored, NO_CLASS, mask))
    return torch.from_numpy(np.stack(masks))


def _decode_mask(name: str, content: bytes, size: tuple[int, int] | None) -> np.ndarray:
    """Return (height, width) int64: the numbers of a greyscale image, or those of a palette."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            numbers = np.asarray(image.resize(size[::-1], Image.Resampling.NEAREST) if size else image)
    except _UNREADABLE as error:
        raise BadSourceError(f"'{name}' is no image that can be read: {_explain(error)}") from error
    if numbers.ndim != 2:
        raise BadSourceError(f"the mask '{name}' has {numbers.shape[2]} channels, wanted one number a pixel")
    return numbers.astype(np.int64)


def _decode(name: str, content: bytes, colours: str, size: int | None) -> tuple[tuple[int, int], bytes]:
    """Return width and height, and the numbers, (height, width, channels): as bytes, sooner than as an array."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in _NARROW:
                raise BadSourceError(f"'{name}' has more than 8 bits a channel ({image.mode}): as arrays it keeps them")
            picture = image if image.mode == _MODES[colours] else image.convert(_MODES[colours])
            if size and picture.size != (size, size):
                picture = picture.resize((size, size), Image.Resampling.BILINEAR)
            return picture.size, picture.tobytes()
    except BadSourceError:
        raise
    except _UNREADABLE as error:
        raise BadSourceError(f"'{name}' is no image that can be read: {_explain(error)}") from error


def _explain(error: Exception) -> str:
    """Return what Pillow says, without the address of what it was given."""
    return re.sub(r" <_io\.BytesIO object at \w+>", "", str(error))
