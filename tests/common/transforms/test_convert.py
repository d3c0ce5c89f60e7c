"""Inputs and targets of another type."""

import pytest
import torch
from torch import Tensor

from common.samples import BadSourceError, Samples
from common.transforms.convert import Convert

INPUTS = torch.tensor([[1.0, 2.0], [3.0, 255.0]])


def convert(transform: Convert, inputs: object = INPUTS, targets: Tensor | None = None) -> Samples:
    """Return samples once they are transformed."""
    return transform(Samples(inputs, torch.tensor([0, 1]) if targets is None else targets, ["a", "b"]))


def test_types_are_those_of_the_params() -> None:
    found = convert(Convert(inputs="uint8", targets="float32"))
    assert (found.inputs.dtype, found.targets.dtype) == (torch.uint8, torch.float32)  # type: ignore[union-attr]
    assert found.inputs.tolist() == INPUTS.tolist()


def test_what_is_not_named_stays() -> None:
    found = convert(Convert())
    assert (found.inputs.dtype, found.targets.dtype) == (torch.float32, torch.int64)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("transform", "inputs"),
    [
        (Convert(inputs="uint8"), torch.tensor([[1.0, 2.0], [3.0, 256.0]])),
        (Convert(inputs="int64"), torch.tensor([[1.0, 2.0], [3.5, 2.0]])),
        (Convert(inputs="int64"), torch.tensor([[1.0, 2.0], [torch.nan, 2.0]])),
        (Convert(inputs="float16"), torch.tensor([[1.0, 2.0], [1e6, 2.0]])),
        (Convert(inputs="float32"), torch.tensor([[1, 2], [2**24 + 1, 2]])),
    ],
)
def test_number_that_the_type_does_not_hold_is_refused(transform: Convert, inputs: Tensor) -> None:
    with pytest.raises(BadSourceError, match=f"sample b has inputs that {transform.inputs} does not hold"):
        convert(transform, inputs)


def test_texts_are_refused() -> None:
    with pytest.raises(BadSourceError, match="the inputs are texts"):
        convert(Convert(inputs="int64"), ["x", "y"])
