"""Read an ONNX file as far as it says which other files hold its tensors, without the onnx package.

Field numbers are those of onnx.proto, which never change them.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.folders import find_inside

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_IR_VERSION, _PRODUCER, _GRAPH, _OPSETS, _FUNCTIONS = 1, 2, 7, 8, 25
_KNOWN = frozenset((*range(1, 9), 14, 20, _FUNCTIONS, 26))
_MAX_DEPTH = 64  # subgraphs within subgraphs

# Where tensors stand: message → field → message of that field.
_TENSORS = {
    "model": {_GRAPH: "graph", _FUNCTIONS: "function", 20: "training"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}


@dataclass(frozen=True)
class OnnxFile:
    """What an ONNX file says of itself."""

    ir_version: int
    producer: str
    num_nodes: int
    num_tensors: int
    external: tuple[str, ...]  # where its tensors stand, as it says, relative to its folder


def looks_like_onnx(start: bytes) -> bool:
    """Say whether a file that begins so may be ONNX: its first field is the version of the format, a small number."""
    return len(start) > 2 and start[0] == _IR_VERSION << 3 | _VARINT and 1 <= start[1] < 64


def read_onnx(path: Path) -> OnnxFile:
    """Read a file. Raises ValueError where it is damaged or no ONNX model."""
    with path.open("rb") as file:
        # Not closed by hand: the fields of a file with a fault still look into it.
        return _read_model(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


def find_external(path: Path, read: OnnxFile) -> list[Path]:
    """Return the files beside an ONNX file that hold its tensors. Raises ValueError for one outside its folder."""
    return [find_inside(path.parent, location) for location in read.external]


def _read_model(data: memoryview) -> OnnxFile:
    fields: dict[int, int | memoryview] = {}
    for number, value in _split(data):
        if number not in _KNOWN:
            raise ValueError(f"field {number} is none of an ONNX model")
        fields[number] = value
    graph, version = fields.get(_GRAPH), fields.get(_IR_VERSION)
    if not isinstance(version, int) or not isinstance(graph, memoryview):
        raise ValueError("an ONNX model has a version and a graph")
    producer = fields.get(_PRODUCER)
    name = bytes(producer).decode("utf-8", "replace") if isinstance(producer, memoryview) else ""
    numbers = [number for number, _ in _split(graph)]
    external = tuple(dict.fromkeys(_find_locations(data, "model", 0)))
    return OnnxFile(version, name, numbers.count(1), numbers.count(5), external)


def _find_locations(data: memoryview, message: str, depth: int) -> Iterator[str]:
    """Yield the value of each "location" of a tensor's external data."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"the graphs are more than {_MAX_DEPTH} deep")
    for number, value in _split(data):
        below = _TENSORS[message].get(number)
        if below == "entry":
            entry = {field: bytes(part) for field, part in _split(value) if isinstance(part, memoryview)}
            if entry.get(1) == b"location":
                yield entry.get(2, b"").decode("utf-8")
        elif below and isinstance(value, memoryview):
            yield from _find_locations(value, below, depth + 1)


def _split(data: int | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field of a message. Raises ValueError where its bytes are none."""
    if isinstance(data, int):
        raise ValueError("a number stands where a message should")
    place = 0
    while place < len(data):
        key, place = _read_varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _read_varint(data, place)
            yield number, value
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if kind == _BYTES:
            length, place = _read_varint(data, place)
        if length is None or not number or place + length > len(data):
            raise ValueError(f"byte {place} begins no field")
        yield number, data[place : place + length]
        place += length


def _read_varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 70:
        byte = data[place]
        place, value, shift = place + 1, value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return value, place
    raise ValueError("a number ends in the middle")
