"""Read the header of a safetensors file, and check all that it says against the file."""

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

MAX_HEADER = 100_000_000  # bytes; the format's own limit
_BITS = {
    **{"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8},
    **{"I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32},
    **{"F64": 64, "I64": 64, "U64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
}


@dataclass(frozen=True)
class TensorPlace:
    """One tensor of a safetensors file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int  # bytes from the end of the header
    end: int


def looks_like_tensors(start: bytes) -> bool:
    """Say whether a file that begins so is of safetensors: a length, then JSON."""
    return len(start) >= 9 and start[8:9] == b"{" and 2 <= struct.unpack("<Q", start[:8])[0] <= 1 << 40


def read_tensor_places(path: Path) -> list[TensorPlace]:
    """Return the tensors of a file. Raises ValueError, in one line, where header and file do not agree."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER:
            raise ValueError(f"the header claims {length} bytes, more than the format's {MAX_HEADER}")
        if length + 8 > size:
            raise ValueError(f"the header claims {length} bytes, the file has {size}")
        header = parse_json(file.read(length))
    header.pop("__metadata__", None)
    places = sorted((_read_place(name, value) for name, value in header.items()), key=lambda place: place.start)
    _check_places(places, size - 8 - length)
    return places


def parse_json(text: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises ValueError, also for a name that comes twice."""

    def refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            twice = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
            raise ValueError(f"the name '{twice}' comes twice")
        return found

    try:
        value = json.loads(text, object_pairs_hook=refuse_twice)
    except UnicodeDecodeError as error:
        raise ValueError("the JSON is no UTF-8") from error
    except RecursionError as error:
        raise ValueError("the JSON is too deep") from error
    if not isinstance(value, dict):
        raise ValueError("the JSON is no object")
    return value


def _read_place(name: str, value: Any) -> TensorPlace:
    try:
        dtype, shape, (start, end) = value["dtype"], value["shape"], value["data_offsets"]
        numbers = [*shape, start, end]
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"the header does not say dtype, shape and offsets of '{name}'") from None
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers) or start > end:
        raise ValueError(f"shape or offsets of '{name}' are no numbers of a tensor")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise ValueError(f"'{name}' has the unknown dtype '{dtype}'")
    if prod(shape) * _BITS[dtype] != 8 * (end - start):
        raise ValueError(f"the offsets of '{name}' do not fit its shape {list(shape)}")
    return TensorPlace(name, dtype, tuple(shape), start, end)


def _check_places(places: list[TensorPlace], size: int) -> None:
    """Check that tensors, in order, fill `size` bytes without gap or overlap."""
    end = 0
    for place in places:
        if place.start != end:
            raise ValueError(f"'{place.name}' {'overlaps another tensor' if place.start < end else 'follows a gap'}")
        end = place.end
    if end != size:
        raise ValueError(f"the tensors take {end} bytes, the file has {size}")
