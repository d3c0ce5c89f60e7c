"""CSV in blocks of whole lines, which threads parse side by side: of a stream, pyarrow parses one block at a time."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from common.samples import BadSourceError
from common.workers import map_in_threads

_BLOCK_BYTES = 2**23  # of text that are parsed at once; no line is longer
_LINE_END = re.compile(rb"\r\n?|\n")
_NOT_EMPTY = re.compile(rb"[^\r\n]")
_PLACE = re.compile(r"(?:In CSV column #(\d+): |CSV parse error: )?(?:Row #(\d+): )?(.*)", re.DOTALL)


def read_csv(
    path: Path, delimiter: str, choose_types: Callable[[pa.Schema], Mapping[str, pa.DataType]]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows in parts.

    `choose_types` says of what the first block looks like which columns are read as something else. Raises
    BadSourceError, naming the row and the column, where a line has another number of values, or one of another type.
    """
    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    names: list[str] = []
    first = -1  # the row at which the count of the parser begins: it counts the line of names as well
    try:
        with csv.open_csv(path, csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES), parse) as probe:
            names = probe.schema.names
            convert = csv.ConvertOptions(column_types=choose_types(probe.schema))
        with path.open("rb") as file:
            text = mmap(file.fileno(), 0, access=ACCESS_READ)
        start = _find_rows(text, names, parse)
        first = num_rows = 0 if start else -1
        parse_block = partial(_parse, text, names, parse, convert)
        for parts in map_in_threads(parse_block, _split_lines(text, start)):
            for rows in parts:
                yield rows
                num_rows += len(rows)
            first = num_rows
    except pa.ArrowInvalid as error:
        raise BadSourceError(_explain(error, path, names, first)) from error


def _find_rows(text: mmap, names: list[str], parse: csv.ParseOptions) -> int:
    """Return where the line after the names begins; 0 where they are not in the first line."""
    end = _LINE_END.search(text, 0, _BLOCK_BYTES)
    if not end:
        return 0
    try:
        found = csv.read_csv(pa.py_buffer(text[: end.end()]), parse_options=parse).column_names
    except pa.ArrowInvalid:
        return 0
    return end.end() if found == names else 0


def _split_lines(text: mmap, start: int) -> Iterator[tuple[int, int | None]]:
    """Yield where whole lines begin and end, about `_BLOCK_BYTES` at once, up to one that has a quote; its end is None.

    Where lines end then, only a parser knows: values in quotes may have several.
    """
    while start < len(text):
        end = min(start + _BLOCK_BYTES, len(text))
        if not start or text.find(b'"', start, end) >= 0:
            yield start, None
            return
        if end < len(text):
            end = max(text.rfind(b"\n", start, end), text.rfind(b"\r", start, end)) + 1
        if not end:
            raise pa.ArrowInvalid(f"a line has more than {_BLOCK_BYTES} bytes")
        yield start, end
        start = end


def _parse(
    text: mmap,
    names: list[str],
    parse: csv.ParseOptions,
    convert: csv.ConvertOptions,
    block: tuple[int, int | None],
) -> Iterable[pa.RecordBatch]:
    """Return the rows of a block, or what reads them one after the other, up to the end."""
    start, end = block
    lines = pa.py_buffer(memoryview(text)[start:end])
    if end is None:
        read = csv.ReadOptions(block_size=_BLOCK_BYTES, column_names=names if start else None)
        rows: Iterable[pa.RecordBatch] = csv.open_csv(pa.BufferReader(lines), read, parse, convert)
        return rows
    if not _NOT_EMPTY.search(text, start, end):
        return ()
    read = csv.ReadOptions(use_threads=False, block_size=len(lines) + 1, column_names=names)
    plain = csv.ParseOptions(delimiter=parse.delimiter)
    batches: list[pa.RecordBatch] = csv.read_csv(lines, read, plain, convert).to_batches()
    return batches


def _explain(error: pa.ArrowInvalid, path: Path, names: list[str], first: int) -> str:
    """Return what pyarrow says, with row and column as we count them."""
    column, row, what = _PLACE.findall(str(error))[0]
    place = [f"row {first + int(row) - 1} (from 0)"] if row else []
    place += [f"column '{names[int(column)]}'"] if column and int(column) < len(names) else []
    found = " ".join(what.replace("CSV conversion error to ", "no ").split())[:300]
    return f"{path} cannot be read: " + ", ".join(place) + ": " * bool(place) + found
