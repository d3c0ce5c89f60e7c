"""Mean and standard deviation of more numbers than memory holds."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_NUM_AT_ONCE = 2**16  # numbers that are looked at together: what fits the processor's cache
_MAX_PLACES = (2**31 - 1) // 255**2  # bytes whose squares have a sum of 32 bits


class Moments:
    """The moments of rows that are added part by part, by channel: that is dimension 1, where there is one."""

    def __init__(self) -> None:
        self._num = 0  # numbers of each channel
        self._mean: Tensor = torch.zeros(1, dtype=torch.float64)
        self._squares: Tensor = torch.zeros(1, dtype=torch.float64)  # sum of squared differences from the mean

    def add(self, rows: Tensor) -> None:
        """Add rows (rows, channels, …), as Chan, Golub and LeVeque (1979) merge the moments of two parts."""
        values = rows.reshape(len(rows), *(rows.shape[1:2] or (1,)), math.prod(rows.shape[2:]))
        parts = [values] if rows.dtype == torch.uint8 else _split(values)
        for part in parts:
            if part.numel():
                self._merge(len(part) * part.shape[2], *_sum(part))

    def _merge(self, num: int, mean: Tensor, squares: Tensor) -> None:
        """Take in so many numbers of each channel."""
        total, difference = self._num + num, mean - self._mean
        self._mean = self._mean + difference * (num / total)
        self._squares = self._squares + squares + difference.square() * (self._num * num / total)
        self._num = total

    def state_dict(self) -> dict[str, Any]:
        """Return all of it, as JSON has it to the last bit."""
        return {"num": self._num, "mean": self._mean.tolist(), "squares": self._squares.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a state back."""
        self._num = state["num"]
        self._mean, self._squares = (torch.tensor(state[name], dtype=torch.float64) for name in ("mean", "squares"))

    def by_channel(self) -> dict[str, Tensor]:
        """Return mean and std of each channel, (channels,) float64; the std is that of a sample (n - 1)."""
        return {"mean": self._mean, "std": (self._squares / max(1, self._num - 1)).sqrt()}

    def total(self, unit: float = 1) -> dict[str, float]:
        """Return mean and std of all numbers times `unit`; empty where there are none.

        With nine digits: the last bits depend on the machine, and equal data is to have equal bytes.
        """
        num = self._num * len(self._mean)
        if not num:
            return {}
        mean = self._mean.mean()
        squares = self._squares.sum() + self._num * (self._mean - mean).square().sum()
        std = (squares / max(1, num - 1)).sqrt()
        return {name: float(f"{value.item() * unit:.9g}") for name, value in {"mean": mean, "std": std}.items()}


def _sum(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return of (rows, channels, places) the mean of each channel, and the sum of squared differences from it."""
    if values.dtype == torch.uint8:
        return _sum_bytes(values)
    values = values.double()
    mean = values.mean(dim=(0, 2))
    return mean, values.sub(mean[:, None]).square_().sum(dim=(0, 2))


def _sum_bytes(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same of bytes, whose sums are exact, and faster, as whole numbers."""
    dtype = torch.int32 if values.shape[2] <= _MAX_PLACES else torch.int64
    total, squares = torch.zeros(2, values.shape[1], dtype=torch.int64)
    for block in _split(values):
        numbers = block.int()
        total += numbers.sum(dim=2, dtype=dtype).sum(dim=0)
        squares += numbers.mul_(numbers).sum(dim=2, dtype=dtype).sum(dim=0)
    mean = total.double() / (len(values) * values.shape[2])
    return mean, squares - total * mean


def _split(values: Tensor) -> tuple[Tensor, ...]:
    return torch.split(values, max(1, _NUM_AT_ONCE // max(1, values[:1].numel())))
