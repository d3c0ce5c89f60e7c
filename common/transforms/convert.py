"""Inputs and targets of another type."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from common.samples import BadSourceError, Samples, Transform


@dataclass(frozen=True)
class Convert(Transform):
    """Numbers as these types hold them; what would not be whole, or too large, is an error."""

    inputs: Literal["float16", "float32", "float64", "uint8", "int32", "int64"] | None = None  # None: as they are
    targets: Literal["float16", "float32", "float64", "uint8", "int32", "int64"] | None = None

    def __call__(self, samples: Samples) -> Samples:
        """Return the samples so. Raises BadSourceError, naming the sample, for a number that the type cannot hold."""
        return samples._replace(
            inputs=_convert(samples.inputs, self.inputs, samples.ids, "inputs"),
            targets=_convert(samples.targets, self.targets, samples.ids, "targets"),
        )


def _convert(values: Any, name: str | None, ids: Any, what: str) -> Any:
    if name is None:
        return values
    if not isinstance(values, Tensor):
        raise BadSourceError(f"'convert' wants numbers, and the {what} are texts")
    kind: torch.dtype = getattr(torch, name)
    converted = values.to(kind)
    is_lost = _find_lost(values, converted).flatten(1).any(dim=1) if values.ndim > 1 else _find_lost(values, converted)
    lost = is_lost.nonzero().flatten()
    if len(lost):
        raise BadSourceError(f"sample {ids[int(lost[0])]} has {what} that {name} does not hold")
    return converted


def _find_lost(values: Tensor, converted: Tensor) -> Tensor:
    """Return where a number became another one: any for whole numbers, too large ones for fractions."""
    if converted.is_floating_point():
        return (
            converted.isinf() & ~values.isinf() if values.is_floating_point() else converted.double() != values.double()
        )
    return converted.double() != values.double()
