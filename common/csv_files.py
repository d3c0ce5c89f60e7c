"""CSV in blocks of whole lines, which threads parse side by side: of a stream, pyarrow parses one block at a time."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv

from common.samples import BadSourceError
from common.workers import map_in_threads

_PROBE_BYTES = 2**24  # of text that types are guessed from
_BLOCK_BYTES = 2**23  # that are parsed at once; no line is longer
_LINE_END = re.compile(rb"\r\n?|\n")
_PLACE = re.compile(r"(?:In CSV column #(\d+): |CSV parse error: )?(?:Row #(\d+): )?(.*)", re.DOTALL)


def read_csv(
    path: Path,
    delimiter: str,
    choose_types: Callable[[pa.Schema], Mapping[str, pa.DataType]],
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows in parts.

    `choose_types` says of what the first lines look like which columns are read as something else. `note` hears the
    sha256 of the file, where that comes for nothing. Raises BadSourceError, naming the row and the column, where a line
    has another number of values, or one of another type.
    """
    try:
        parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    except ValueError as error:
        raise BadSourceError(f"{path} cannot be read with the delimiter {delimiter!r}: {error}") from error
    names: list[str] = []
    first = -1  # the row at which the count of the parser begins: it counts the line of names as well
    try:
        with csv.open_csv(path, csv.ReadOptions(use_threads=False, block_size=_PROBE_BYTES), parse) as probe:
            names = probe.schema.names
            convert = csv.ConvertOptions(column_types=choose_types(probe.schema))
        start = _find_rows(path, names, parse)
        first = num_rows = 0 if start else -1
        parse_block = partial(_parse, path, names, parse, convert)
        for parts in map_in_threads(parse_block, _read_lines(path, start, note)):
            for rows in parts:
                yield rows
                num_rows += len(rows)
            first = num_rows
    except pa.ArrowInvalid as error:
        raise BadSourceError(_explain(error, path, names, first)) from error


def _find_rows(path: Path, names: list[str], parse: csv.ParseOptions) -> int:
    """Return where the line after the names begins; 0 where they are not in the first line."""
    with path.open("rb") as file:
        end = _LINE_END.search(text := file.read(_BLOCK_BYTES))
    if not end:
        return 0
    try:
        found = csv.read_csv(pa.py_buffer(text[: end.end()]), parse_options=parse).column_names
    except pa.ArrowInvalid:
        return 0
    return end.end() if found == names else 0


def _read_lines(path: Path, start: int, note: Callable[[str], None]) -> Iterator[tuple[int, Any]]:
    """Yield whole lines, about `_BLOCK_BYTES` at once, and where they begin; from one with a quote on, no lines.

    Where lines end then, only a parser knows: values in quotes may have several.
    """
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(start))
        while block := file.read(_BLOCK_BYTES):
            if not start or b'"' in block:
                yield start, None
                return
            end = len(block)
            if end == _BLOCK_BYTES:
                end = max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
            if not end:
                raise pa.ArrowInvalid(f"a line has more than {_BLOCK_BYTES} bytes")
            lines = memoryview(block)[:end]
            digest.update(lines)
            yield start, lines
            start += end
            file.seek(start)
    note(digest.hexdigest())


def _parse(
    path: Path, names: list[str], parse: csv.ParseOptions, convert: csv.ConvertOptions, block: tuple[int, Any]
) -> Iterable[pa.RecordBatch]:
    """Return the rows of some lines, or what reads all that follow, one block after the other."""
    start, lines = block
    if lines is None:
        return _stream(path, names, parse, convert, start)
    read = csv.ReadOptions(use_threads=False, block_size=len(lines) + 1, column_names=names)
    plain = csv.ParseOptions(delimiter=parse.delimiter)
    batches: list[pa.RecordBatch] = csv.read_csv(pa.py_buffer(lines), read, plain, convert).to_batches()
    return batches


def _stream(
    path: Path, names: list[str], parse: csv.ParseOptions, convert: csv.ConvertOptions, start: int
) -> Iterator[pa.RecordBatch]:
    """Yield all rows from a byte on; from the first one, the names come first."""
    with path.open("rb") as file:
        file.seek(start)
        # By several threads, pyarrow does not say which row is at fault, and is hardly faster.
        read = csv.ReadOptions(use_threads=False, block_size=_PROBE_BYTES, column_names=names if start else None)
        yield from csv.open_csv(file, read, parse, convert)


def _explain(error: pa.ArrowInvalid, path: Path, names: list[str], first: int) -> str:
    """Return what pyarrow says, with row and column as we count them."""
    column, row, what = _PLACE.findall(str(error))[0]
    place = [f"row {first + int(row) - 1} (from 0)"] if row else []
    place += [f"column '{names[int(column)]}'"] if column and int(column) < len(names) else []
    found = " ".join(what.replace("CSV conversion error to ", "no ").split())[:300]
    return f"{path} cannot be read: " + ", ".join(place) + ": " * bool(place) + found
