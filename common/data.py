"""The data component: any source becomes the dataset of `common.dataset`, written part by part.

Override `read` for samples from elsewhere, `transform` for another preparation of the same samples.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from common.config import (
    Fraction,
    NonNegativeInt,
    PositiveInt,
    SourceChoice,
    TransformChoice,
    build_choice,
    replace_paths,
)
from common.dataset import Metadata
from common.dataset_writer import DatasetWriter
from common.hashing import find_keys, hash_rows
from common.local_copies import LocalCopies
from common.samples import BadSourceError, Fitted, Samples, Source, Transform
from common.splits import assign_splits
from common.workers import map_in_order

__all__ = ["Config", "DataModule", "Samples"]

log = logging.getLogger("force")


@dataclass(frozen=True)
class Config:
    """Params of the section `data`."""

    source: SourceChoice | None = None  # a module of common.sources, and the arguments of its class
    transforms: tuple[TransformChoice, ...] = ()  # of common.transforms, in this order
    valid_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    split_seed: int = 0
    split_by: Literal["id", "group"] = "id"  # what the hash is of; samples of a group stay together
    folds: PositiveInt | None = None  # test is one fold of so many; the fractions are then of the others
    fold: NonNegativeInt = 0
    valid_from: float | str | None = None  # times: what is not before is for validation
    test_from: float | str | None = None
    duplicates: Literal["error", "warn", "allow"] = "error"  # the same inputs in two splits


class DataModule:
    """Prepares a dataset: read → transform → split by a hash of the sample ids → write."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def name(self) -> str:
        """What the data are called in metadata."""
        return self.source.name if self.config.source else type(self).__name__

    @cached_property
    def copies(self) -> LocalCopies:
        """What the params name, and is not a file or folder of this machine."""
        return LocalCopies()

    @cached_property
    def source(self) -> Source:
        """The source that the params name. Raises BadSourceError where they name none."""
        if not self.config.source:
            raise BadSourceError("there is no source: set data.source, or override `read` in data.py")
        source: Source = build_choice("common.sources", Source, self.config.source)
        return source.with_paths(self.copies.find)

    @cached_property
    def transforms(self) -> list[Transform]:
        """The transforms that the params name."""
        built = [build_choice("common.transforms", Transform, choice) for choice in self.config.transforms]
        return [replace_paths(transform, self.copies.find) for transform in built]

    def read(self) -> Samples | Iterable[Samples]:
        """Return every sample of the source, or yield them in parts; by default what the params say is read."""
        return map(self.source.load, self.source.parts())

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Return name and sha256 of what was read, for the metadata."""
        return self.source.describe() if self.config.source else ()

    def transform(self, samples: Samples) -> Samples:
        """Return samples as the model is to see them; by default what the params say is done. May see parts alone."""
        for transform in self.transforms:
            samples = transform(samples)
        return samples

    def prepare(self, folder: Path) -> Metadata:
        """Write the dataset into `folder`, which must exist and be empty."""
        try:
            with self.copies.beside(folder):
                return self._prepare(folder)
        finally:  # they know where copies were
            for name in ("source", "transforms"):
                vars(self).pop(name, None)

    def _prepare(self, folder: Path) -> Metadata:
        fitted = self._find_fitted()
        with DatasetWriter(folder) as writer:
            for samples in self._read_parts():
                keys = find_keys(samples.ids)
                writer.add(samples, keys, assign_splits(samples, keys, self.config))
            made_by = f"{type(self).__module__}.{type(self).__qualname__}"
            metadata = writer.finish(self.name, made_by, self._describe, fitted.fit if fitted else None)
            self._judge_duplicates(writer)
            return metadata

    def _describe(self) -> tuple[Mapping[str, Any], ...]:
        return self.copies.describe(self.describe())

    def _find_fitted(self) -> Fitted | None:
        """Return the transform that wants all train samples. Raises BadSourceError where it is not the last one."""
        fitted = [place for place, transform in enumerate(self.transforms) if isinstance(transform, Fitted)]
        if fitted and fitted[0] < len(self.transforms) - 1:
            name = self.config.transforms[fitted[0]]["name"]
            raise BadSourceError(f"'{name}' has to be the last of data.transforms")
        return cast(Fitted, self.transforms[-1]) if fitted else None

    def _read_parts(self) -> Iterator[Samples]:
        if type(self).read is DataModule.read and self.source.decodes:
            yield from map(_unpack, map_in_order(partial(_load, self, self.source), self.source.parts()))
            return
        read = self.read()
        yield from map(self._finish, [read] if isinstance(read, Samples) else cast(Iterable[Samples], read))

    def _finish(self, samples: Samples) -> Samples:
        samples = self.transform(samples)
        if self.config.duplicates == "allow" or not isinstance(samples.inputs, Tensor):
            return samples
        return samples._replace(fingerprints=hash_rows(samples.inputs))

    def _judge_duplicates(self, writer: DatasetWriter) -> None:
        """Raise BadSourceError, or warn, where the same inputs are in two splits."""
        if self.config.duplicates == "allow":
            return
        pairs = writer.find_duplicates()
        if not pairs:
            return
        found = f"samples of different splits have the same inputs: {', '.join(' and '.join(pair) for pair in pairs)}"
        if self.config.duplicates == "warn":
            log.warning(found)
            return
        raise BadSourceError(f"{found}; data.duplicates: warn accepts it, data.split_by: group keeps groups together")


def _load(module: DataModule, source: Source, part: Any) -> dict[str, Any]:
    """Return the fields of a part, in a process of its own: arrays are pickled faster than tensors."""
    samples = module._finish(source.load(part))._asdict()
    return {name: value.numpy() if isinstance(value, Tensor) else value for name, value in samples.items()}


def _unpack(fields: Mapping[str, Any]) -> Samples:
    tensors = {name: torch.from_numpy(value) for name, value in fields.items() if isinstance(value, np.ndarray)}
    return Samples(**{**fields, **tensors})
