"""The means of an epoch: what each step said, weighted by its samples, and whether all of it is a number.

Values stay on the device until they are asked for, so that a GPU is not waited for at every step.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from common.parallel import gather

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
        """Take the values that are still on the device. Raises ValueError where one is no single number."""
        waiting, self._waiting = self._waiting, []
        num_before = len(self.sizes) - len(waiting)
        for name in dict.fromkeys(name for values in waiting for name in values):
            present = torch.stack([torch.as_tensor(values[name]) for values in waiting if name in values])
            if present.ndim > 1:
                raise ValueError(f"'{name}' of a batch is to be one number, not {tuple(present.shape[1:])} of them")
            fetched = iter(present.tolist())
            column = self.columns.setdefault(name, [])
            column += [None] * (num_before - len(column))
            column += [next(fetched) if name in values else None for values in waiting]

    def find_strange(self) -> tuple[int, str, float] | None:
        """Return (step, name, value) of the first loss that is no finite number, among those that are new."""
        found = [
            (step, name, value)
            for name, column in self.columns.items()
            for step, value in enumerate(column[self._num_checked :], self._num_checked)
            if is_loss(name) and value is not None and not math.isfinite(value)
        ]
        self._num_checked = len(self.sizes) - len(self._waiting)
        return min(found, default=None)

    def latest(self) -> dict[str, float]:
        """Return the last value of each name that was fetched."""
        return {name: next(v for v in reversed(column) if v is not None) for name, column in self.columns.items()}

    def means(self) -> dict[str, float]:
        """Return the mean of each value over the samples of the steps that had it, those of all processes."""
        self.fetch()
        found = gather({name: _sum(column, self.sizes) for name, column in self.columns.items()})
        means = {}
        for name in dict.fromkeys(name for sums in found for name in sums):
            totals, counts = zip(*(sums[name] for sums in found if name in sums), strict=True)
            means[name] = _add(totals) / sum(counts)
        return means

    def state_dict(self) -> dict[str, Any]:
        """Return all of it."""
        self.fetch()
        return {"sizes": list(self.sizes), "columns": {name: list(column) for name, column in self.columns.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back."""
        self._waiting, self.sizes, self.columns = [], state["sizes"], state["columns"]

    def take_over(self, states: list[dict[str, Any]], *, is_first: bool) -> None:
        """Take back the states of another number of processes: the first process has all of it, the others nothing."""
        sizes = [sum(shares) for shares in zip(*(state["sizes"] for state in states), strict=True)]
        self.load_state_dict({"sizes": sizes if is_first else [0] * len(sizes), "columns": {}})
        if is_first:
            names = dict.fromkeys(name for state in states for name in state["columns"])
            self.columns = {name: [_join(shares) for shares in _list_shares(name, states)] for name in names}


def is_loss(name: str) -> bool:
    """Say whether a value that is no finite number ends the training."""
    return name == "loss" or name.endswith("_loss")


def _sum(column: list[float | None], sizes: list[int]) -> tuple[float, float]:
    """Return the sum over samples, and their number."""
    pairs = [(value, size) for value, size in zip(column, sizes, strict=False) if value is not None]
    return _add([value * size for value, size in pairs]), sum(size for _, size in pairs)


def _add(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) if all(map(math.isfinite, numbers)) else sum(numbers)


def _list_shares(name: str, states: list[dict[str, Any]]) -> Iterator[tuple[tuple[float | None, int], ...]]:
    """Yield for each step the value and the samples of each process that knows the name."""
    columns = [(state["columns"][name], state["sizes"]) for state in states if name in state["columns"]]
    return zip(*(zip_longest(*column) for column in columns), strict=True)


def _join(shares: tuple[tuple[float | None, int], ...]) -> float | None:
    """Return the mean over all samples of a step, None where no process had the value."""
    total, count = _sum([value for value, _ in shares], [size for _, size in shares])
    return total / count if count else None
