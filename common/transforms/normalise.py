"""Inputs with mean 0 and standard deviation 1, both taken from the train samples alone, or given."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from common.config import PositiveFloat
from common.samples import Affine, BadSourceError, Fitted, Samples


@dataclass(frozen=True)
class Normalise(Fitted):
    """By channel, which is dimension 1 of the inputs: the channels of images, the columns of a table."""

    mean: tuple[float, ...] | None = None  # of each channel; None: that of the train samples
    std: tuple[PositiveFloat, ...] | None = None

    @property
    def is_complete(self) -> bool:
        """Say whether mean and deviation are known. Raises BadSourceError where one of them is."""
        if (self.mean is None) != (self.std is None):
            raise BadSourceError("'normalise' wants both mean and std, or neither")
        return self.mean is not None

    def __call__(self, samples: Samples) -> Samples:
        """Return the samples with float32 inputs, those of uint8 from 0 to 1, and normalised where that is known."""
        inputs = samples.inputs
        if not isinstance(inputs, Tensor):
            raise BadSourceError("'normalise' wants numbers, and the inputs are texts")
        if not inputs.is_floating_point():
            inputs = inputs.float() / (255 if inputs.dtype.itemsize == 1 else 1)
        return samples._replace(inputs=self._apply(inputs) if self.is_complete else inputs)

    def fit(self, statistics: Mapping[str, Tensor]) -> Self:
        """Return the transform with mean and deviation; a channel that never changes becomes 0.

        They have nine digits: the last bits depend on the machine, and equal data is to have equal bytes.
        """
        mean, std = statistics["mean"], statistics["std"]
        std = std.where(std > 0, 1)
        return dataclasses.replace(self, mean=_shorten(mean), std=_shorten(std))

    def affine(self) -> Affine:
        """Return scale and shift that make (inputs - mean) / std."""
        scale = 1 / torch.tensor(self.std, dtype=torch.float64)
        return Affine(scale, -torch.tensor(self.mean, dtype=torch.float64) * scale)

    def _apply(self, inputs: Tensor) -> Tensor:
        affine, channels = self.affine(), inputs.shape[1] if inputs.ndim > 1 else 1
        if {len(part) for part in affine} != {channels}:
            raise BadSourceError(f"'normalise' wants mean and std of each of the {channels} channels of the inputs")
        shape = [1, -1, *[1] * (inputs.ndim - 2)] if inputs.ndim > 1 else [-1]
        scale, shift = (part.to(inputs.dtype).view(shape) for part in affine)
        return inputs * scale + shift


def _shorten(numbers: Tensor) -> tuple[float, ...]:
    return tuple(float(f"{number:.9g}") for number in numbers.tolist())
