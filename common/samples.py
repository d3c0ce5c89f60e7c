"""Samples on their way from a source to a dataset, and what a source and a transform are.

A module of `common.sources` or `common.transforms` holds one of them; params choose it by the module's name. Its fields
are the arguments that params may give.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from torch import Tensor

from common.config import replace_paths


class Samples(NamedTuple):
    """Some samples of a source, in its order; all of its parts have the same shapes and dtypes."""

    inputs: Any  # (samples, *input_shape); a list of what a transform makes a tensor of, as texts
    targets: Tensor | Sequence[str]  # (samples, *target_shape), or (samples,) labels, which become class indices
    ids: Tensor | Sequence[str]  # (samples,) int64 or texts: stable names of the samples
    classes: tuple[str, ...] = ()  # all labels, where they are known before the samples are read
    groups: Sequence[str] | None = None  # (samples,) what has to stay in one split
    splits: Sequence[str] | None = None  # (samples,) train, valid or test, where the source says so
    times: Sequence[Any] | None = None  # (samples,) what splits by time compare
    fingerprints: Tensor | None = None  # (samples,) int64, equal where inputs are; `common.data` fills them in
    digests: Sequence[str] | None = None  # (samples,) sha256 of what each was read from, where it has a file of its own


class Source:
    """Where samples come from. A subclass is a frozen dataclass, and can be pickled."""

    decodes = False  # whether loading a part is work that is worth a process of its own

    @property
    def name(self) -> str:
        """What the data are called in metadata."""
        return type(self).__name__

    def with_paths(self, find: Callable[[str], str]) -> Self:
        """Return the same source with what `find` makes of each path of data."""
        return replace_paths(self, find)

    def parts(self) -> Iterable[Any]:
        """Return descriptions of consecutive samples, each small enough to be in memory with a few others."""
        raise NotImplementedError

    def load(self, part: Any) -> Samples:
        """Return the samples that one of the parts describes; may be called in another process."""
        raise NotImplementedError

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Return name and sha256 of all that was read as a whole; called once everything is loaded."""
        return ()


class Transform:
    """What is done to samples, part by part, before they are stored. A subclass is a frozen dataclass."""

    def __call__(self, samples: Samples) -> Samples:
        """Return the samples as the next transform gets them; what it does to one depends on no other."""
        raise NotImplementedError


class Fitted(Transform):
    """A transform of what is computed from all train samples: applied once all are stored, and so the last one."""

    def fit(self, statistics: Mapping[str, Tensor]) -> "Affine":
        """Return what to do to all inputs; `statistics` are mean and std of the train inputs by channel, in float64."""
        raise NotImplementedError


class Affine(NamedTuple):
    """Inputs × scale + shift, by channel: that is dimension 1; of one number a sample, all are one channel."""

    scale: Tensor  # (channels,)
    shift: Tensor  # (channels,)


class BadSourceError(ValueError):
    """What a source holds cannot become a dataset; the message names the place."""
