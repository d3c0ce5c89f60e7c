"""Arrays: inputs and targets in .npy, .npz, .safetensors or .pt, in files of their own or as members of one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from common.array_files import Array, Rows, list_arrays
from common.config import DataPath
from common.dataset import describe_dtype, hash_file
from common.samples import BadSourceError, Samples, Source

_BLOCK_BYTES = 2**24  # of inputs that are read at once
_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64)


class Pair(NamedTuple):
    """Where the inputs and targets of a split are."""

    inputs: str
    targets: str | None  # None: there is nothing to predict
    input_name: str | None
    target_name: str | None

    def open(self) -> tuple[Array, Array | None]:
        """Return both arrays. Raises BadSourceError where they are not of the same length."""
        other = self.target_name if self.inputs == self.targets else None
        inputs = _choose(self.inputs, "input_name", self.input_name, other)
        if self.targets is None:
            return inputs, None
        targets = _choose(self.targets, "target_name", self.target_name, None)
        if inputs.shape[0] != targets.shape[0]:
            counts = f"{inputs.shape[0]} samples, and {self.targets} {targets.shape[0]} targets"
            raise BadSourceError(f"{self.inputs} has {counts}")
        return inputs, targets


class Part(NamedTuple):
    """Some rows of inputs, with their targets."""

    split: str | None
    first: int  # number of the first of them, of all samples
    row: int  # and in its own file
    pair: Pair
    rows: Rows
    answers: Rows | None


@dataclass(frozen=True)
class Arrays(Source):
    """A row is a sample, its place the id. Fractions and bools become float32, whole numbers int64, uint8 stays."""

    inputs: DataPath  # .npy, .npz, .safetensors, .pt
    targets: DataPath | None = None  # None: `target_name` is in the file of inputs, or there is nothing to predict
    input_name: str | None = None  # which array of the file; None: the only one that is no target
    target_name: str | None = None
    test_inputs: DataPath | None = None  # the same of a test split, in files of their own or under other names
    test_targets: DataPath | None = None
    test_input_name: str | None = None
    test_target_name: str | None = None
    task: Literal["auto", "classification", "regression"] = "auto"  # auto: numbers with a point are quantities
    classes: tuple[str, ...] = ()  # what whole numbers from 0 stand for

    @property
    def name(self) -> str:
        """The name of the file of inputs."""
        return Path(self.inputs).name

    def parts(self) -> Iterator[Part]:
        """Yield some rows of inputs and the targets of these, those for training first."""
        first = 0
        pairs = self._list_pairs()
        for split, pair in pairs.items():
            inputs, targets = pair.open()
            num = max(1, _BLOCK_BYTES // inputs.row_bytes)
            start = first
            for rows, answers in zip(inputs.read(num), targets.read(num) if targets else repeat(None), strict=False):
                yield Part(split if len(pairs) > 1 else None, first, first - start, pair, rows, answers)
                first += len(rows)

    def count(self) -> int:
        """Return the number of rows."""
        return sum(pair.open()[0].shape[0] for pair in self._list_pairs().values())

    def load(self, part: Part) -> Samples:
        """Return the samples of some rows. Raises BadSourceError, naming file and row, for what is no number."""
        num = len(part.rows)
        inputs = part.rows if isinstance(part.rows, list) else _settle(part.rows, part.row, part.pair.inputs)
        return Samples(
            inputs=inputs,
            targets=torch.zeros(num, 0) if part.answers is None else self._read_targets(part),
            ids=torch.arange(part.first, part.first + num),
            classes=self.classes,
            splits=[part.split] * num if part.split else None,
        )

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Return the sha256 of each file."""
        paths = (path for pair in self._list_pairs().values() for path in (pair.inputs, pair.targets))
        return tuple({"name": path, "sha256": hash_file(Path(path))} for path in dict.fromkeys(filter(None, paths)))

    def _list_pairs(self) -> dict[str, Pair]:
        """Return where inputs and targets are, by split."""
        pairs = {"train": _pair(self.inputs, self.targets, self.input_name, self.target_name)}
        if self.test_inputs is None and self.test_input_name is None:
            return pairs
        inputs = self.test_inputs or self.inputs
        targets = self.test_targets or (None if self.test_inputs else self.targets)
        names = self.test_input_name or self.input_name, self.test_target_name or self.target_name
        return pairs | {"test": _pair(inputs, targets, *names)}

    def _read_targets(self, part: Part) -> Tensor | Sequence[str]:
        """Return class indices where the classes are known, labels where not; of several dimensions, numbers."""
        answers, first, path = part.answers, part.row, part.pair.targets or part.pair.inputs
        assert answers is not None
        if isinstance(answers, list):
            if self.task == "regression":
                raise BadSourceError(f"{path} holds texts, no quantities")
            return answers
        if answers.dtype not in (*_INTEGERS, torch.bool) or self.task == "regression":
            if self.task == "classification":
                raise BadSourceError(f"{path} holds {describe_dtype(answers.dtype)}, wanted whole numbers or texts")
            quantities = _settle(answers, first, path)
            return quantities if quantities.is_floating_point() else quantities.float()
        if answers.ndim == 2 and answers.shape[1] == 1:
            answers = answers[:, 0]
        if answers.ndim > 1:
            return answers.float() if answers.dtype == torch.bool else _widen(answers, first, path)
        if self.classes:
            return _widen(answers, first, path)
        return [str(label).lower() for label in answers.tolist()]


def _pair(inputs: str, targets: str | None, input_name: str | None, target_name: str | None) -> Pair:
    """Return where both are: targets with a name, but no file of their own, are in that of the inputs."""
    return Pair(inputs, targets or (inputs if target_name else None), input_name, target_name)


def _choose(path: str, param: str, name: str | None, other: str | None) -> Array:
    """Return the array of a file that `name` says, or without it the only one but for the `other`."""
    if not Path(path).is_file():
        raise BadSourceError(f"there is no file '{path}'")
    arrays = list_arrays(Path(path))
    candidates = [found for found in arrays if found != other]
    known = ", ".join(candidates[:10]) + (" …" if len(candidates) > 10 else "")
    if name is None and len(candidates) != 1:
        raise BadSourceError(
            f"{path} has {len(candidates)} arrays: data.source.{param} says which of {known or 'them'}"
        )
    if name is not None and name not in arrays:
        raise BadSourceError(f"{path} has no array '{name}': there are {known}")
    return arrays[candidates[0] if name is None else name]


def _settle(rows: Tensor, first: int, path: str) -> Tensor:
    """Return rows of float32, uint8 or int64. Raises BadSourceError for other numbers, and for what is not a number."""
    if rows.dtype == torch.uint8:
        return rows
    if rows.dtype in _INTEGERS:
        return _widen(rows, first, path)
    if rows.is_complex() or not (rows.is_floating_point() or rows.dtype == torch.bool):
        raise BadSourceError(f"{path} holds {describe_dtype(rows.dtype)}, wanted whole numbers or fractions")
    settled = rows.float()
    missing = settled.isnan()
    if missing.any():
        row = first + int(missing.flatten(1).any(dim=1).nonzero()[0] if missing.ndim > 1 else missing.nonzero()[0])
        raise BadSourceError(f"{path} holds NaN, not a number, in row {row} (from 0)")
    return settled


def _widen(rows: Tensor, first: int, path: str) -> Tensor:
    """Return whole numbers as int64. Raises BadSourceError where one is too large."""
    widened = rows.long()
    if rows.dtype == torch.uint64 and (widened < 0).any():
        raise BadSourceError(f"{path} holds a number of 2⁶³ or more after row {first} (from 0)")
    return widened
