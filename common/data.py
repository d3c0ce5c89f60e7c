"""The data component: any source becomes the dataset of `common.dataset`, written part by part.

Override `read` for samples from elsewhere, `transform` for another preparation of the same samples.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from common.addresses import parse_address
from common.config import (
    Fraction,
    NonNegativeInt,
    PositiveInt,
    SourceChoice,
    TransformChoice,
    build_choice,
    replace_paths,
)
from common.dataset import SPLITS, Metadata
from common.dataset_writer import DatasetWriter
from common.expectations import Expectations, check_expectations
from common.hashing import find_keys, hash_rows
from common.joining import Joined
from common.likeness import find_likenesses
from common.local_copies import LocalCopies
from common.part_states import PartStates
from common.prefetch import ahead
from common.samples import Affine, BadSourceError, Fitted, Learned, Samples, Source, Transform
from common.splits import Strata, assign_splits
from common.workers import map_in_order

__all__ = ["Config", "DataModule", "Samples"]

log = logging.getLogger("force")

_NUM_AHEAD = 2  # parts that are read while one is written


@dataclass(frozen=True)
class Config:
    """Params of the section `data`."""

    source: SourceChoice | None = None  # a module of common.sources, and the arguments of its class
    sources: Mapping[str, SourceChoice] = field(default_factory=dict)  # instead: several, joined under these names
    transforms: tuple[TransformChoice, ...] = ()  # of common.transforms, in this order
    valid_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    split_seed: int = 0
    split_by: Literal["id", "group"] = "id"  # what the hash is of; samples of a group stay together
    stratify: bool = False  # each class has its share in every split; the source is read once more
    folds: PositiveInt | None = None  # test is one fold of so many; the fractions are then of the others
    fold: NonNegativeInt = 0
    valid_from: float | str | None = None  # times: what is not before is for validation
    test_from: float | str | None = None
    duplicates: Literal["error", "warn", "allow"] = "error"  # the same inputs in two splits
    expect: Expectations | None = None  # what prepared data have to be like


class DataModule:
    """Prepares a dataset: read → transform → split by a hash of the sample ids → write."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def name(self) -> str:
        """What the data are called in metadata."""
        return self.source.name if self._has_source else type(self).__name__

    @cached_property
    def copies(self) -> LocalCopies:
        """What the params name, and is not a file or folder of this machine."""
        return LocalCopies()

    @cached_property
    def source(self) -> Source:
        """The source that the params name. Raises BadSourceError where they name none."""
        if not self._has_source:
            raise BadSourceError("there is no source: set data.source, or override `read` in data.py")
        if self.config.source and self.config.sources:
            raise BadSourceError("there are data.source and data.sources: set one of them to null")
        if self.config.source:
            return _build_source(self.config.source).with_paths(self.copies.find)
        sources = {name: _build_source(choice) for name, choice in self.config.sources.items()}
        return Joined({name: source.with_paths(self.copies.find) for name, source in sources.items()})

    @cached_property
    def transforms(self) -> list[Transform]:
        """The transforms that the params name."""
        built = [build_choice("common.transforms", Transform, choice) for choice in self.config.transforms]
        return [replace_paths(transform, self.copies.find) for transform in built]

    def read(self) -> Samples | Iterable[Samples]:
        """Return every sample of the source, or yield them in parts; by default what the params say is read.

        The parts are the same every time: a preparation that was killed reads all again, and leaves out those that it
        had done.
        """
        return map(self.source.load, self.source.parts())

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Return name and sha256 of what was read, for the metadata."""
        return self.source.describe() if self._has_source else ()

    @property
    def _has_source(self) -> bool:
        return bool(self.config.source or self.config.sources)

    def transform(self, samples: Samples) -> Samples:
        """Return samples as the model is to see them; by default what the params say is done. May see parts alone."""
        return _apply(self.transforms, samples)

    @property
    def repeats(self) -> bool:
        """Whether the same samples come again in the same parts, so that a preparation may go on where it was."""
        choices = [*self.config.sources.values(), *([self.config.source] if self.config.source else [])]
        sources = [_build_source(choice) for choice in choices]
        paths: list[str] = []
        for source in sources:
            source.with_paths(partial(_note, paths))
        for choice in self.config.transforms:
            replace_paths(build_choice("common.transforms", Transform, choice), partial(_note, paths))
        return all(source.repeats for source in sources) and all(map(_is_settled, paths))

    def prepare(
        self, folder: Path, states: PartStates | None = None, report: Callable[[int, int | None], None] | None = None
    ) -> Metadata:
        """Write the dataset into `folder`, which must exist and be empty.

        With `states`, the folder may hold what a preparation left that was killed, and this one goes on there. `report`
        hears after each part how many samples of the source are read, and of how many, where the source knows.
        """
        if states:
            self.copies.remove_stale(folder)
        try:
            with self.copies.beside(folder):
                return self._prepare(folder, states, report)
        finally:  # they know where copies were
            for name in ("source", "transforms"):
                vars(self).pop(name, None)

    def _prepare(
        self, folder: Path, states: PartStates | None, report: Callable[[int, int | None], None] | None
    ) -> Metadata:
        is_fitted = self._is_fitted()
        with DatasetWriter.resume(folder, states) if states else DatasetWriter(folder) as writer:
            if writer.num_parts:
                log.info("the preparation was interrupted: it continues at sample %d", writer.num_read)
            if not writer.is_settled:
                self._write_parts(writer, report)
            made_by = f"{type(self).__module__}.{type(self).__qualname__}"
            fit = self._fit if is_fitted else None
            metadata = writer.finish(
                self.name, made_by, self._describe, self._describe_transforms, fit, self._judge_duplicates
            )
            if self.config.expect:
                check_expectations(folder, self.config.expect)
            return metadata

    def _write_parts(self, writer: DatasetWriter, report: Callable[[int, int | None], None] | None) -> None:
        total = None if self._reads_itself or not report else self.source.count()
        strata = self._find_strata() if self.config.stratify else None
        self._learn(strata)
        for num_read, samples in self._read_parts(self._finish, writer.num_parts):
            keys = find_keys(samples.ids)
            writer.add(samples, keys, assign_splits(samples, keys, self.config, strata))
            writer.end_part(num_read)
            if report:
                report(writer.num_read, total)

    def _describe(self) -> tuple[Mapping[str, Any], ...]:
        return self.copies.describe(self.describe())

    @property
    def _reads_itself(self) -> bool:
        """Whether `read` is overridden."""
        return type(self).read is not DataModule.read

    def _is_fitted(self) -> bool:
        """Say whether a transform wants all train samples. Raises BadSourceError where it is not the last one."""
        fitted = [
            place
            for place, transform in enumerate(self.transforms)
            if isinstance(transform, Fitted) and not transform.is_complete
        ]
        if fitted and fitted[0] < len(self.transforms) - 1:
            name = self.config.transforms[fitted[0]]["name"]
            raise BadSourceError(f"'{name}' has to be the last of data.transforms")
        return bool(fitted)

    def _fit(self, statistics: Mapping[str, Tensor]) -> Affine:
        fitted = cast(Fitted, self.transforms[-1]).fit(statistics)
        self.transforms[-1] = fitted
        return fitted.affine()

    def _describe_transforms(self) -> list[Mapping[str, Any]]:
        chosen = zip(self.config.transforms, self.transforms, strict=True)
        return [{"name": choice["name"], **transform.describe()} for choice, transform in chosen]

    def _find_strata(self) -> Strata:
        strata = Strata(self.config)
        for _, samples in self._read_parts(_drop_inputs):
            strata.add(samples, find_keys(samples.ids))
        strata.finish()
        return strata

    def _learn(self, strata: Strata | None) -> None:
        """Complete the transforms that have to see train samples, each with those that the ones before it give."""
        for place, transform in enumerate(self.transforms):
            if isinstance(transform, Learned) and not transform.is_complete:
                self.transforms[place] = transform.learn(self._read_train(self.transforms[:place], strata))

    def _read_train(self, transforms: list[Transform], strata: Strata | None) -> Iterator[Samples]:
        for _, samples in self._read_parts(partial(_apply, transforms)):
            splits = assign_splits(samples, find_keys(samples.ids), self.config, strata)
            yield samples.select((splits == SPLITS.index("train")).nonzero().flatten())

    def _read_parts(self, finish: Callable[[Samples], Samples], num_done: int = 0) -> Iterator[tuple[int, Samples]]:
        """Yield for each part, but the first ones, how many samples it has in the source, and what `finish` returns.

        Where there is much to decode, processes do both; else a thread reads what comes next.
        """
        if self._reads_itself:
            read = self.read()
            whole = [read] if isinstance(read, Samples) else cast(Iterable[Samples], read)
            yield from ((len(samples.ids), finish(samples)) for samples in islice(whole, num_done, None))
            return
        parts = islice(self.source.parts(), num_done, None)
        load = partial(_load, self.source, finish)
        if self.source.decodes:
            yield from ((num_read, _unpack(fields)) for num_read, fields in map_in_order(load, parts))
            return
        for _, part in ahead(enumerate(parts), _NUM_AHEAD):
            num_read, fields = load(part)
            yield num_read, _unpack(fields)

    def _finish(self, samples: Samples) -> Samples:
        if self.config.duplicates == "allow":
            return self.transform(samples)
        texts = None if isinstance(samples.inputs, Tensor) else find_likenesses(samples.inputs)
        samples = self.transform(samples)
        if not isinstance(samples.inputs, Tensor):
            return samples
        likenesses = find_likenesses(samples.inputs) if texts is None else texts
        if likenesses is not None and len(likenesses) != len(samples.inputs):  # a transform left texts out
            likenesses = torch.zeros(len(samples.inputs), dtype=torch.int64)
        return samples._replace(fingerprints=hash_rows(samples.inputs), likenesses=likenesses)

    def _judge_duplicates(self, writer: DatasetWriter) -> None:
        """Raise BadSourceError, or warn, where the same inputs are in two splits."""
        if self.config.duplicates == "allow":
            return
        if alike := writer.find_alike():
            log.warning("samples of different splits look alike: %s", _list_pairs(alike))
        pairs = writer.find_duplicates()
        if not pairs:
            return
        made = " after data.transforms" if self.config.transforms else ""
        found = f"samples of different splits have the same inputs{made}: {_list_pairs(pairs)}"
        if self.config.duplicates == "warn":
            log.warning(found)
            return
        raise BadSourceError(f"{found}; data.duplicates: warn accepts it, data.split_by: group keeps groups together")


def _list_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(" and ".join(pair) for pair in pairs)


def _build_source(choice: SourceChoice) -> Source:
    source: Source = build_choice("common.sources", Source, choice)
    return source


def _note(paths: list[str], path: str) -> str:
    paths.append(path)
    return path


def _is_settled(path: str) -> bool:
    """Say whether a path leads to the same the next time: what is behind a URL may change, unless it is pinned."""
    address = parse_address(path)
    return not address.scheme or bool(address.sha256)


def _drop_inputs(samples: Samples) -> Samples:
    return samples._replace(inputs=samples.ids)


def _apply(transforms: Iterable[Transform], samples: Samples) -> Samples:
    for transform in transforms:
        samples = transform(samples)
    return samples


def _load(source: Source, finish: Callable[[Samples], Samples], part: Any) -> tuple[int, dict[str, Any]]:
    """Return size and fields of a part, in a process of its own: arrays are pickled faster than tensors."""
    read = source.load(part)
    fields = finish(read)._asdict()
    return len(read.ids), {name: v.numpy() if isinstance(v, Tensor) else v for name, v in fields.items()}


def _unpack(fields: Mapping[str, Any]) -> Samples:
    tensors = {name: torch.from_numpy(value) for name, value in fields.items() if isinstance(value, np.ndarray)}
    return Samples(**{**fields, **tensors})
