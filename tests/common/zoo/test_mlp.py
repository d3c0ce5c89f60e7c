"""The perceptron."""

import torch
from torch import nn

from common.zoo.mlp import MLP, Config
from tests.common.zoo.cases import make_metadata


def test_model_is_linear_when_nothing_is_hidden() -> None:
    layers = MLP(Config(hidden=()), make_metadata((2, 3))).layers
    assert [type(layer) for layer in layers] == [nn.Flatten, nn.Linear]
    assert layers[1].weight.shape == (3, 6)


def test_layers_stand_in_the_order_norm_activation_dropout() -> None:
    config = Config(hidden=(8, 4), activation="gelu", norm="layer", dropout=0.3)
    hidden = [nn.Linear, nn.LayerNorm, nn.GELU, nn.Dropout]
    layers = MLP(config, make_metadata((6,))).layers
    assert [type(layer) for layer in layers] == [nn.Flatten, *hidden, *hidden, nn.Linear]
    assert layers[4].p == 0.3


def test_variance_stays_when_layers_are_many() -> None:
    torch.manual_seed(0)
    model = MLP(Config(hidden=(512,) * 8), make_metadata((512,)))
    assert 0.5 < model(torch.randn(256, 512)).std() < 2
