"""Whole numbers as indicators."""

import pytest
import torch

from common.samples import BadSourceError, Samples
from common.transforms.one_hot import OneHot


def encode(inputs: object, size: int = 3) -> torch.Tensor:
    """Return the inputs of samples once they are transformed."""
    found: torch.Tensor = OneHot(size)(Samples(inputs, torch.zeros(2), ["a", "b"])).inputs
    return found


def test_each_number_becomes_one_1_among_0() -> None:
    found = encode(torch.tensor([[0, 2], [1, 1]]))
    assert found.tolist() == [[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 1, 0]]]
    assert found.dtype == torch.float32


def test_samples_of_one_number_become_rows() -> None:
    assert encode(torch.tensor([2, 0], dtype=torch.uint8)).tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("inputs", [torch.tensor([[0, 1], [1, 3]]), torch.tensor([1, 3])])
def test_number_beyond_the_size_is_refused(inputs: torch.Tensor) -> None:
    with pytest.raises(BadSourceError, match="sample b has the number 3, and 'one_hot' wants 0 … 2"):
        encode(inputs)


@pytest.mark.parametrize("inputs", [torch.zeros(2, 3), ["x", "y"]])
def test_what_is_not_whole_numbers_is_refused(inputs: object) -> None:
    with pytest.raises(BadSourceError, match="wants whole numbers"):
        encode(inputs)
