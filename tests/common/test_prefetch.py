"""Batches that a thread gathers in advance."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from common.dataset import Batch
from common.prefetch import ahead, copy_ahead


def _make_samples(num_samples: int) -> Batch:
    rows = torch.arange(num_samples)
    return Batch(rows.float().unsqueeze(1).repeat(1, 5), rows % 3, rows)


def _draw(num_samples: int, size: int) -> list[Tensor]:
    return list(torch.split(torch.randperm(num_samples, generator=torch.Generator().manual_seed(0)), size))


def _fail_after(count: int) -> Iterator[int]:
    yield from range(count)
    raise RuntimeError("the disk is gone")


@pytest.mark.parametrize("num_waiting", [1, 3, 50])
def test_items_come_in_order_and_once(num_waiting: int) -> None:
    assert list(ahead(iter(range(20)), num_waiting)) == list(range(20))


def test_there_is_nothing_ahead_of_nothing() -> None:
    assert list(ahead(iter(()), 3)) == []


def test_no_more_items_are_made_than_may_wait() -> None:
    made: list[int] = []
    items = ahead((made.append(number) or number for number in range(99)), 3)
    for number in range(5):
        assert next(items) == number
    items.close()  # ends the thread
    assert made == list(range(len(made)))
    assert len(made) <= 5 + 3


def test_error_is_raised_where_the_item_is_taken() -> None:
    items = ahead(_fail_after(2), 3)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(RuntimeError, match="the disk is gone"):
        next(items)


@pytest.mark.gpu
@pytest.mark.parametrize("num_samples", [0, 5, 47, 999])
def test_copies_on_a_gpu_are_the_samples_though_buffers_are_used_again(num_samples: int) -> None:
    samples, batches = _make_samples(num_samples), _draw(num_samples, 7) if num_samples else []
    copies = list(copy_ahead(samples, batches, 7, torch.device("cuda")))
    for copied, rows in zip(copies, batches, strict=True):
        for ours, theirs in zip(copied, samples.select(rows), strict=True):
            assert ours.device.type == "cuda"
            assert torch.equal(ours.cpu(), theirs)


@pytest.mark.gpu
def test_copies_can_be_left_in_the_middle() -> None:
    samples, batches = _make_samples(999), _draw(999, 7)
    copies = copy_ahead(samples, batches, 7, torch.device("cuda"))
    assert torch.equal(next(copies).ids.cpu(), samples.ids[batches[0]])
    copies.close()
