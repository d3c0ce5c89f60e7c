"""Long sequences cut into windows: one sample becomes several, which are a group."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from common.config import PositiveInt
from common.samples import BadSourceError, Samples, Transform


@dataclass(frozen=True)
class Windows(Transform):
    """Inputs (samples, time, …) become (samples × windows, length, …); the id of window 2 of `a` is `a#2`.

    What is left at the end, too short for a window, is left out. Unless `data.split_by` is group, windows of one
    sequence come into different splits; a group is what the source says, or else the sequence.
    """

    length: PositiveInt  # of a window
    step: PositiveInt | None = None  # from the start of a window to that of the next; None: `length`

    def __call__(self, samples: Samples) -> Samples:
        """Return the windows as samples. Raises BadSourceError where a sequence is shorter than one."""
        inputs = samples.inputs
        if getattr(inputs, "ndim", 0) < 2:
            raise BadSourceError("'windows' wants sequences (time, …) of numbers")
        if inputs.shape[1] < self.length:
            raise BadSourceError(f"'windows' wants {self.length} points of time, and sequences have {inputs.shape[1]}")
        cut = inputs.unfold(1, self.length, self.step or self.length).movedim(-1, 2)
        num = cut.shape[1]
        names = samples.ids.tolist() if isinstance(samples.ids, Tensor) else samples.ids
        return Samples(
            inputs=cut.reshape(-1, *cut.shape[2:]),
            targets=_repeat(samples.targets, num),
            ids=[f"{name}#{place}" for name in names for place in range(num)],
            classes=samples.classes,
            groups=_repeat(samples.groups or [str(name) for name in names], num),
            splits=_repeat(samples.splits, num),
            times=_repeat(samples.times, num),
            digests=_repeat(samples.digests, num),
        )


def _repeat(values: Tensor | Sequence[Any] | None, num: int) -> Any:
    """Return each value so many times in a row."""
    if values is None or isinstance(values, Tensor):
        return values if values is None else values.repeat_interleave(num, dim=0)
    return [value for value in values for _ in range(num)]
