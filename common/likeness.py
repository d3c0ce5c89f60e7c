"""Which samples look alike, though their inputs are not the same: a hash that small changes leave as it is."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.hashing import hash_names

_NO_LIKENESS = 0  # of images without contours, and of texts without words
_NUM_BITS = 64
_MIN_SIZE = 16  # of images, in pixels: smaller ones are alike by chance
_MAX_BITS = 3  # that differ between what is alike
_NUM_NEIGHBOURS = 3
_WORD = re.compile(r"\w+")


def find_likenesses(inputs: Any) -> Tensor | None:
    """Return (samples,) int64, equal where images or texts are alike, 0 where that cannot be told.

    None for other inputs: all parts of a source have the same kind.
    """
    if isinstance(inputs, Tensor):
        return _hash_contours(inputs) if _are_images(inputs) else None
    return _hash_words(inputs)


def _are_images(inputs: Tensor) -> bool:
    has_size = inputs.ndim == 4 and inputs.shape[1] <= 4 and min(inputs.shape[2:]) >= _MIN_SIZE
    return has_size and (inputs.is_floating_point() or inputs.dtype == torch.uint8)


def _hash_contours(images: Tensor) -> Tensor:
    """Return the difference hash (Krawetz 2013): whether each of 8 × 8 places is brighter than the one to its left."""
    grey = torch.from_numpy(images.numpy().sum(axis=1, dtype=np.float32))  # a third of the time that torch takes
    small = _average(grey.shape[1], 8).T @ grey @ _average(grey.shape[2], 9)
    bits = (small.diff(dim=2) > 0).flatten(1).long()
    return (bits << torch.arange(_NUM_BITS)).sum(dim=1)


def _average(size: int, num: int) -> Tensor:
    """Return (size, num), by which so many pixels become the means of as many intervals."""
    return functional.adaptive_avg_pool1d(torch.eye(size), num)


def _hash_words(texts: Sequence[Any]) -> Tensor:
    """Return what stands for the words of each text, without case and punctuation."""
    words = [" ".join(_WORD.findall(text.lower())) if isinstance(text, str) else "" for text in texts]
    return hash_names(words).where(torch.tensor([bool(text) for text in words], dtype=torch.bool), _NO_LIKENESS)


def find_alike(likenesses: Tensor, groups: Tensor, prints: Tensor) -> Tensor:
    """Return (pairs, 2) rows of different groups that are alike, by likenesses, and differ, by prints; all (rows,).

    Up to three bits may differ. Rows are compared with some neighbours in the order of their likenesses, rotated to
    begin with each quarter in turn (Manku, Jain and Das Sarma 2007): one of the quarters is the same.
    """
    rows = (likenesses != _NO_LIKENESS).nonzero().flatten()
    pairs = torch.zeros(0, 2, dtype=torch.int64)
    for turn in range(0, _NUM_BITS, _NUM_BITS // 4):
        order = rows[_rotate(likenesses[rows], turn).argsort(stable=True)]
        for distance in range(1, _NUM_NEIGHBOURS + 1):
            first, second = order[:-distance], order[distance:]
            alike = _count_bits(likenesses[first] ^ likenesses[second]) <= _MAX_BITS
            found = alike & (groups[first] != groups[second]) & (prints[first] != prints[second])
            pairs = torch.cat([pairs, torch.stack([first[found], second[found]], dim=1).sort(dim=1).values])
    unique: Tensor = torch.unique(pairs, dim=0)
    return unique


def _rotate(values: Tensor, num: int) -> Tensor:
    """Return 64 bits with the first `num` of them last."""
    bits = values.numpy().view(np.uint64)
    rotated = bits << np.uint64(num) | bits >> np.uint64(_NUM_BITS - num) if num else bits
    return torch.from_numpy(rotated.view(np.int64))


def _count_bits(values: Tensor) -> Tensor:
    return torch.from_numpy(np.bitwise_count(values.numpy().view(np.uint64)))
