"""Tables: CSV, TSV, Parquet, Feather and JSON lines, one file or a folder of files of one kind, read in parts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from pyarrow import compute, csv, feather, json, parquet
from torch import Tensor

from common.config import DataPath
from common.csv_files import read_csv
from common.dataset import hash_file
from common.labelled_files import check_link
from common.samples import BadSourceError, Samples, Source

_BLOCK_BYTES = 2**24  # of text that are parsed at once
_NUM_ROWS = 2**16  # of a binary file that are read at once
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_MAX_VALUES = 1000  # of a column that becomes indicators
_KINDS = (*_DELIMITERS, ".parquet", ".feather", ".arrow", ".jsonl", ".ndjson")


class Rows(NamedTuple):
    """Some rows of a file."""

    before: int  # rows of the files before
    first: int  # row of this one that is the first here
    path: str
    rows: pa.RecordBatch


@dataclass(frozen=True)
class Table(Source):
    """A row is a sample: numbers become inputs (samples, columns) float32; a column of text alone, texts."""

    path: DataPath
    target: str | tuple[str, ...] | None = None  # the column, or columns of numbers; None: there is nothing to predict
    task: Literal["auto", "classification", "regression"] = "auto"  # auto: numbers with a point are quantities
    inputs: tuple[str, ...] | None = None  # columns; None: all that nothing else names
    one_hot: tuple[str, ...] = ()  # inputs that become a column of 0 and 1 for each of their values
    id: str | None = None  # column of stable names; None: rows are numbered
    group: str | None = None  # column of what stays in one split
    split: str | None = None  # column of train, valid or test
    time: str | None = None  # column of what data.test_from compares, numbers or ISO 8601
    missing: Literal["error", "drop", "keep"] | float = "error"  # rows without a value; a number stands for one
    delimiter: str | None = None  # of CSV; None: what the ending says

    @property
    def name(self) -> str:
        """The name of the file or folder."""
        return Path(self.path).name

    def parts(self) -> Iterator[Rows]:
        """Yield rows, parsed by several threads, and where they are."""
        before = 0
        for path in _list_files(Path(self.path)):
            first = 0
            with _explain(str(path)):
                for rows in self._read(path):
                    yield Rows(before, first, str(path), rows)
                    first += len(rows)
            before += first

    def load(self, part: Rows) -> Samples:
        """Return the samples of some rows. Raises BadSourceError, naming column and row, for what is no number."""
        with _explain(part.path):
            return self._load(*part)

    def _load(self, before: int, first: int, path: str, rows: pa.RecordBatch) -> Samples:
        self._check_columns(rows.schema.names, path)
        rows, numbers = self._settle_missing(rows, torch.arange(first, first + len(rows)), path)
        inputs = self._read_inputs(rows, numbers, path)
        return Samples(
            inputs=inputs,
            targets=self._read_targets(rows, numbers, path),
            ids=_read_texts(rows, self.id) if self.id else before + numbers,
            groups=_read_texts(rows, self.group) if self.group else None,
            splits=_read_texts(rows, self.split) if self.split else None,
            times=_read_times(rows, self.time) if self.time else None,
            input_names=tuple(self._name_inputs(self._choose_inputs(rows.schema.names)))
            if isinstance(inputs, Tensor)
            else (),
        )

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Return the sha256 of each file."""
        files = _list_files(Path(self.path))
        return tuple({"name": str(path), "sha256": self._hashes.get(path) or hash_file(path)} for path in files)

    @cached_property
    def _hashes(self) -> dict[Path, str]:
        """The sha256 of files that were read to their ends."""
        return {}

    def _read(self, path: Path) -> Iterator[pa.RecordBatch]:
        ending = path.suffix.lower()
        if ending == ".parquet":
            yield from parquet.ParquetFile(path, memory_map=True).iter_batches(_NUM_ROWS)
        elif ending in (".feather", ".arrow"):
            yield from feather.read_table(path, memory_map=True).to_batches(_NUM_ROWS)
        elif ending in (".jsonl", ".ndjson"):
            yield from json.open_json(path, json.ReadOptions(block_size=_BLOCK_BYTES))
        else:
            delimiter = self.delimiter or _DELIMITERS[ending]
            self._hashes.pop(path, None)  # of an earlier time
            choose_types, note = partial(self._choose_types, path), partial(self._hashes.__setitem__, path)
            yield from read_csv(path, delimiter, choose_types, note)

    def _choose_types(self, path: Path, schema: pa.Schema) -> dict[str, pa.DataType]:
        """Return as what columns of CSV are read: numbers become what inputs are, names stay what they look like."""
        self._check_columns(schema.names, str(path))
        types = dict(zip(schema.names, schema.types, strict=True))
        types |= {name: pa.float32() for name in self._choose_inputs(schema.names) if _is_number(types[name])}
        if self.task == "regression":
            types |= {name: pa.float32() for name in self._list_targets() if _is_number(types[name])}
        return types | {name: pa.string() for name in (self.id, self.group, self.split, *self.one_hot) if name}

    def _choose_inputs(self, columns: Sequence[str]) -> list[str]:
        named = {*self._list_targets(), self.id, self.group, self.split, self.time}
        return [column for column in columns if column not in named] if self.inputs is None else list(self.inputs)

    def _list_targets(self) -> tuple[str, ...]:
        return (self.target,) if isinstance(self.target, str) else self.target or ()

    def _check_columns(self, columns: Sequence[str], path: str) -> None:
        again = sorted({column for column in columns if columns.count(column) > 1})
        if again:
            raise BadSourceError(f"{path} has several columns '{again[0]}'")
        wanted = [
            *(self.inputs or ()),
            *self.one_hot,
            *self._list_targets(),
            self.id,
            self.group,
            self.split,
            self.time,
        ]
        for column in wanted:
            if column is not None and column not in columns:
                known = ", ".join(columns[:10]) + (" …" if len(columns) > 10 else "")
                raise BadSourceError(f"{path} has no column '{column}': there are {known}{_suggest_delimiter(columns)}")
        if not self._choose_inputs(columns):
            raise BadSourceError(f"{path} has no column that is left for inputs")

    def _settle_missing(self, rows: pa.RecordBatch, ids: Tensor, path: str) -> tuple[pa.RecordBatch, Tensor]:
        """Return rows without missing values, and their numbers."""
        for place, field in enumerate(rows.schema):
            if pa.types.is_dictionary(field.type):  # a value may be missing in the dictionary
                rows = rows.set_column(place, field.name, rows.column(place).dictionary_decode())
        inputs = self._choose_inputs(rows.schema.names)
        others = [*self._list_targets(), *filter(None, (self.id, self.group, self.split, self.time))]
        for column in (*inputs, *others):
            is_text = _is_text(rows.schema.field(column).type) and column not in self.one_hot
            may_be_empty = column in inputs or not is_text
            if not _has_missing(rows.column(column), may_be_empty=may_be_empty) or (
                self.missing == "keep" and column in inputs and not is_text
            ):
                continue
            is_missing = _find_missing(rows.column(column), may_be_empty=may_be_empty)
            if self.missing == "drop":
                kept = ~is_missing
                rows, ids = rows.filter(pa.array(kept)), ids[torch.from_numpy(kept)]
            elif self.missing in ("error", "keep") or column not in inputs or is_text:
                row = int(ids[int(is_missing.argmax())])
                value = rows.column(column)[int(is_missing.argmax())].as_py()
                has = f"{value}" if isinstance(value, float) and not math.isnan(value) else "no value"
                hint = "data.source.missing: drop leaves such rows out"
                raise BadSourceError(f"{path} has {has} in column '{column}' of row {row} (from 0); {hint}")
        return rows, ids

    def _read_inputs(self, rows: pa.RecordBatch, numbers: Tensor, path: str) -> Any:
        columns = self._choose_inputs(rows.schema.names)
        if len(columns) == 1 and not self.one_hot and _is_text(rows.schema.field(columns[0]).type):
            return _read_texts(rows, columns[0])
        matrix = np.empty((len(self._name_inputs(columns)), len(rows)), dtype=np.float32)  # turned at once: faster
        place = 0
        for column in columns:
            if column in self.one_hot:
                values = self._values[column]
                found = compute.index_in(
                    pa.array(_read_texts(rows, column), pa.string()), value_set=pa.array(values, pa.string())
                )
                width = len(values)
                matrix[place : place + width] = found.fill_null(-1).to_numpy() == np.arange(width)[:, None]
            else:
                width, fill = 1, self.missing if isinstance(self.missing, int | float) else None
                matrix[place] = _read_numbers(rows, numbers, column, path, fill)
            place += width
        return torch.from_numpy(matrix.T.copy())

    def _name_inputs(self, columns: Sequence[str]) -> list[str]:
        """Return what each number of a sample is called."""
        named = (
            [f"{name}={value}" for value in self._values[name]] if name in self.one_hot else [name] for name in columns
        )
        return [name for names in named for name in names]

    @cached_property
    def _values(self) -> Mapping[str, list[str]]:
        """The values of each column that becomes indicators, by alphabet: the files are read once more for them."""
        found: dict[str, set[str]] = {column: set() for column in self.one_hot}
        for path in _list_files(Path(self.path)) if self.one_hot else ():
            with _explain(str(path)):
                for rows in self._read(path):
                    for column, values in found.items():
                        values.update(text for text in _read_texts(rows, column) if text is not None)
                        if len(values) > _MAX_VALUES:
                            hint = "data.source.one_hot is for columns of few values"
                            raise BadSourceError(
                                f"{path}: column '{column}' has more than {_MAX_VALUES} values; {hint}"
                            )
        return {column: sorted(values) for column, values in found.items()}

    def _read_targets(self, rows: pa.RecordBatch, numbers: Tensor, path: str) -> Tensor | Sequence[str]:
        targets = self._list_targets()
        if not targets:
            return torch.zeros(len(rows), 0)
        kind = rows.schema.field(targets[0]).type
        is_quantity = pa.types.is_floating(kind) if self.task == "auto" else self.task == "regression"
        if isinstance(self.target, str) and not is_quantity:
            return _read_texts(rows, self.target)
        values = [_read_numbers(rows, numbers, column, path, None) for column in targets]
        stacked = torch.from_numpy(np.stack(values, axis=1).astype(np.float32))
        return stacked.squeeze(1) if isinstance(self.target, str) else stacked


def _list_files(path: Path) -> list[Path]:
    """Return the files of a table, in alphabetical order. Raises BadSourceError where there are none that we know."""
    if not path.exists():
        raise BadSourceError(f"there is no '{path}'")
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    files = [file for file in files if not file.name.startswith((".", "_"))]
    for file in files if path.is_dir() else ():
        check_link(str(path), str(file))
    strange = [file for file in files if file.suffix.lower() not in _KINDS]
    if strange or not files:
        found = f"'{strange[0]}'" if strange else f"nothing in '{path}'"
        raise BadSourceError(f"{found} is a table: wanted files that end in {', '.join(_KINDS)}")
    return files


@contextmanager
def _explain(path: str) -> Iterator[None]:
    """Turn what pyarrow raises for a file into one line."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadSourceError(f"{path} cannot be read: {' '.join(str(error).split())[:300]}") from error


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _has_missing(column: pa.Array, *, may_be_empty: bool = True) -> bool:
    """Say whether a value is absent, or no finite number; a text may be empty, or is absent then."""
    if column.null_count:
        return True
    if pa.types.is_floating(column.type):
        return not _are_finite(column).all()
    return not may_be_empty and _is_text(column.type) and bool(_find_missing(column, may_be_empty=False).any())


def _are_finite(column: pa.Array) -> np.ndarray:
    """Say which numbers are finite as float32."""
    with np.errstate(over="ignore"):
        finite: np.ndarray = np.isfinite(column.to_numpy(zero_copy_only=False).astype(np.float32, copy=False))
    return finite


def _find_missing(column: pa.Array, *, may_be_empty: bool = True) -> np.ndarray:
    """Return which values are absent, or no finite numbers; a text may be empty, or is absent then."""
    missing: np.ndarray = column.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(column.type):
        missing = missing | ~_are_finite(column)
    elif not may_be_empty and _is_text(column.type):
        missing = missing | compute.equal(column, "").fill_null(True).to_numpy(zero_copy_only=False)
    return missing


def _read_numbers(rows: pa.RecordBatch, places: Tensor, column: str, path: str, fill: float | None) -> np.ndarray:
    """Return a column. Raises BadSourceError for what is no number, naming the first one by its place in the file."""
    values = rows.column(column)
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    if not _is_number(values.type):
        hint = "data.source.inputs names the columns to take, data.source.one_hot those of few values"
        texts = _read_texts(rows, column) if _is_text(values.type) else []
        found = next((place for place, text in enumerate(texts) if not _is_number_or_missing(text)), None)
        odd = "" if found is None else f", as '{texts[found][:50]}' in row {int(places[found])} (from 0)"
        raise BadSourceError(f"{path}: column '{column}' holds {values.type}, no numbers{odd}; {hint}")
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    numbers: np.ndarray = values.to_numpy(zero_copy_only=False)
    return numbers if fill is None else np.where(_find_missing(values), fill, numbers)


def _is_number_or_missing(text: str | None) -> bool:
    if text is None or text in ("", *csv.ConvertOptions().null_values):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _suggest_delimiter(columns: Sequence[str]) -> str:
    """Return a hint where the names of columns hold what may part them."""
    found = next((mark for mark in ";\t|," if len(columns) == 1 and mark in columns[0]), "")
    return f"; data.source.delimiter says what parts them: {found!r}?" if found else ""


def _read_texts(rows: pa.RecordBatch, column: str) -> list[str]:
    """Return values as texts: 3 and not 3.0 where they are whole numbers."""
    values = rows.column(column)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    try:
        texts: list[str] = (values if _is_text(values.type) else compute.cast(values, pa.string())).to_pylist()
    except (pa.ArrowInvalid, UnicodeDecodeError):
        raise pa.ArrowInvalid(f"column '{column}' holds what is no UTF-8") from None
    return texts


def _read_times(rows: pa.RecordBatch, column: str) -> list[Any]:
    """Return numbers as they are, and moments as text of ISO 8601, which compares as they do."""
    values = rows.column(column)
    return values.to_pylist() if _is_number(values.type) else _read_texts(rows, column)
