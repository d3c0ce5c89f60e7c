"""Datasets as the library `datasets` has them: of a folder, of files, or of the hub; optional: the extra `huggingface`.

No code of a dataset is run.
"""

import hashlib
import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from torch import Tensor

from common.config import DataPath, PositiveInt
from common.dataset import hash_file
from common.image_files import decode_images
from common.samples import BadSourceError, Samples, Source
from common.sources.table import Rows, Table

_NUM_ROWS = 2**12  # that are read at once
_NUM_IMAGES = 2**8
_SPLITS = {"train": "train", "validation": "valid", "valid": "valid", "val": "valid", "dev": "valid", "test": "test"}


class Part(NamedTuple):
    """Some rows of one split."""

    split: str  # as the dataset calls it
    as_split: str | None  # as we do, where there are several
    first: int
    rows: pa.RecordBatch
    labels: Mapping[str, list[str]]  # what the numbers of a column stand for
    image: str | None  # the column of inputs, where these are images


@dataclass(frozen=True)
class HuggingFace(Source):
    """A row is a sample: its columns as those of `common.sources.table`; images become (channels, height, width) uint8.

    Splits of the dataset are kept where there are several.
    """

    path: DataPath | None = None  # a folder that `save_to_disk` wrote; with `format`, a file or folder of that
    format: Literal["csv", "json", "parquet", "arrow", "text"] | None = None
    repository: str | None = None  # of the hub, instead of a path
    subset: str | None = None  # one of the repository's configurations
    revision: str | None = None  # of the repository: a commit, a branch or a tag
    splits: Mapping[str, Literal["train", "valid", "test"]] | None = None  # by the dataset's name; others are left out
    inputs: str | tuple[str, ...] | None = None  # columns; None: the image, or all that nothing else names
    target: str | tuple[str, ...] | None = None
    task: Literal["auto", "classification", "regression"] = "auto"
    id: str | None = None  # column of stable names; None: rows are numbered
    group: str | None = None
    time: str | None = None
    missing: Literal["error", "drop"] | float = "error"
    colours: Literal["rgb", "grey"] = "rgb"  # of images
    size: PositiveInt | None = None  # height and width of images; None: all have the same already

    @property
    def name(self) -> str:
        """The name of the folder, file or repository."""
        return self.repository or Path(self.path or "").name

    @property
    def repeats(self) -> bool:  # type: ignore[override]
        """Say whether the rows are the same the next time: a repository changes, but for a commit of it."""
        return self.repository is None or bool(re.fullmatch("[0-9a-f]{40}", self.revision or ""))

    def parts(self) -> Iterator[Part]:
        """Yield some rows. Raises BadSourceError, with what the library says, where there are none to read."""
        with self._explain():
            opened = self._open()
            chosen = self._choose_splits(list(opened))
            for name, split in chosen.items():
                yield from self._read(opened[name], name, split if len(chosen) > 1 else None)

    def load(self, part: Part) -> Samples:
        """Return the samples of some rows. Raises BadSourceError, naming column and row, for what is no number."""
        rows, where = part.rows, f"{self.name}, split {part.split}"
        for column, names in part.labels.items():
            rows = _set_column(rows, column, _name_labels(rows.column(column), names))
        if part.image:
            rows = _set_column(rows, part.image, pa.array(map(str, range(part.first, part.first + len(rows)))))
        samples = self._make_table(part).load(Rows(0, part.first, where, rows))
        if part.image:
            samples = samples._replace(inputs=self._decode(part, samples.inputs))
        if part.as_split and isinstance(samples.ids, Tensor):
            samples = samples._replace(ids=[f"{part.split}/{number}" for number in samples.ids.tolist()])
        return samples._replace(
            classes=tuple(part.labels.get(str(self.target), ())),
            splits=[part.as_split] * len(samples.ids) if part.as_split else None,
            digests=_hash_rows(part.rows, len(samples.ids)) if self.repository else None,
        )

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Return the sha256 of each file; of a repository, that of its rows is recorded."""
        if not self.path:
            return ()
        root = Path(self.path)
        files = [root] if root.is_file() else sorted(file for file in root.rglob("*") if file.is_file())
        return tuple({"name": str(file), "sha256": hash_file(file)} for file in files)

    def _open(self) -> Mapping[str, Any]:
        """Return the dataset of each split."""
        datasets = _import_datasets()
        if (self.path is None) == (self.repository is None):
            raise BadSourceError("wanted one of data.source.path and data.source.repository")
        if self.path is None:
            loaded = datasets.load_dataset(self.repository, self.subset, revision=self.revision, streaming=True)
        elif not Path(self.path).exists():
            raise BadSourceError(f"there is no '{self.path}'")
        elif self.format is None:
            loaded = datasets.load_from_disk(self.path)
        else:
            place = {"data_files" if Path(self.path).is_file() else "data_dir": self.path}
            loaded = datasets.load_dataset(self.format, **place, streaming=True)
        return loaded if isinstance(loaded, Mapping) else {str(loaded.split or "train"): loaded}

    def _choose_splits(self, names: list[str]) -> dict[str, str]:
        """Return our name of each split that is read."""
        known = ", ".join(names)
        if self.splits is not None:
            if absent := [name for name in self.splits if name not in names]:
                raise BadSourceError(f"{self.name} has no split '{absent[0]}': there are {known}")
            return dict(self.splits)
        if len(names) == 1:
            return {names[0]: "train"}
        if strange := [name for name in names if name not in _SPLITS]:
            hint = "data.source.splits says which are train, valid and test"
            raise BadSourceError(f"{self.name} has a split '{strange[0]}': {hint} of {known}")
        return {name: _SPLITS[name] for name in names}

    def _read(self, dataset: Any, split: str, as_split: str | None) -> Iterator[Part]:
        features = dataset.features or {}
        labels = {column: list(kind.names) for column, kind in features.items() if type(kind).__name__ == "ClassLabel"}
        image = self._find_image([column for column, kind in features.items() if type(kind).__name__ == "Image"])
        first = 0
        for table in dataset.with_format("arrow").iter(_NUM_IMAGES if image else _NUM_ROWS):
            for rows in table.combine_chunks().to_batches():
                present = {column: names for column, names in labels.items() if column in rows.schema.names}
                yield Part(split, as_split, first, rows, present, image)
                first += len(rows)

    def _find_image(self, images: list[str]) -> str | None:
        """Return the column of images that inputs are, None where they are none."""
        inputs = (self.inputs,) if isinstance(self.inputs, str) else self.inputs
        if inputs is None and len(images) > 1:
            raise BadSourceError(
                f"{self.name} has images in {', '.join(images)}: data.source.inputs says which to take"
            )
        chosen = [column for column in images if inputs is None or column in inputs]
        if chosen and inputs and len(inputs) > 1:
            raise BadSourceError(
                f"{self.name}: '{chosen[0]}' holds images, which cannot be inputs beside other columns"
            )
        return chosen[0] if chosen else None

    def _make_table(self, part: Part) -> Table:
        inputs = (self.inputs,) if isinstance(self.inputs, str) else self.inputs
        shared = {field: getattr(self, field) for field in ("target", "task", "id", "group", "time", "missing")}
        return Table(self.name, inputs=(part.image,) if part.image else inputs, **shared)

    def _decode(self, part: Part, numbers: list[str]) -> Tensor:
        """Return the images of the rows with these numbers."""
        column = part.rows.column(part.image)
        contents = [column[int(number) - part.first].as_py() for number in numbers]
        names = [f"{part.split}/{number}" for number in numbers]
        for name, content in zip(names, contents, strict=True):
            if not content or not content["bytes"]:
                raise BadSourceError(f"{self.name}: row '{name}' has no image in column '{part.image}'")
        files = ((name, content["bytes"]) for name, content in zip(names, contents, strict=True))
        return decode_images(files, self.colours, self.size)

    @contextmanager
    def _explain(self) -> Iterator[None]:
        """Turn what the library raises into one line."""
        try:
            yield
        except BadSourceError:
            raise
        except Exception as error:  # of arrow, pandas, files, the hub
            text = " ".join(str(error).split())[:300]
            hint = "; what `save_to_disk` wrote can be read without the hub" if self.repository else ""
            raise BadSourceError(f"{self.name} cannot be read: {text}{hint}") from error


def _set_column(rows: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    return rows.set_column(rows.schema.names.index(name), name, values)


def _name_labels(numbers: pa.Array, names: list[str]) -> pa.Array:
    """Return what numbers stand for, and no value for -1, which says that nobody knows."""
    found = [names[number] if number is not None and number >= 0 else None for number in numbers.to_pylist()]
    return pa.array(found, pa.string())


def _hash_rows(rows: pa.RecordBatch, num_kept: int) -> list[str]:
    """Return the sha256 of each row that is kept; where some are left out, that of all rows for each."""
    digests = [hashlib.sha256(repr(row).encode()).hexdigest() for row in rows.to_pylist()]
    if num_kept == len(digests):
        return digests
    return [hashlib.sha256("".join(digests).encode()).hexdigest()] * num_kept


def _import_datasets() -> Any:
    try:
        datasets = importlib.import_module("datasets")
    except ModuleNotFoundError as error:
        wanted = "make extras NAMES=huggingface"
        raise BadSourceError(f"this source wants the package 'datasets'; {wanted}") from error
    datasets.disable_progress_bars()
    return datasets
