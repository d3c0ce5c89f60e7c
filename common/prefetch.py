"""Batches of samples that are not on the device: gathered by a thread of its own while the device computes.

The thread fills a few buffers in turns, pinned so that a GPU fetches them by itself, and waits until one is free.
"""

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from common.dataset import Batch

_NUM_BUFFERS = 4


def prefetch(samples: Batch, batches: Sequence[Tensor], device: torch.device) -> Iterator[Batch]:
    """Yield the samples of each tensor of rows on `device`, a GPU; `samples` are on the CPU."""
    if not batches:
        return
    gatherer = _Gatherer(samples, batches, device)
    gatherer.start()
    try:
        for _ in batches:
            yield gatherer.take()
    finally:
        gatherer.stop()


@dataclass
class _Buffer:
    """Memory for one batch, and what the device still has to do with it."""

    tensors: Batch
    copied: torch.cuda.Event = field(default_factory=torch.cuda.Event)


class _Gatherer:
    """The thread, and the buffers between it and whoever takes batches."""

    def __init__(self, samples: Batch, batches: Sequence[Tensor], device: torch.device) -> None:
        self._samples = samples
        self._batches = batches
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._free: queue.SimpleQueue[_Buffer | None] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[Batch, torch.cuda.Event] | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        size = max(len(rows) for rows in batches)
        for _ in range(min(_NUM_BUFFERS, len(batches))):
            self._free.put(_Buffer(Batch(*(_allocate(tensor, size) for tensor in samples))))

    def start(self) -> None:
        """Begin to gather."""
        self._thread.start()

    def take(self) -> Batch:
        """Return the next batch; the device waits for its copy, this thread does not."""
        found = self._full.get()
        if isinstance(found, BaseException):
            raise found
        batch, copied = found
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(copied)
        for tensor in batch:
            tensor.record_stream(stream)
        return batch

    def stop(self) -> None:
        """End the thread."""
        self._free.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            for rows in self._batches:
                buffer = self._free.get()
                if buffer is None:
                    return
                buffer.copied.synchronize()  # what it held before is on the device
                self._full.put((self._copy(buffer, rows), buffer.copied))
                self._free.put(buffer)
        except BaseException as error:  # raised where batches are taken
            self._full.put(error)

    def _copy(self, buffer: _Buffer, rows: Tensor) -> Batch:
        """Gather into the buffer and begin to copy it to the device."""
        parts = []
        for source, target in zip(self._samples, buffer.tensors, strict=True):
            part = target[: len(rows)]
            torch.index_select(source, 0, rows, out=part)
            parts.append(part)
        with torch.cuda.stream(self._stream):
            batch = Batch(*(part.to(self._device, non_blocking=True) for part in parts))
            buffer.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            buffer.copied.record(self._stream)
        return batch


def _allocate(tensor: Tensor, size: int) -> Tensor:
    return torch.empty((size, *tensor.shape[1:]), dtype=tensor.dtype, pin_memory=True)
