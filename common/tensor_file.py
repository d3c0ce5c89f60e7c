"""A safetensors file of one tensor that is written row by row: no more than the rows at hand is in memory.

The format begins with a header that holds the number of rows, which is known last: room for it is left, and filled with
spaces, as the format allows. The numbers begin on a page of memory.
"""

import json
import math
import os
import struct
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

_HEADER_SIZE = 4096  # bytes, with the eight that hold its length
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class TensorFile:
    """The file at `path`, which will hold the tensor `name` of shape (rows, *row_shape).

    With `num_rows`, the file is there, and goes on after so many rows: what follows them is cut off.
    """

    def __init__(
        self, path: Path, name: str, row_shape: tuple[int, ...], dtype: torch.dtype, num_rows: int | None = None
    ) -> None:
        self.path = path
        self.num_rows = num_rows or 0
        self._name, self._row_shape, self._dtype = name, row_shape, dtype
        self._stream: BinaryIO = path.open("wb") if num_rows is None else open_cut(path, self.num_bytes)
        if num_rows is None:
            self._stream.write(bytes(_HEADER_SIZE))

    @property
    def num_bytes(self) -> int:
        """The length of the file with the rows so far."""
        return _HEADER_SIZE + self.num_rows * math.prod(self._row_shape) * self._dtype.itemsize

    def append(self, rows: Tensor) -> None:
        """Write rows after those before. Raises ValueError where they have another shape or dtype."""
        found, wanted = (tuple(rows.shape[1:]), rows.dtype), (self._row_shape, self._dtype)
        if found != wanted:
            raise ValueError(f"{self._name} of shape {found[0]} and {found[1]} after {wanted[0]} and {wanted[1]}")
        self._stream.write(rows.contiguous().view(torch.uint8).numpy().data if rows.numel() else b"")
        self.num_rows += len(rows)

    def flush(self) -> int:
        """Hand all rows to the system; return the descriptor by which they can be brought to the disk."""
        self._stream.flush()
        return self._stream.fileno()

    def finish(self) -> None:
        """Write the header; the file is whole then."""
        num_bytes = self.num_bytes - _HEADER_SIZE
        shape = [self.num_rows, *self._row_shape]
        header = json.dumps(
            {self._name: {"dtype": _DTYPES[self._dtype], "shape": shape, "data_offsets": [0, num_bytes]}}
        )
        text = header.encode().ljust(_HEADER_SIZE - 8)
        self._stream.seek(0)
        self._stream.write(struct.pack("<Q", len(text)) + text)
        self.close()

    def close(self) -> None:
        """Write no more; without its header, nobody takes the file for a whole one."""
        self._stream.close()


def open_cut(path: Path, num_bytes: int) -> BinaryIO:
    """Open a file to go on after so many bytes; what follows is cut off. Raises ValueError where it has fewer."""
    if path.stat().st_size < num_bytes:
        raise ValueError(f"{path} ends before byte {num_bytes}")
    os.truncate(path, num_bytes)
    stream = path.open("r+b")
    stream.seek(num_bytes)
    return stream


def open_rows(path: Path, row_shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return the tensor of a file that a `TensorFile` wrote, mapped: it is not to be changed."""
    num_bytes = path.stat().st_size - _HEADER_SIZE
    if not num_bytes:
        return torch.empty((0, *row_shape), dtype=dtype)
    storage = torch.from_file(str(path), shared=True, size=path.stat().st_size, dtype=torch.uint8)
    return storage[_HEADER_SIZE:].view(dtype).view(-1, *row_shape)
