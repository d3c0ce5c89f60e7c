"""A classifier and a generator of images, which are trained against each other."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common import model
from common.dataset import Metadata
from common.model import ConvNet, Model


@dataclass(frozen=True)
class Config(model.Config):
    """Params of the section `model`."""

    noise: int = 32  # numbers that an image is made from


class AdversarialNet(Model):
    """To everybody else it is its discriminator: images (batch, *input_shape) → logits (batch, classes)."""

    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__()
        self.num_noise = config.noise
        self.discriminator = ConvNet(config, metadata)
        self.generator = _build_generator(config, metadata)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits of shape (batch, classes)."""
        logits: Tensor = self.discriminator(inputs)
        return logits

    def generate(self, num_images: int, device: torch.device) -> Tensor:
        """Return images that nobody has drawn, of shape (num_images, *input_shape)."""
        images: Tensor = self.generator(torch.randn(num_images, self.num_noise, device=device))
        return images


def _build_generator(config: Config, metadata: Metadata) -> nn.Module:
    channels, height, width = metadata.input_shape
    return nn.Sequential(
        nn.Linear(config.noise, 2 * config.channels * (height // 4) * (width // 4)),
        nn.Unflatten(1, (2 * config.channels, height // 4, width // 4)),
        nn.BatchNorm2d(2 * config.channels),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * config.channels, config.channels, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(config.channels),
        nn.ReLU(),
        nn.ConvTranspose2d(config.channels, channels, 4, stride=2, padding=1),
        nn.Sigmoid(),
    )
