"""Samples on their way from a source to a dataset, and what a source and a transform are.

A module of `common.sources` or `common.transforms` holds one of them; params choose it by the module's name. Its fields
are the arguments that params may give.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeGuard

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
    fingerprints: Tensor | None = None  # (samples,) int64, equal where inputs are; `common.data` fills these two in
    likenesses: Tensor | None = None  # (samples,) int64 of `common.likeness`
    digests: Sequence[str] | None = None  # (samples,) sha256 of what each was read from, where that is told
    input_names: tuple[str, ...] = ()  # of the columns of inputs, where they have names; the same for all parts

    def select(self, rows: Tensor) -> "Samples":
        """Return the samples of these rows, (rows,) int64."""
        places = rows.tolist()
        chosen: dict[str, Any] = {
            name: value[rows] if isinstance(value, Tensor) else [value[place] for place in places]
            for name, value in self._asdict().items()
            if value is not None and name not in ("classes", "input_names")
        }
        return self._replace(**chosen)


class Source:
    """Where samples come from. A subclass is a frozen dataclass, and can be pickled."""

    decodes = False  # whether loading a part is work that is worth a process of its own
    repeats = True  # whether the same parts come again, as long as the arguments and their files are the same

    @property
    def name(self) -> str:
        """What the data are called in metadata."""
        return type(self).__name__

    def with_paths(self, find: Callable[[str], str]) -> Self:
        """Return the same source with what `find` makes of each path of data."""
        return replace_paths(self, find)

    def parts(self) -> Iterable[Any]:
        """Return descriptions of consecutive samples, each small enough to be in memory with a few others.

        They are the same in the same order every time, unless `repeats` says otherwise: a preparation that was killed
        leaves out as many as it had done.
        """
        raise NotImplementedError

    def count(self) -> int | None:
        """Return the number of samples in all parts, None where only reading them tells; called before they are."""
        return None

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

    def describe(self) -> Mapping[str, Any]:
        """Return its arguments and what it learned of the train samples, as params of one that does the same."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]


class Learned(Transform):
    """A transform that has to see the train samples first: the source is read once more for it."""

    @property
    def is_complete(self) -> bool:
        """Say whether its arguments are all there is to know."""
        raise NotImplementedError

    def learn(self, parts: Iterable[Samples]) -> Self:
        """Return the transform with what it learns of the train samples, which come as it would get them."""
        raise NotImplementedError


class Fitted(Transform):
    """A transform by mean and deviation of the train samples: applied once all are stored, and so the last one."""

    @property
    def is_complete(self) -> bool:
        """Say whether its arguments are all there is to know: it is then a transform as others."""
        raise NotImplementedError

    def fit(self, statistics: Mapping[str, Tensor]) -> Self:
        """Return the complete transform; `statistics` are mean and std of the train inputs by channel, in float64."""
        raise NotImplementedError

    def affine(self) -> "Affine":
        """Return what the complete transform does to inputs that it has seen when it was not."""
        raise NotImplementedError


class Affine(NamedTuple):
    """Inputs × scale + shift, by channel: that is dimension 1; of one number a sample, all are one channel."""

    scale: Tensor  # (channels,)
    shift: Tensor  # (channels,)


def are_masks(targets: Tensor | Sequence[str], images: Tensor) -> TypeGuard[Tensor]:
    """Say whether targets are (samples, height, width), a number for each pixel of the images."""
    return isinstance(targets, Tensor) and targets.ndim == 3 and targets.shape[1:] == images.shape[2:]


class BadSourceError(ValueError):
    """What a source holds cannot become a dataset; the message names the place."""
