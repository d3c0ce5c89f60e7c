"""A safetensors file of one tensor that is written row by row: no more than the rows at hand is in memory.

The format begins with a header that holds the number of rows, which is known last: room for it is left, and filled with
spaces, as the format allows. The numbers begin on a page of memory.
"""

import json
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
    """The file at `path`, which will hold the tensor `name` of shape (rows, *row_shape)."""

    def __init__(self, path: Path, name: str, row_shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.path = path
        self.num_rows = 0
        self._name, self._row_shape, self._dtype = name, row_shape, dtype
        self._stream: BinaryIO = path.open("wb")
        self._stream.write(bytes(_HEADER_SIZE))

    def append(self, rows: Tensor) -> None:
        """Write rows after those before. Raises ValueError where they have another shape or dtype."""
        found, wanted = (tuple(rows.shape[1:]), rows.dtype), (self._row_shape, self._dtype)
        if found != wanted:
            raise ValueError(f"{self._name} of shape {found[0]} and {found[1]} after {wanted[0]} and {wanted[1]}")
        self._stream.write(rows.contiguous().view(torch.uint8).numpy().data if rows.numel() else b"")
        self.num_rows += len(rows)

    def finish(self) -> None:
        """Write the header; the file is whole then."""
        num_bytes = self._stream.tell() - _HEADER_SIZE
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


def open_rows(path: Path, row_shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return the tensor of a file that a `TensorFile` wrote, to be changed in place: what is written goes to disk."""
    num_bytes = path.stat().st_size - _HEADER_SIZE
    if not num_bytes:
        return torch.empty((0, *row_shape), dtype=dtype)
    storage = torch.from_file(str(path), shared=True, size=path.stat().st_size, dtype=torch.uint8)
    return storage[_HEADER_SIZE:].view(dtype).view(-1, *row_shape)
