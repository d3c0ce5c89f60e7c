"""What the numbers of a data set are like, by channel, measured in one walk within the memory of a few blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from common.dataset import Metadata

_NUM_AT_ONCE = 2**20  # numbers, which are 8 MiB in float64
_MAX_CHANNELS = 16  # of images and sequences: more are a dimension like the others


@dataclass(frozen=True)
class Measures:
    """Each a tensor (channels,); rows count from 0, and are -1 where there is none."""

    num: Tensor  # finite numbers
    low: Tensor  # the smallest, inf without numbers
    low_row: Tensor
    high: Tensor  # the largest, -inf without numbers
    high_row: Tensor
    mean: Tensor  # of the finite ones, 0 without
    squares: Tensor  # sum of squared differences from the mean
    num_nan: Tensor
    num_infinite: Tensor
    strange_row: Tensor  # the first with a number that is not finite

    @property
    def std(self) -> Tensor:
        """The standard deviation of a sample (n - 1), by channel."""
        return (self.squares / (self.num - 1).clamp(min=1)).sqrt()

    @property
    def num_strange(self) -> Tensor:
        """How many numbers are not finite, by channel."""
        return self.num_nan + self.num_infinite


def find_channel_axis(metadata: Metadata) -> int | None:
    """Return the dimension of inputs, the samples being 0, that tells columns or channels apart; None without one.

    A column of a table; the channels of images, (channels, height, width); of sequences the shorter dimension. Tokens
    have none.
    """
    shape = metadata.input_shape
    if is_tokens(metadata) or not shape:
        return None
    if len(shape) == 1:
        return 1
    axis = 2 if len(shape) == 2 and shape[1] < shape[0] else 1
    return axis if shape[axis - 1] <= _MAX_CHANNELS else None


def is_tokens(metadata: Metadata) -> bool:
    """Say whether inputs are whole numbers that are no quantities."""
    return metadata.input_dtype.startswith("int")


def name_channels(metadata: Metadata) -> list[str]:
    """Return what to call each channel of the inputs."""
    axis = find_channel_axis(metadata)
    if axis is None:
        return ["inputs"]
    count = metadata.input_shape[axis - 1]
    if len(metadata.input_shape) == 1:
        names = metadata.input_names if len(metadata.input_names) == count else range(count)
        return [f"column '{name}'" if isinstance(name, str) else f"column {name}" for name in names]
    return [f"channel {place}" for place in range(count)]


def find_unit(metadata: Metadata) -> float:
    """Return what stored inputs are multiplied with before the model gets them."""
    return 1 / 255 if metadata.stored_dtype == "uint8" else 1.0


def iterate_blocks(rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield consecutive rows, and the place of the first, within 8 MiB of float64 where a row is not larger."""
    size = max(1, _NUM_AT_ONCE // max(1, rows[:1].numel()))
    for first in range(0, len(rows), size):
        yield first, rows[first : first + size]


def spread(rows: Tensor, axis: int | None) -> Tensor:
    """Return rows as (rows, channels, numbers of each), as float64."""
    values = rows.double()
    if axis is None or rows.ndim == 1:
        return values.reshape(len(rows), 1, -1 if rows[:1].numel() else 0)
    values = values.movedim(axis, 1)
    return values.reshape(len(rows), values.shape[1], -1 if values[:1].numel() else 0)


def measure(rows: Tensor, axis: int | None, unit: float = 1.0) -> Measures:
    """Return the measures of rows × `unit`, by the channels along `axis`."""
    num_channels = 1 if axis is None or rows.ndim == 1 else rows.shape[axis]
    blocks = (_measure_block(spread(block, axis) * unit, first) for first, block in iterate_blocks(rows))
    return reduce(merge, blocks, _measure_nothing(num_channels))


def merge(first: Measures, second: Measures) -> Measures:
    """Return the measures of both, the moments as Chan, Golub and LeVeque (1979) merge them."""
    num = first.num + second.num
    share, difference = second.num.double() / num.clamp(min=1), second.mean - first.mean
    is_lower, is_higher = second.low < first.low, second.high > first.high
    return Measures(
        num=num,
        low=torch.where(is_lower, second.low, first.low),
        low_row=torch.where(is_lower, second.low_row, first.low_row),
        high=torch.where(is_higher, second.high, first.high),
        high_row=torch.where(is_higher, second.high_row, first.high_row),
        mean=first.mean + difference * share,
        squares=first.squares + second.squares + difference.square() * first.num * share,
        num_nan=first.num_nan + second.num_nan,
        num_infinite=first.num_infinite + second.num_infinite,
        strange_row=torch.where(first.strange_row < 0, second.strange_row, first.strange_row),
    )


def _measure_nothing(num_channels: int) -> Measures:
    zeros, numbers = torch.zeros(num_channels, dtype=torch.int64), torch.zeros(num_channels, dtype=torch.float64)
    return Measures(
        num=zeros,
        low=numbers + torch.inf,
        low_row=zeros - 1,
        high=numbers - torch.inf,
        high_row=zeros - 1,
        mean=numbers,
        squares=numbers,
        num_nan=zeros,
        num_infinite=zeros,
        strange_row=zeros - 1,
    )


def _measure_block(values: Tensor, first: int) -> Measures:
    """Return the measures of values (rows, channels, numbers), the first row being number `first`."""
    if not values.numel():
        return _measure_nothing(values.shape[1])
    is_finite = values.isfinite()
    num = is_finite.sum((0, 2))
    low, low_row = values.where(is_finite, torch.inf).amin(2).min(0)
    high, high_row = values.where(is_finite, -torch.inf).amax(2).max(0)
    known = values.where(is_finite, 0)
    mean = known.sum((0, 2)) / num.clamp(min=1)
    differences = (known - mean[:, None]).where(is_finite, 0)
    is_strange = ~is_finite.all(2)
    strange_row = torch.where(is_strange.any(0), is_strange.int().argmax(0) + first, -1)
    num_nan = values.isnan().sum((0, 2))
    return Measures(
        num=num,
        low=low,
        low_row=low_row + first,
        high=high,
        high_row=high_row + first,
        mean=mean,
        squares=differences.square().sum((0, 2)),
        num_nan=num_nan,
        num_infinite=(~is_finite).sum((0, 2)) - num_nan,
        strange_row=strange_row,
    )
