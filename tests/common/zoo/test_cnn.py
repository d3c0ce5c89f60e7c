"""The plain convolutional network."""

import pytest

from common.zoo.cnn import CNN, Config
from common.zoo.fitting import MisfitError
from tests.common.zoo.cases import make_metadata


def test_parameters_are_those_of_vgg_16_when_widths_are_its() -> None:
    # Its blocks have 2, 2, 3, 3, 3 convolutions; with 2 in each it is configuration B, VGG-13: 9,404,992 weights and
    # biases of convolutions, where ours have a batch norm of two parameters a channel in place of one bias.
    widths = (64, 128, 256, 512, 512)
    features = CNN(Config(widths=widths), make_metadata((3, 32, 32))).features
    assert sum(parameter.numel() for parameter in features.parameters()) == 9_404_992 + 2 * sum(widths)


def test_error_names_the_size_when_images_are_smaller_than_the_pooling() -> None:
    with pytest.raises(MisfitError, match="found images of 8 × 7, wanted at least 8 × 8 for 3 blocks"):
        CNN(Config(widths=(4, 4, 4)), make_metadata((1, 8, 7)))


def test_error_names_the_shape_when_inputs_are_no_images() -> None:
    with pytest.raises(MisfitError, match=r"found inputs of shape \(8, 8\), wanted images"):
        CNN(Config(), make_metadata((8, 8)))
