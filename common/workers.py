"""Work for several processes or threads, in order: no more of it is at hand than they keep busy with."""

import ctypes
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import chain
from typing import Any, TypeVar

import torch

T = TypeVar("T")
_NUM_WAITING = 2  # results of each process that may wait
_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


def map_in_order(function: Callable[[Any], T], items: Iterable[Any]) -> Iterator[T]:
    """Yield the result for each item, in order; they are computed by a process on each core but for one item alone.

    Processes start as copies of this one, so that they have the function and all that is imported; items and results
    are pickled.
    """
    items = iter(items)
    first = list(_take(items, 2))
    num = count_cores()
    if len(first) < 2 or num < 2 or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(function, (*first, *items))
        return
    pool = ProcessPoolExecutor(num, multiprocessing.get_context("fork"), _begin, (function,))
    yield from _yield_results(pool, _call, chain(first, items), len(first) + num * _NUM_WAITING)


def map_in_threads(function: Callable[[Any], T], items: Iterable[Any]) -> Iterator[T]:
    """Yield the result for each item, in order; a thread on each core computes them."""
    num = count_cores()
    yield from _yield_results(ThreadPoolExecutor(num), function, iter(items), num + 1)


def _yield_results(pool: Executor, function: Callable[[Any], T], items: Iterator[Any], num_waiting: int) -> Iterator[T]:
    try:
        waiting: deque[Future[T]] = deque(pool.submit(function, item) for item in _take(items, num_waiting))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in _take(items, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _take(items: Iterator[Any], num: int) -> Iterator[Any]:
    for _, item in zip(range(num), items, strict=False):
        yield item


_function: Callable[[Any], Any]


def _begin(function: Callable[[Any], Any]) -> None:
    """Begin a process that ends with its parent, even where that is killed, and leaves Ctrl-C to it."""
    global _function
    _function = function
    torch.set_num_threads(1)  # threads that torch had started before are not copied: it would wait for them
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_END_WITH_PARENT, signal.SIGKILL)


def _call(item: Any) -> Any:
    return _function(item)
