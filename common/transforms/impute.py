"""Missing numbers, which a source leaves as not-a-number, become the mean of their column."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from common.samples import BadSourceError, Learned, Samples


@dataclass(frozen=True)
class Impute(Learned):
    """By channel, which is dimension 1 of the inputs: the columns of a table with `missing: keep`."""

    values: tuple[float, ...] | None = None  # of each channel; None: the mean of the train samples that have it

    @property
    def is_complete(self) -> bool:
        """Say whether the values are known."""
        return self.values is not None

    def learn(self, parts: Iterable[Samples]) -> Self:
        """Return the transform with the means, of nine digits. Raises BadSourceError where a channel has no number."""
        total, count = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
        for samples in parts:
            rows = _read_rows(samples).double()
            total = total + rows.nansum(dim=1)
            count = count + (~rows.isnan()).sum(dim=1)
        empty = (count == 0).nonzero().flatten().tolist()
        if empty:
            raise BadSourceError(f"'impute' finds no number in channel {empty[0]} (from 0) of the train samples")
        return dataclasses.replace(self, values=tuple(float(f"{mean:.9g}") for mean in (total / count).tolist()))

    def __call__(self, samples: Samples) -> Samples:
        """Return the samples without missing numbers."""
        inputs, values = samples.inputs, torch.tensor(self.values, dtype=torch.float32)
        channels = len(_read_rows(samples))
        if len(values) != channels:
            raise BadSourceError(f"'impute' wants values of each of the {channels} channels of the inputs")
        filling = values.to(inputs.dtype).view(1, -1, *[1] * (inputs.ndim - 2))
        return samples._replace(inputs=inputs.where(~inputs.isnan(), filling))


def _read_rows(samples: Samples) -> Tensor:
    """Return (channels, numbers). Raises BadSourceError where inputs are not fractions by channel."""
    inputs = samples.inputs
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or inputs.ndim < 2:
        raise BadSourceError("'impute' wants fractions (channels, …)")
    return inputs.movedim(1, 0).flatten(1)
