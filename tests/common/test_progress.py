"""Where a training is, and which epoch is its best."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from common.progress import Progress
from common.stateful import Kept


def _compare(values: list[float], mode: Any = "max") -> tuple[Progress, list[int]]:
    """Compare epochs whose weight is their number; return the progress, and how many were stale after each."""
    progress, layer, stale = Progress(), nn.Linear(1, 1, bias=False), []
    for epoch, value in enumerate(values):
        nn.init.constant_(layer.weight, epoch)
        progress.compare(value, mode, layer)
        stale.append(progress.num_stale)
    return progress, stale


@pytest.mark.parametrize(
    ("values", "mode", "best", "kept", "stale"),
    [
        ([0.2, 0.9, 0.5], "max", 0.9, 1, [0, 0, 1]),
        ([0.2, 0.9, 0.5], "min", 0.2, 0, [0, 1, 2]),
        ([0.5, 0.5, 0.4, 0.5], "max", 0.5, 3, [0, 1, 2, 3]),  # as good is not better
        ([0.5, 0.5 + 1e-8, 0.5 - 1e-8], "max", 0.5 - 1e-8, 2, [0, 1, 2]),  # nor is what rounding makes of it
        ([0.5, 0.5 + 1e-5], "max", 0.5 + 1e-5, 1, [0, 0]),
        ([math.nan, 0.1, math.nan], "max", 0.1, 1, [1, 0, 1]),
        ([-math.inf, math.inf], "max", math.inf, 1, [0, 0]),
    ],
)
def test_best_epoch_is_kept_and_of_equals_the_last(
    values: list[float], mode: str, best: float, kept: int, stale: list[int]
) -> None:
    progress, counted = _compare(values, mode)
    assert progress.best == best
    assert progress.best_weights is not None
    assert progress.best_weights["weight"].item() == kept
    assert counted == stale


def test_best_weights_are_kept_without_a_copy_when_training_is_resumed() -> None:
    progress, _ = _compare([0.5])
    state = progress.state_dict()
    resumed = Progress()
    resumed.load_state_dict({**state, "best_weights": dict(state["best_weights"])})  # as a file has it
    assert isinstance(resumed.best_weights, Kept)


def test_nothing_is_best_when_no_epoch_has_a_number() -> None:
    progress, stale = _compare([math.nan, math.nan])
    assert (progress.best, progress.best_weights, stale) == (None, None, [1, 2])


def test_best_weights_may_hold_more_than_tensors() -> None:
    class Layer(nn.Linear):
        def get_extra_state(self) -> list[int]:
            return memory

        def set_extra_state(self, state: Any) -> None: ...

    memory, progress = [1], Progress()
    progress.compare(0.5, "max", Layer(1, 1))
    memory.append(2)
    assert progress.best_weights is not None
    assert progress.best_weights["_extra_state"] == [1]


def test_epoch_ends_with_a_row_and_a_fresh_meter() -> None:
    progress = Progress(batch=7, step=7)
    progress.meter.add({"loss": torch.tensor(1.0)}, 1)
    progress.end_epoch({"epoch": 1})
    assert (progress.epoch, progress.batch, progress.step) == (1, 0, 7)
    assert progress.rows == [{"epoch": 1}]
    assert progress.meter.means() == {}


def test_state_is_that_of_the_moment_and_comes_back() -> None:
    progress, again = _compare([0.5])[0], Progress()
    progress.batch = 2
    progress.rows.append({"epoch": 1})
    state = progress.state_dict()
    progress.end_epoch({"epoch": 2})
    again.load_state_dict(state)
    assert (again.epoch, again.batch, again.best, again.rows) == (0, 2, 0.5, [{"epoch": 1}])
    assert again.best_weights == progress.best_weights
