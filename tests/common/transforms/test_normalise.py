"""Inputs with mean 0 and standard deviation 1."""

import pytest
import torch

from common.samples import BadSourceError, Samples
from common.transforms.normalise import Normalise

COLUMNS = torch.tensor([[2.0, 10.0], [6.0, 9.5]])


def normalise(inputs: torch.Tensor, transform: Normalise | None = None) -> torch.Tensor:
    """Return the inputs of samples once they are transformed."""
    found: torch.Tensor = (transform or Normalise())(Samples(inputs, torch.zeros(len(inputs)), torch.zeros(1))).inputs
    return found


def test_inputs_get_mean_0_and_deviation_1() -> None:
    fitted = Normalise().fit({"mean": torch.tensor([2.0, 10.0]).double(), "std": torch.tensor([4.0, 0.5]).double()})
    scale, shift = fitted.affine()
    assert (COLUMNS * scale + shift).tolist() == [[0, 0], [1, -1]]
    assert fitted.describe() == {"mean": (2.0, 10.0), "std": (4.0, 0.5)}


def test_channel_that_never_changes_becomes_0() -> None:
    scale, shift = Normalise().fit({"mean": torch.tensor([3.0]), "std": torch.tensor([0.0])}).affine()
    assert (3.0 * scale + shift).tolist() == [0]


def test_given_mean_and_deviation_are_applied_at_once() -> None:
    assert Normalise((2.0, 10.0), (4.0, 0.5)).is_complete
    assert normalise(COLUMNS, Normalise((2.0, 10.0), (4.0, 0.5))).tolist() == [[0, 0], [1, -1]]
    images = torch.full((1, 2, 3, 3), 255, dtype=torch.uint8)
    assert normalise(images, Normalise((0.5, 1.0), (0.5, 1.0)))[0, :, 0, 0].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (Normalise((2.0,), (4.0,)), "each of the 2 channels"),
        (Normalise((2.0, 10.0), None), "both mean and std, or neither"),
    ],
)
def test_mean_and_deviation_that_do_not_fit_are_refused(transform: Normalise, message: str) -> None:
    with pytest.raises(BadSourceError, match=message):
        normalise(COLUMNS, transform)


def test_texts_are_refused() -> None:
    with pytest.raises(BadSourceError, match="the inputs are texts"):
        Normalise()(Samples(["a"], torch.zeros(1), torch.zeros(1)))


def test_images_of_whole_numbers_are_from_0_to_1_before() -> None:
    images = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    assert torch.equal(normalise(images), torch.tensor([[[[0, 0.2, 1]]]]))
