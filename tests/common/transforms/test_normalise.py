"""Inputs with mean 0 and standard deviation 1."""

import torch

from common.samples import Samples
from common.transforms.normalise import Normalise


def test_inputs_get_mean_0_and_deviation_1() -> None:
    statistics = {"mean": torch.tensor([2.0, 10.0]).double(), "std": torch.tensor([4.0, 0.5]).double()}
    scale, shift = Normalise().fit(statistics)
    assert (torch.tensor([[2.0, 10.0], [6.0, 9.5]]) * scale + shift).tolist() == [[0, 0], [1, -1]]


def test_channel_that_never_changes_becomes_0() -> None:
    scale, shift = Normalise().fit({"mean": torch.tensor([3.0]), "std": torch.tensor([0.0])})
    assert (3.0 * scale + shift).tolist() == [0]


def test_images_of_whole_numbers_are_from_0_to_1_before() -> None:
    images = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    found = Normalise()(Samples(images, torch.zeros(1), torch.zeros(1))).inputs
    assert torch.equal(found, torch.tensor([[[[0, 0.2, 1]]]]))
