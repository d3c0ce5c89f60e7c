"""The common network."""

import dataclasses

import pytest
import torch

from common.model import Config, ConvNet
from tests.datasets import make_dataset


@pytest.mark.parametrize("input_shape", [(1, 4, 4), (3, 8, 8), (1, 9, 14)])
def test_network_gives_logits_for_each_class_whatever_the_image_size(input_shape: tuple[int, ...]) -> None:
    metadata = dataclasses.replace(make_dataset().metadata, input_shape=input_shape, classes=("a", "b", "c", "d"))
    assert ConvNet(Config(channels=2), metadata)(torch.rand(5, *input_shape)).shape == (5, 4)


def test_network_is_refused_when_the_data_are_no_images() -> None:
    metadata = dataclasses.replace(make_dataset().metadata, input_shape=(2,))
    with pytest.raises(
        ValueError, match=r"found inputs of shape \(2,\), wanted images \(channels, height, width\); for"
    ):
        ConvNet(Config(), metadata)


def test_network_grows_with_its_channels() -> None:
    metadata = make_dataset().metadata
    narrow, wide = (sum(p.numel() for p in ConvNet(Config(n), metadata).parameters()) for n in (2, 4))
    assert wide > 2 * narrow


def test_dropout_acts_only_when_training() -> None:
    model = ConvNet(Config(channels=4, dropout=0.5), make_dataset().metadata)
    images = torch.rand(8, 1, 4, 4)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))
