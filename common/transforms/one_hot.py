"""Whole numbers become as many numbers each, of which one is 1 and the others 0."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from common.config import PositiveInt
from common.samples import BadSourceError, Samples, Transform


@dataclass(frozen=True)
class OneHot(Transform):
    """Inputs (samples, …) of whole numbers become (samples, …, size) float32."""

    size: PositiveInt  # how many different numbers there may be, from 0

    def __call__(self, samples: Samples) -> Samples:
        """Return the samples so. Raises BadSourceError, naming the sample, for a number beyond."""
        inputs = samples.inputs
        if not isinstance(inputs, Tensor) or inputs.is_floating_point():
            raise BadSourceError("'one_hot' wants whole numbers")
        outside = ((inputs < 0) | (inputs >= self.size)).flatten(1 if inputs.ndim > 1 else 0)
        odd = (outside.any(dim=1) if outside.ndim > 1 else outside).nonzero().flatten()
        if len(odd):
            number = inputs[odd[0]].flatten()[outside[odd[0]].flatten()][0]
            name = samples.ids[int(odd[0])]
            raise BadSourceError(f"sample {name} has the number {int(number)}, and 'one_hot' wants 0 … {self.size - 1}")
        return samples._replace(inputs=functional.one_hot(inputs.long(), self.size).to(torch.float32))
