"""Inputs with mean 0 and standard deviation 1, both taken from the train samples alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from common.samples import Affine, Fitted, Samples


@dataclass(frozen=True)
class Normalise(Fitted):
    """By channel, which is dimension 1 of the inputs: the channels of images, the columns of a table."""

    def __call__(self, samples: Samples) -> Samples:
        """Return the samples with float32 inputs; those of uint8 are from 0 to 1."""
        inputs = samples.inputs
        if inputs.is_floating_point():
            return samples
        return samples._replace(inputs=inputs.float() / (255 if inputs.dtype.itemsize == 1 else 1))

    def fit(self, statistics: Mapping[str, Tensor]) -> Affine:
        """Return (inputs - mean) / std; a channel that never changes becomes 0."""
        mean, std = statistics["mean"], statistics["std"]
        scale = 1 / std.where(std > 0, 1)
        return Affine(scale, -mean * scale)
