"""Which samples are for training, validation and test: a pure function of each sample by itself.

A sample is placed by a hash of the split seed and its id, or what else it is split by, so that samples which are added
never move others.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from common.dataset import SPLITS
from common.hashing import hash_names, place
from common.samples import BadSourceError, Samples

_TRAIN, _VALID, _TEST = range(3)


class SplitConfig(Protocol):
    """The params of the section `data` that splits depend on; `common.data.Config` says what each means."""

    @property
    def valid_fraction(self) -> float: ...
    @property
    def test_fraction(self) -> float: ...
    @property
    def split_seed(self) -> int: ...
    @property
    def split_by(self) -> str: ...
    @property
    def folds(self) -> int | None: ...
    @property
    def fold(self) -> int: ...
    @property
    def valid_from(self) -> float | str | None: ...
    @property
    def test_from(self) -> float | str | None: ...


class Strata:
    """All samples by class, those of each in the order of their hashes: each class has its share in every split.

    A sample that is added moves only those whose hashes are next to the border between two splits.
    """

    def __init__(self, config: SplitConfig) -> None:
        if config.split_by == "group" or config.test_from is not None:
            raise BadSourceError("data.stratify places single samples: it goes with neither split_by: group nor times")
        self._seed = config.split_seed
        self._keys: list[Tensor] = []
        self._classes: list[Tensor] = []
        self._sorted = torch.zeros(0, dtype=torch.int64)
        self._positions = torch.zeros(0, dtype=torch.float64)

    def add(self, samples: Samples, keys: Tensor) -> None:
        """Take in samples. Raises BadSourceError where they do not have one class each."""
        targets = samples.targets
        if isinstance(targets, Tensor) and (targets.ndim != 1 or targets.is_floating_point()):
            raise BadSourceError("data.stratify wants one class for each sample, and targets are something else")
        classes = targets.long() if isinstance(targets, Tensor) else hash_names(targets)
        if samples.splits is not None:  # those that the source gives are a stratum each
            classes = classes * len(SPLITS) + _read_splits(samples.splits)
        self._classes.append(classes)
        self._keys.append(keys)

    def finish(self) -> None:
        """Place all samples that were taken in."""
        keys, classes = torch.cat(self._keys), torch.cat(self._classes)
        order = place(keys, self._seed).argsort(stable=True)
        order = order[classes[order].argsort(stable=True)]  # class by class
        sizes = torch.unique(classes, return_counts=True)[1]
        ranks = torch.cat([torch.arange(size, dtype=torch.float64) for size in sizes.tolist()])
        positions = torch.empty(len(keys), dtype=torch.float64)
        positions[order] = (ranks + 0.5) / torch.repeat_interleave(sizes, sizes)
        self._sorted, places = keys.sort(stable=True)
        self._positions = positions[places]

    def place(self, keys: Tensor) -> Tensor:
        """Return where in [0, 1) each key stands in its class. Raises BadSourceError where one was not taken in."""
        found = torch.searchsorted(self._sorted, keys).clamp(max=len(self._sorted) - 1)
        if not torch.equal(self._sorted[found], keys):
            raise BadSourceError("data.stratify places what is read, and a transform has made other samples of it")
        return self._positions[found]


def assign_splits(samples: Samples, keys: Tensor, config: SplitConfig, strata: Strata | None = None) -> Tensor:
    """Return (samples,) places in `SPLITS`; `keys` are (samples,) int64 that stand for the ids.

    With `strata`, each class has its share. Raises BadSourceError where samples lack what they are to be split by.
    """
    if config.valid_from is not None and config.test_from is None:
        raise BadSourceError("data.valid_from needs data.test_from")
    if config.folds and config.fold >= config.folds:
        raise BadSourceError(
            f"data.fold is {config.fold}, and there are data.folds = {config.folds}: 0 … {config.folds - 1}"
        )
    if config.folds and samples.splits is not None:
        raise BadSourceError("the source gives splits: they go with no data.folds")
    if config.test_from is not None:
        return _split_by_time(_need(samples.times, "times", "test_from"), config)
    if config.split_by == "group":
        keys = hash_names(_need(samples.groups, "groups", "split_by: group"))
    positions = strata.place(keys) if strata else place(keys, config.split_seed)
    if samples.splits is not None:
        return _complete(samples.splits, positions, config)
    if config.folds:
        return _choose_fold(positions, config.folds, config)
    splits = torch.full(positions.shape, _TRAIN)
    splits[positions < config.test_fraction + config.valid_fraction] = _VALID
    splits[positions < config.test_fraction] = _TEST
    return splits


def _choose_fold(positions: Tensor, folds: int, config: SplitConfig) -> Tensor:
    """Return test for the samples of one fold of several; of the others, `valid_fraction` is for validation."""
    places = positions * folds
    splits = torch.where(places.frac() < config.valid_fraction, _VALID, _TRAIN)
    splits[places.floor() == config.fold] = _TEST
    return splits


def _split_by_time(times: Sequence[Any], config: SplitConfig) -> Tensor:
    """Return test for what is not before `test_from`, valid for what is before it, but not before `valid_from`."""
    test, valid = config.test_from, config.valid_from
    try:
        found = [_TEST if time >= test else _VALID if valid is not None and time >= valid else _TRAIN for time in times]
    except TypeError as error:
        raise BadSourceError(f"times do not compare with data.test_from or data.valid_from: {error}") from None
    return torch.tensor(found)


def _complete(given: Sequence[str], positions: Tensor, config: SplitConfig) -> Tensor:
    """Return the splits that the source gives; `valid_fraction` of its train samples are for validation."""
    splits = _read_splits(given)
    if config.valid_fraction and "valid" in given:
        raise BadSourceError("the source gives a valid split of its own: set data.valid_fraction to 0")
    splits[(splits == _TRAIN) & (positions < config.valid_fraction)] = _VALID
    return splits


def _read_splits(given: Sequence[str]) -> Tensor:
    """Return (samples,) places in `SPLITS`. Raises BadSourceError for a split of another name."""
    strange = sorted({str(split) for split in given} - set(SPLITS))
    if strange:
        raise BadSourceError(f"the source has a split '{strange[0]}', wanted {', '.join(SPLITS)}")
    return torch.tensor([SPLITS.index(split) for split in given], dtype=torch.int64)


def _need(values: Sequence[Any] | None, what: str, param: str) -> Sequence[Any]:
    if values is None:
        raise BadSourceError(f"data.{param} needs {what} of the samples, and the source gives none")
    return values
