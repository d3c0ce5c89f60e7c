"""Tell the system how memory-mapped tensors are going to be read. Advice only: without it, reading is slower."""

import ctypes
import mmap
import platform
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

_MAX_GAP = 64  # rows that are not wanted, and are read all the same: one long run is faster than two
_NUM_READERS = 2  # the disk has the next run in its queue while one is read
_READ_NOW = 22  # MADV_POPULATE_READ of Linux, which Python does not name
_LARGE_PAGE = 2 * 2**20  # bytes
_has_large_pages = platform.system() == "Linux" and [int(n) for n in re.findall(r"\d+", platform.release())] >= [5, 18]
_madvise = getattr(ctypes.CDLL(None), "madvise", None)


def announce(tensors: Iterable[Tensor], batches: Sequence[Tensor], num_batches: int) -> Iterator[Tensor]:
    """Yield the rows of each batch; those of `num_batches` batches, a window, are read while the ones before are used.

    Nothing is read around them: the next rows are elsewhere.
    """
    windows = [
        torch.cat(tuple(batches[i : i + num_batches])).sort().values for i in range(0, len(batches), num_batches)
    ]
    for tensor in tensors:
        _advise(*_find_pages(tensor), _find("MADV_RANDOM"))
        _advise(*_find_pages(tensor), _find("MADV_HUGEPAGE"))
    readers = ThreadPoolExecutor(_NUM_READERS)
    try:
        for index, rows in enumerate(batches):
            window, place = divmod(index, num_batches)
            if place == 0:
                for upcoming in windows[window + 1 if window else 0 : window + 2]:
                    for run in _find_runs(tensors, upcoming):
                        readers.submit(_read, run)
            yield rows
    finally:
        readers.shutdown(cancel_futures=True)
        for tensor in tensors:
            _advise(*_find_pages(tensor), _find("MADV_NORMAL"))


def _find_runs(tensors: Iterable[Tensor], rows: Tensor) -> Iterator[Tensor]:
    """Yield, of each tensor, the samples that stand together; `rows` are in the order in which they stand."""
    breaks = (torch.nonzero(rows.diff() > _MAX_GAP).flatten() + 1).tolist()
    for first, end in zip([0, *breaks], [*breaks, len(rows)], strict=True):
        for tensor in tensors:
            yield tensor[rows[first] : rows[end - 1] + 1]


def _read(run: Tensor) -> None:
    """Read samples that stand together, or begin to; in large pages where it can be: the system has less work."""
    first, end = _find_pages(run)
    large_first, large_end = -(-first // _LARGE_PAGE) * _LARGE_PAGE, end // _LARGE_PAGE * _LARGE_PAGE
    if not _has_large_pages or large_end <= large_first:
        large_first = large_end = end
    _advise(first, large_first, _find("MADV_WILLNEED"))
    _advise(large_end, end, _find("MADV_WILLNEED"))
    _advise(large_first, large_end, _READ_NOW)


def _find_pages(tensor: Tensor) -> tuple[int, int]:
    """Return where the pages of a tensor begin, and where its bytes end; nothing where they do not stand together."""
    first = tensor.data_ptr()
    return first // mmap.PAGESIZE * mmap.PAGESIZE, first + tensor.nbytes if tensor.is_contiguous() else 0


def _find(advice: str) -> int:
    """Return the number of an advice; MADV_NORMAL's where the system does not have it."""
    return getattr(mmap, advice, 0)


def _advise(first: int, end: int, advice: int) -> None:
    if _madvise is not None and first < end:
        _madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), advice)
