"""Mean and standard deviation of more numbers than memory holds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NUM_AT_ONCE = 2**16  # numbers that are looked at together: what fits the processor's cache


class Moments:
    """The moments of rows that are added part by part, by channel: that is dimension 1, where there is one."""

    def __init__(self) -> None:
        self._num = 0  # numbers of each channel
        self._mean: Tensor = torch.zeros(1, dtype=torch.float64)
        self._squares: Tensor = torch.zeros(1, dtype=torch.float64)  # sum of squared differences from the mean

    def add(self, rows: Tensor) -> None:
        """Add rows (rows, channels, …), as Chan, Golub and LeVeque (1979) merge the moments of two parts."""
        for block in torch.split(rows, max(1, _NUM_AT_ONCE // max(1, rows[:1].numel()))):
            values = block.movedim(1, 0).flatten(1) if block.ndim > 1 else block.flatten()[None]
            if values.numel():
                self._merge(values.shape[1], *(_sum_bytes(values) if values.dtype == torch.uint8 else _sum(values)))

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
    """Return the mean of each row, and the sum of squared differences from it."""
    values = values.double()
    mean = values.mean(dim=1)
    return mean, (values - mean[:, None]).square_().sum(dim=1)


def _sum_bytes(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same of bytes, whose sums are exact, and faster, as whole numbers."""
    numbers = values.numpy().astype(np.uint16)
    total = torch.from_numpy(numbers.sum(axis=1, dtype=np.int64)).double()
    numbers *= numbers
    squares = torch.from_numpy(numbers.sum(axis=1, dtype=np.int64)).double()
    return total / values.shape[1], squares - total.square() / values.shape[1]
