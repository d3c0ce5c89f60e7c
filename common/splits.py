"""Which samples are for training, validation and test: a pure function of each sample by itself.

A sample is placed by a hash of the split seed and its id, or what else it is split by, so that samples which are added
never move others.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from common.dataset import SPLITS
from common.samples import BadSourceError, Samples


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
    def valid_from(self) -> Any: ...
    @property
    def test_from(self) -> Any: ...


def assign_splits(samples: Samples, config: SplitConfig) -> list[str]:
    """Return the split of each sample. Raises BadSourceError where the samples lack what they are to be split by."""
    if config.test_from is not None:
        return _split_by_time(_wanted(samples.times, "times", "test_from"), config)
    if samples.splits is not None:
        return _complete(samples, config)
    positions = [place(key, config.split_seed) for key in _find_keys(samples, config)]
    if config.folds:
        return [_choose_fold(position, config) for position in positions]
    return [_choose(position, config) for position in positions]


def place(key: Any, seed: int) -> float:
    """Return where in [0, 1) a sample stands."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _choose(position: float, config: SplitConfig) -> str:
    if position < config.test_fraction:
        return "test"
    return "valid" if position < config.test_fraction + config.valid_fraction else "train"


def _choose_fold(position: float, config: SplitConfig) -> str:
    """Return test for the samples of one fold of several; of the others, `valid_fraction` is for validation."""
    assert config.folds
    fold, rest = divmod(position * config.folds, 1)
    if fold == config.fold:
        return "test"
    return "valid" if rest < config.valid_fraction else "train"


def _split_by_time(times: Sequence[Any], config: SplitConfig) -> list[str]:
    """Return test for what is not before `test_from`, valid for what is before it, but not before `valid_from`."""
    try:
        is_test = [time >= config.test_from for time in times]
        is_valid = [config.valid_from is not None and time >= config.valid_from for time in times]
    except TypeError as error:
        raise BadSourceError(f"data.test_from or data.valid_from cannot be compared with times: {error}") from None
    return ["test" if test else "valid" if valid else "train" for test, valid in zip(is_test, is_valid, strict=True)]


def _complete(samples: Samples, config: SplitConfig) -> list[str]:
    """Return the splits that the source gives. One without a valid split gets it from train, as a fraction of that."""
    assert samples.splits is not None
    strange = {split for split in samples.splits if split not in SPLITS}
    if strange:
        raise BadSourceError(f"the source has a split '{min(map(str, strange))}', wanted {', '.join(SPLITS)}")
    if config.valid_fraction and "valid" in samples.splits:
        raise BadSourceError("the source gives a valid split of its own: set data.valid_fraction to 0")
    keys = _find_keys(samples, config)
    return [
        "valid" if split == "train" and place(key, config.split_seed) < config.valid_fraction else split
        for key, split in zip(keys, samples.splits, strict=True)
    ]


def _find_keys(samples: Samples, config: SplitConfig) -> Iterable[Any]:
    if config.split_by == "group":
        return _wanted(samples.groups, "groups", "split_by: group")
    return samples.ids.tolist() if hasattr(samples.ids, "tolist") else samples.ids


def _wanted(values: Sequence[Any] | None, what: str, param: str) -> Sequence[Any]:
    if values is None:
        raise BadSourceError(f"data.{param} wants {what} of the samples, and the source gives none")
    return values
