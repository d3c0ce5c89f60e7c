"""Rows of tokens become their own targets, one place on: what a language model predicts."""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.config import NonNegativeInt
from common.dataset import NO_CLASS
from common.samples import BadSourceError, Samples, Transform


@dataclass(frozen=True)
class NextToken(Transform):
    """Inputs (samples, length) become (samples, length - 1), targets the same of the token that follows each."""

    padding: NonNegativeInt | None = 0  # the number that fills up, which nobody has to predict; None: there is none

    def __call__(self, samples: Samples) -> Samples:
        """Return the samples so; other targets are dropped. Raises BadSourceError where inputs are no tokens."""
        rows = samples.inputs
        if not isinstance(rows, Tensor) or rows.is_floating_point() or rows.ndim != 2 or rows.shape[1] < 2:
            raise BadSourceError("'next_token' wants rows of two tokens or more, as `tokenise` makes them")
        targets = rows[:, 1:].long()
        if self.padding is not None:
            targets = targets.where(targets != self.padding, torch.tensor(NO_CLASS))
        return samples._replace(inputs=rows[:, :-1].contiguous(), targets=targets.contiguous(), classes=())
