"""A multilayer perceptron for inputs of any shape."""

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Literal

from torch import Tensor, nn

from common.config import Fraction, PositiveInt
from common.dataset import Metadata
from common.model import Model
from common.zoo.fitting import count_outputs

_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
_NORMS = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


@dataclass(frozen=True)
class Config:
    """Params of the section `model`."""

    hidden: tuple[PositiveInt, ...] = (256, 256)  # the size of each hidden layer; [] is a linear model
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    norm: Literal["none", "batch", "layer"] = "none"  # before the activation
    dropout: Fraction = 0.0  # after it
    outputs: PositiveInt | None = None  # null: one a class, or a single one without classes


class MLP(Model):
    """Hidden layers of linear, norm, activation and dropout, and a linear layer."""

    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__()
        sizes = (prod(metadata.input_shape), *config.hidden)
        hidden = [layer for num_in, num_out in pairwise(sizes) for layer in _make_layer(num_in, num_out, config)]
        last = nn.Linear(sizes[-1], count_outputs(metadata, config.outputs))
        self.layers = nn.Sequential(nn.Flatten(), *hidden, last)
        self._initialise("tanh" if config.activation == "tanh" else "relu")

    def _initialise(self, nonlinearity: Literal["tanh", "relu"]) -> None:
        """Draw weights whose variance fits the activation after it, as He et al. 2015 (arXiv:1502.01852)."""
        linears = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        for layer in linears:
            kind = "linear" if layer is linears[-1] else nonlinearity
            nn.init.kaiming_normal_(layer.weight, nonlinearity=kind)
            nn.init.zeros_(layer.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits: (batch, *input_shape) → (batch, outputs)."""
        logits: Tensor = self.layers(inputs)
        return logits


def _make_layer(num_in: int, num_out: int, config: Config) -> list[nn.Module]:
    linear, norm = nn.Linear(num_in, num_out), _NORMS[config.norm](num_out)
    return [linear, norm, _ACTIVATIONS[config.activation](), nn.Dropout(config.dropout)]
