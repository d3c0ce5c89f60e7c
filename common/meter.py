"""The means of an epoch: what each step said, weighted by its samples, and whether all of it is a number.

Values stay on the device until they are asked for, so that a GPU is not waited for at every step.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from common.parallel import add_up

Values = Mapping[str, Tensor]  # what a step returns: named scalars, means over its batch

_MAX_WAITING = 256  # steps: then the values are fetched, in one copy


class Meter:
    """Collects the values of steps. Its results do not depend on when it was asked for them."""

    def __init__(self) -> None:
        self._waiting: list[Values] = []
        self._num_checked = 0
        self.sizes: list[int] = []  # samples of each step
        self.columns: dict[str, list[float | None]] = {}  # name → its value at each step; None where a step had none

    def add(self, values: Values, size: int) -> None:
        """Add the values of one step over `size` samples."""
        self._waiting.append(values)
        self.sizes.append(size)
        if len(self._waiting) >= _MAX_WAITING:
            self.fetch()

    def fetch(self) -> None:
        """Take the values that are still on the device."""
        waiting, self._waiting = self._waiting, []
        num_before = len(self.sizes) - len(waiting)
        for name in dict.fromkeys(name for values in waiting for name in values):
            present = torch.stack([values[name] for values in waiting if name in values]).tolist()
            fetched = iter(present)
            column = self.columns.setdefault(name, [])
            column += [None] * (num_before - len(column))
            column += [next(fetched) if name in values else None for values in waiting]

    def find_strange(self) -> tuple[int, str, float] | None:
        """Return (step, name, value) of the first value that is no finite number, among those that are new."""
        found = [
            (step, name, value)
            for name, column in self.columns.items()
            for step, value in enumerate(column[self._num_checked :], self._num_checked)
            if value is not None and not math.isfinite(value)
        ]
        self._num_checked = len(self.sizes) - len(self._waiting)
        return min(found, default=None)

    def latest(self) -> dict[str, float]:
        """Return the last value of each name that was fetched."""
        return {name: next(v for v in reversed(column) if v is not None) for name, column in self.columns.items()}

    def means(self) -> dict[str, float]:
        """Return the mean of each value over the samples of the steps that had it, those of all processes."""
        self.fetch()
        sums = [number for column in self.columns.values() for number in _sum(column, self.sizes)]
        totals = iter(add_up(sums))
        return {name: next(totals) / next(totals) for name in self.columns}

    def state_dict(self) -> dict[str, Any]:
        """Return all of it."""
        self.fetch()
        return {"sizes": list(self.sizes), "columns": {name: list(column) for name, column in self.columns.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back."""
        self._waiting, self.sizes, self.columns = [], state["sizes"], state["columns"]


def _sum(column: list[float | None], sizes: list[int]) -> tuple[float, float]:
    """Return the sum over samples, and their number."""
    pairs = [(value, size) for value, size in zip(column, sizes, strict=False) if value is not None]
    products = [value * size for value, size in pairs]
    total = math.fsum(products) if all(map(math.isfinite, products)) else sum(products)
    return total, sum(size for _, size in pairs)
