"""How a training is divided into batches, steps and epochs."""

import pytest
import torch
from torch.utils.data import TensorDataset

from common import loader
from common.loader import Loader
from common.steps import Steps


def _make_loader(num_samples: int, batch_size: int, *, drop_last: bool = False) -> Loader:
    rows = torch.arange(num_samples)
    return Loader(TensorDataset(rows, rows, rows), loader.Config(batch_size, drop_last), training=True, seed=0)


def _plan(accumulate: int = 1, epochs: int | None = None, steps: int | None = None, num_samples: int = 23) -> Steps:
    """Plan a training on batches of 2; with 23 samples there are 12, the last of one sample."""
    return Steps.plan(_make_loader(num_samples, 2), accumulate, epochs, steps)


@pytest.mark.parametrize(
    ("accumulate", "epochs", "steps", "total", "num_epochs"),
    [
        (1, 3, None, 36, 3),
        (1, None, 30, 30, 3),
        (1, 3, 30, 30, 3),
        (1, 3, 40, 36, 3),
        (1, None, 36, 36, 3),
        (5, 2, None, 6, 2),
        (5, None, 4, 4, 2),
        (100, 2, None, 2, 2),
    ],
)
def test_training_has_as_many_steps_as_its_epochs_or_fewer(
    accumulate: int, epochs: int | None, steps: int | None, total: int, num_epochs: int
) -> None:
    planned = _plan(accumulate, epochs, steps)
    assert (planned.total, planned.num_epochs) == (total, num_epochs)
    assert planned.in_epoch == -(-12 // accumulate)


@pytest.mark.parametrize(("accumulate", "epochs", "steps"), [(1, 2, None), (5, 3, None), (5, None, 4), (4, None, 7)])
def test_steps_end_as_often_as_there_are_steps(accumulate: int, epochs: int | None, steps: int | None) -> None:
    planned = _plan(accumulate, epochs, steps)
    ends = []
    for epoch in range(1, planned.num_epochs + 1):
        batches = range(planned.end(epoch))
        firsts = [batch for batch in batches if planned.is_first(batch)]
        lasts = [batch for batch in batches if planned.is_last(epoch, batch)]
        assert lasts == [first - 1 for first in firsts[1:]] + [planned.end(epoch) - 1]
        ends += lasts
    assert len(ends) == planned.total


def test_last_epoch_is_cut_short_when_steps_end_the_training() -> None:
    planned = _plan(5, None, 4)
    assert [planned.end(1), planned.end(2)] == [12, 5]


@pytest.mark.parametrize("steps", [None, 1, 4, 5])
def test_weights_of_the_batches_of_a_step_are_their_shares_of_its_samples(steps: int | None) -> None:
    planned = _plan(5, 2, steps)
    for epoch in range(1, planned.num_epochs + 1):
        weights = [planned.weight(epoch, batch) for batch in range(planned.end(epoch))]
        assert weights[:5] == [0.2] * 5
        if len(weights) == 12:
            assert weights[10:] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]


def test_weight_is_one_when_each_batch_is_a_step() -> None:
    assert {_plan(1, 1).weight(1, batch) for batch in range(12)} == {1.0}


@pytest.mark.parametrize(("epochs", "steps", "num_samples"), [(2, None, 46), (None, 36, 69), (None, 6, 12)])
def test_samples_are_counted_as_often_as_they_are_seen(epochs: int | None, steps: int | None, num_samples: int) -> None:
    assert _plan(1, epochs, steps).num_samples == pytest.approx(num_samples, abs=1)


def test_left_out_samples_count_for_nothing() -> None:
    planned = Steps.plan(_make_loader(23, 4, drop_last=True), 1, 2, None)
    assert (planned.in_epoch, planned.num_samples) == (5, 40)
