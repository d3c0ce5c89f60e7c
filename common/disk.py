"""Tell the system how memory-mapped tensors are going to be read. Advice only: without it, reading is slower."""

import ctypes
import mmap
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

_MAX_GAP = 64  # rows that are not wanted, and are read all the same: one long run is faster than two
_madvise = getattr(ctypes.CDLL(None), "madvise", None)


def announce(tensors: Iterable[Tensor], batches: Sequence[Tensor], num_batches: int) -> Iterator[Tensor]:
    """Yield the rows of each batch; those of `num_batches` batches, a window, are read while the ones before are used.

    Nothing is read around them: the next rows are elsewhere.
    """
    windows = [
        torch.cat(tuple(batches[i : i + num_batches])).sort().values for i in range(0, len(batches), num_batches)
    ]
    for tensor in tensors:
        _advise(tensor, "MADV_RANDOM")
    try:
        for index, rows in enumerate(batches):
            window, place = divmod(index, num_batches)
            if place == 0:
                for upcoming in windows[window + 1 if window else 0 : window + 2]:
                    _fetch(tensors, upcoming)
            yield rows
    finally:
        for tensor in tensors:
            _advise(tensor, "MADV_NORMAL")


def _fetch(tensors: Iterable[Tensor], rows: Tensor) -> None:
    """Begin to read these rows of each tensor, given in the order in which they stand."""
    breaks = (torch.nonzero(rows.diff() > _MAX_GAP).flatten() + 1).tolist()
    for first, end in zip([0, *breaks], [*breaks, len(rows)], strict=True):
        for tensor in tensors:
            _advise(tensor[rows[first] : rows[end - 1] + 1], "MADV_WILLNEED")


def _advise(tensor: Tensor, advice: str) -> None:
    if _madvise is None or not tensor.is_contiguous() or not tensor.nbytes:
        return
    first = tensor.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
    size = tensor.data_ptr() + tensor.nbytes - first
    _madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), getattr(mmap, advice, 0))
