"""Work for several processes."""

import os
import signal
from collections.abc import Iterator
from itertools import count

import pytest
import torch

from common import workers
from common.workers import map_in_order


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "count_cores", lambda: 2)


def test_results_come_in_order_and_from_other_processes() -> None:
    found = list(map_in_order(lambda item: (item, os.getpid()), range(50)))
    assert [item for item, _ in found] == list(range(50))
    assert os.getpid() not in {process for _, process in found}


@pytest.mark.parametrize("num", [0, 1])
def test_no_process_is_started_when_there_is_one_item(num: int) -> None:
    assert list(map_in_order(lambda _: os.getpid(), range(num))) == [os.getpid()] * num


def test_no_more_is_taken_than_processes_are_busy_with() -> None:
    taken = []

    def take() -> Iterator[int]:
        for item in count():
            taken.append(item)
            yield item

    results = map_in_order(lambda item: item, take())
    assert [next(results) for _ in range(20)] == list(range(20))
    assert len(taken) < 30
    results.close()  # type: ignore[attr-defined]


def test_error_of_one_item_ends_it_with_that_error() -> None:
    def fail(item: int) -> int:
        if item == 7:
            raise ValueError("seven")
        return item

    results = map_in_order(fail, range(1000))
    with pytest.raises(ValueError, match="seven"):
        list(results)


def test_processes_compute_when_torch_has_computed_with_several_threads_before() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        torch.rand(2**22).sum()
        assert list(map_in_order(lambda _: torch.ones(2**22).sum().item(), range(4))) == [2**22] * 4
    finally:
        torch.set_num_threads(before)


def test_death_of_a_process_is_an_error_and_no_wait_for_ever() -> None:
    def die(item: int) -> int:
        if item == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    with pytest.raises(Exception, match="terminated abruptly"):
        list(map_in_order(die, range(10)))
