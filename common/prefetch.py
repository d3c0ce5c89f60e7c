"""Batches of samples that are not where they are needed, gathered by a thread of its own while training goes on."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from common.dataset import Batch

_NUM_BUFFERS = 4

T = TypeVar("T")


def copy_ahead(samples: Batch, batches: Iterable[Tensor], size: int, device: torch.device) -> Iterator[Batch]:
    """Yield the samples of each tensor of rows, `size` at most, on `device`, a GPU; `samples` are on the CPU.

    Buffers are used in turns. They are pinned, so that the GPU fetches them by itself.
    """
    copier = _Copier(device, size)
    for batch, copied in ahead((copier.copy(samples, rows) for rows in batches), _NUM_BUFFERS - 1):
        stream = torch.cuda.current_stream(device)
        stream.wait_event(copied)  # the GPU waits, we do not
        for tensor in batch:
            tensor.record_stream(stream)
        yield batch


def ahead(items: Iterator[T], num_waiting: int) -> Iterator[T]:
    """Yield the items, none of them None, made by a thread that is up to `num_waiting` ahead."""
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, items, None) for _ in range(num_waiting))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, items, None))
            yield item


class _Copier:
    """Pinned buffers, and what the GPU still has to fetch from each."""

    def __init__(self, device: torch.device, size: int) -> None:
        self._device = device
        self._size = size
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._buffers: list[tuple[Batch, torch.cuda.Event]] = []
        self._num_copied = 0

    def copy(self, samples: Batch, rows: Tensor) -> tuple[Batch, torch.cuda.Event]:
        """Gather rows into the next buffer, and begin to copy it; return the batch, and when it is there."""
        if len(self._buffers) < _NUM_BUFFERS:
            buffer = Batch(*(torch.empty((self._size, *t.shape[1:]), dtype=t.dtype, pin_memory=True) for t in samples))
            self._buffers.append((buffer, torch.cuda.Event()))  # type: ignore[no-untyped-call]
            place = len(self._buffers) - 1
        else:
            place = self._num_copied % _NUM_BUFFERS
        self._num_copied += 1
        buffer, copied = self._buffers[place]
        copied.synchronize()  # what the buffer held before is on the GPU
        parts = [target[: len(rows)] for target in buffer]
        for source, part in zip(samples, parts, strict=True):
            torch.index_select(source, 0, rows, out=part)
        with torch.cuda.stream(self._stream):
            batch = Batch(*(part.to(self._device, non_blocking=True) for part in parts))
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record(self._stream)
        self._buffers[place] = (buffer, copied)
        return batch, copied
