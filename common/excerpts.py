"""Evenly spaced parts of a data set that is too large to look at whole."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.dataset import Batch, Dataset
from common.measures import find_channel_axis, find_unit, spread

_MAX_ROWS = 2**14  # train samples that distributions are estimated from, evenly spaced
_MAX_NUMBERS = 2**22  # of all channels together
_NUM_OF_A_SAMPLE = 64  # of a channel, evenly spaced
_EXCERPT_BYTES = 2**24  # of samples that are in memory while they are taken


def take_numbers(dataset: Dataset, field: str) -> tuple[Any, int]:
    """Return (channels, numbers) of evenly spaced train samples, and of how many samples."""
    rows = dataset.train.tensors[Batch._fields.index(field)]
    is_input = field == "inputs"
    axis = find_channel_axis(dataset.metadata) if is_input else (1 if rows.ndim == 2 else None)
    if not len(rows):
        return np.empty((0, 0)), 0
    _, num_channels, num_numbers = spread(rows[:1], axis).shape
    if not num_channels * num_numbers:
        return np.empty((0, 0)), 0
    kept = space_evenly(num_numbers, _NUM_OF_A_SAMPLE)
    chosen = space_evenly(len(rows), min(_MAX_ROWS, max(1, _MAX_NUMBERS // (num_channels * len(kept)))))
    at_once = max(1, _EXCERPT_BYTES // (8 * num_channels * num_numbers))
    parts = [spread(rows[part], axis)[:, :, kept] for part in torch.split(chosen, at_once)]
    numbers = torch.cat(parts).movedim(1, 0).flatten(1)
    return (numbers * (find_unit(dataset.metadata) if is_input else 1)).numpy(), len(chosen)


def space_evenly(num: int, most: int) -> Tensor:
    """Return up to `most` places among `num`, the first and the last with them.

    >>> space_evenly(10, 4).tolist(), space_evenly(3, 4).tolist()
    ([0, 3, 6, 9], [0, 1, 2])
    """
    if num <= most:
        return torch.arange(num)
    return torch.arange(most) * (num - 1) // max(1, most - 1)
