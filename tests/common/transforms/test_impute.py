"""Missing numbers become the mean of their column."""

import pytest
import torch
from torch import Tensor, nan

from common.samples import BadSourceError, Samples
from common.transforms.impute import Impute


def make(inputs: Tensor) -> Samples:
    """Return samples that are nothing but inputs."""
    return Samples(inputs, torch.zeros(len(inputs)), torch.arange(len(inputs)))


PARTS = [make(torch.tensor([[1.0, nan], [3.0, 4.0]])), make(torch.tensor([[nan, 8.0]]))]


def test_missing_numbers_become_the_mean_of_what_was_learned() -> None:
    learned = Impute().learn(PARTS)
    assert learned.is_complete
    assert not Impute().is_complete
    assert learned.describe() == {"values": (2.0, 6.0)}
    assert learned(PARTS[0]).inputs.tolist() == [[1, 6], [3, 4]]
    assert learned(make(torch.tensor([[nan, nan]]))).inputs.tolist() == [[2, 6]]


def test_given_values_are_taken() -> None:
    assert Impute((0.0, -1.0))(PARTS[0]).inputs.tolist() == [[1, -1], [3, 4]]


def test_channels_of_sequences_have_a_value_each() -> None:
    filled = Impute((0.5, 2.0))(make(torch.tensor([[[nan, 1.0], [nan, nan]]]))).inputs
    assert filled.tolist() == [[[0.5, 1.0], [2.0, 2.0]]]


def test_column_without_any_number_is_refused() -> None:
    with pytest.raises(BadSourceError, match=r"no number in channel 1 \(from 0\)"):
        Impute().learn([make(torch.tensor([[1.0, nan]]))])


@pytest.mark.parametrize("inputs", [torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2), ["a", "b"]])
def test_what_is_not_fractions_by_channel_is_refused(inputs: Tensor) -> None:
    with pytest.raises(BadSourceError, match="'impute' wants fractions"):
        Impute((1.0,))(make(inputs))


def test_values_for_other_channels_are_refused() -> None:
    with pytest.raises(BadSourceError, match="values of each of the 2 channels"):
        Impute((1.0,))(PARTS[0])
