"""The residual network."""

import pytest
import torch

from common.zoo.fitting import MisfitError
from common.zoo.resnet import Block, Config, ResNet
from tests.common.zoo.cases import make_metadata

CIFAR = make_metadata((3, 32, 32), classes=tuple("0123456789"))


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_parameters_are_as_many_as_in_the_paper(depth: int, millions: float) -> None:
    model = ResNet(Config(depth), CIFAR)  # table 6
    count = sum(parameter.numel() for parameter in model.parameters())
    assert round(count / 1e6, 1 if depth == 110 else 2) == millions


def test_depth_counts_the_layers_with_weights() -> None:
    layers = [m for m in ResNet(Config(20), CIFAR).modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 20


def test_stages_are_of_the_papers_sizes() -> None:
    model = ResNet(Config(depth=20, width=2), CIFAR)
    features, shapes = model.stem(torch.rand(1, 3, 32, 32)), []
    for stage in (model.stages[:3], model.stages[3:6], model.stages[6:]):
        features = stage(features)
        shapes.append(tuple(features.shape[1:]))
    assert shapes == [(32, 32, 32), (64, 16, 16), (128, 8, 8)]


def test_block_passes_every_second_place_on_when_its_convolutions_find_nothing() -> None:
    block = Block(2, 4, stride=2).eval()
    for parameter in block.inner.parameters():
        torch.nn.init.zeros_(parameter)
    images = torch.rand(2, 2, 5, 4)
    outputs = block(images)
    assert torch.equal(outputs[:, :2], images[:, :, ::2, ::2])
    assert not outputs[:, 2:].any()


@pytest.mark.parametrize("shape", [(5, 9, 7), (1, 1, 1)])
def test_images_of_any_size_and_number_of_channels_will_do(shape: tuple[int, int, int]) -> None:
    assert ResNet(Config(8), make_metadata(shape)).eval()(torch.rand(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize("depth", [1, 2, 7, 18, 51])
def test_error_names_the_depths_when_it_is_none_of_them(depth: int) -> None:
    with pytest.raises(MisfitError, match=rf"found a depth of {depth}, wanted 6n \+ 2"):
        ResNet(Config(depth), CIFAR)
