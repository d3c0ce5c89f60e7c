"""A perceptron: small enough that eight of them are trained at once in the time of two or three."""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from common.dataset import Metadata
from common.model import Model


@dataclass(frozen=True)
class Config:
    """Params of the section `model`."""

    hidden: int = 128


class Perceptron(Model):
    """One hidden layer; no dropout and no batch norm, which would differ from seeds by themselves."""

    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__()
        num_inputs = math.prod(metadata.input_shape)
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(num_inputs, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, len(metadata.classes)),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits of shape (batch, classes)."""
        logits: Tensor = self.layers(inputs)
        return logits
