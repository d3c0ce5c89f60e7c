"""Read arrays of foreign files in parts: NumPy's .npy and .npz, safetensors, and tensors that torch.save wrote.

No code of a file runs, and no memory is taken for what a header merely claims.
"""

import math
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from numpy.lib import format as npy
from safetensors import SafetensorError, safe_open
from torch import Tensor

from common.samples import BadSourceError

Rows = Tensor | list[str]

_CHUNK_BYTES = 2**20  # that are asked for at once, so that memory grows with what is there
_NUMBERS = "biuf"  # kinds of NumPy
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class Array(NamedTuple):
    """One array of a file."""

    shape: tuple[int, ...]  # (rows, …), nothing of it 0
    row_bytes: int  # in the file
    read: Callable[[int], Iterator[Rows]]  # yields so many rows at a time; texts are a list


class _Header(NamedTuple):
    shape: tuple[int, ...]
    is_fortran: bool  # the first dimension changes fastest
    dtype: np.dtype[Any]


def list_arrays(path: Path) -> Mapping[str, Array]:
    """Return the arrays of a file by name. Raises BadSourceError, naming the file, where it cannot be read."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise BadSourceError(f"'{path}' is no file of arrays: wanted one that ends in {', '.join(_READERS)}")
    with _explain(path):
        arrays = reader(path)
    for name, array in arrays.items():
        if not array.shape or not math.prod(array.shape) * array.row_bytes:
            raise BadSourceError(f"{path}: array '{name}' has the shape {array.shape}, wanted (samples, …)")
    return arrays


def read_exactly(stream: IO[bytes], size: int, path: Path) -> bytearray:
    """Return the next bytes of a file. Raises BadSourceError where it ends before."""
    content = bytearray()
    while len(content) < size:
        chunk = read_some(stream, min(_CHUNK_BYTES, size - len(content)), path)
        if not chunk:
            raise BadSourceError(f"{path} is truncated: it ends {size - len(content)} bytes early")
        content += chunk
    return content


def read_some(stream: IO[bytes], size: int, path: Path) -> bytes:
    """Return up to so many bytes, none at the end. Raises BadSourceError where what is compressed is damaged."""
    try:
        return stream.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise BadSourceError(f"{path} cannot be read: {error}") from error


def _list_npy(path: Path) -> dict[str, Array]:
    with path.open("rb") as stream:
        header = _read_header(stream, path.name)
        offset = stream.tell()
    _check_size(header, path.stat().st_size - offset, path.name)

    def read(num: int) -> Iterator[Rows]:
        order: Any = "F" if header.is_fortran else "C"
        mapped = np.memmap(path, header.dtype, "r", offset, header.shape, order)
        with _explain(path):
            yield from (_convert(mapped[start : start + num]) for start in range(0, len(mapped), num))

    return {path.stem: Array(header.shape, _count_row_bytes(header), read)}


def _list_npz(path: Path) -> dict[str, Array]:
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        return {info.filename.removesuffix(".npy"): _describe_member(path, archive, info) for info in members}


def _describe_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    with archive.open(info) as stream:
        header = _read_header(stream, info.filename)
        _check_size(header, info.file_size - stream.tell(), info.filename)
    row_bytes = _count_row_bytes(header)

    def read(num: int) -> Iterator[Rows]:
        with _explain(path), zipfile.ZipFile(path) as archive, archive.open(info) as stream:
            _read_header(stream, info.filename)
            at_once = header.shape[0] if header.is_fortran else num  # no row is whole before all are read
            for start in range(0, header.shape[0], at_once):
                shape = (min(at_once, header.shape[0] - start), *header.shape[1:])
                flat = np.frombuffer(read_exactly(stream, shape[0] * row_bytes, path), header.dtype)
                rows = flat.reshape(shape, order="F" if header.is_fortran else "C")
                yield from (_convert(rows[place : place + num]) for place in range(0, len(rows), num))

    return Array(header.shape, row_bytes, read)


def _read_header(stream: IO[bytes], name: str) -> _Header:
    """Return what a .npy file says of itself. Raises ValueError where that is nothing, or no numbers or texts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote
        version = npy.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"'{name}' is of version {version} of the format, which only structured arrays need")
        try:
            header = _Header(*_HEADERS[version](stream))
        except Exception as error:  # whatever a damaged literal makes NumPy raise
            raise ValueError(f"'{name}' has a header that cannot be read: {error}") from error
    is_number = header.dtype.kind in _NUMBERS and header.dtype.itemsize <= 8
    if not is_number and not (header.dtype.kind == "U" and len(header.shape) == 1):
        raise ValueError(f"'{name}' holds {header.dtype} of shape {header.shape}, wanted numbers, or a row of texts")
    return header


def _check_size(header: _Header, found: int, name: str) -> None:
    wanted = math.prod(header.shape) * header.dtype.itemsize
    if found != wanted or min(header.shape, default=0) < 0:
        claim = f"its header says {header.shape} of {header.dtype}: {wanted}"
        raise ValueError(f"'{name}' holds {found} bytes of numbers, and {claim}")


def _count_row_bytes(header: _Header) -> int:
    return math.prod(header.shape[1:]) * header.dtype.itemsize


def _convert(rows: np.ndarray) -> Rows:
    """Return rows in memory, of this machine's byte order."""
    if rows.dtype.kind == "U":
        texts: list[str] = rows.tolist()
        return texts
    return torch.from_numpy(np.array(rows, rows.dtype.newbyteorder("="), order="C"))


def _list_safetensors(path: Path) -> dict[str, Array]:
    with safe_open(path, "pt") as file:
        return {name: _describe_slice(path, name, file.get_slice(name)) for name in file.keys()}  # noqa: SIM118


def _describe_slice(path: Path, name: str, stored: Any) -> Array:
    shape = tuple(stored.get_shape())
    row_bytes = stored[:1].nbytes if shape and math.prod(shape) else 0

    def read(num: int) -> Iterator[Rows]:
        with _explain(path), safe_open(path, "pt") as file:
            rows = file.get_slice(name)
            yield from (rows[start : start + num] for start in range(0, shape[0], num))

    return Array(shape, row_bytes, read)


def _list_tensors(path: Path) -> dict[str, Array]:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no archive, as torch.save of PyTorch 1.6 and later writes")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol")
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    named = {path.stem: loaded} if isinstance(loaded, Tensor) else loaded
    if isinstance(named, list | tuple):
        named = {str(place): member for place, member in enumerate(named)}
    if not isinstance(named, Mapping):
        raise ValueError(f"it holds a {type(loaded).__name__}, wanted a tensor, or several in a mapping or list")
    return {str(name): _describe_tensor(str(name), tensor) for name, tensor in named.items()}


def _describe_tensor(name: str, tensor: Any) -> Array:
    is_plain = isinstance(tensor, Tensor) and tensor.layout == torch.strided
    if not is_plain or tensor.is_quantized or tensor.is_meta or tensor.is_nested:
        raise ValueError(f"'{name}' is no tensor of numbers, but a {type(tensor).__name__}")
    tensor = tensor.detach()

    def read(num: int) -> Iterator[Rows]:
        yield from (tensor[start : start + num] for start in range(0, len(tensor), num))

    return Array(tuple(tensor.shape), math.prod(tensor.shape[1:]) * tensor.itemsize, read)


_READERS = {
    ".npy": _list_npy,
    ".npz": _list_npz,
    ".safetensors": _list_safetensors,
    ".pt": _list_tensors,
    ".pth": _list_tensors,
}


@contextmanager
def _explain(path: Path) -> Iterator[None]:
    """Turn what libraries raise for a damaged file into one line."""
    try:
        yield
    except BadSourceError:
        raise
    except UnpicklingError as error:
        raise BadSourceError(f"{path} holds more than tensors, and nothing else is unpickled") from error
    except (
        *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, OverflowError),
        *(zipfile.BadZipFile, zlib.error, SafetensorError, AssertionError),
    ) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise BadSourceError(f"{path} cannot be read: {text[:300]}") from error
