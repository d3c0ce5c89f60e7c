"""The vision transformer (Dosovitskiy et al. 2020, arXiv:2010.11929)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.config import Fraction, PositiveInt
from common.dataset import Metadata
from common.model import Model
from common.zoo.attention import Block, initialise_linears
from common.zoo.fitting import MisfitError, count_outputs, read_image_shape


@dataclass(frozen=True)
class Config:
    """Params of the section `model`."""

    patch: PositiveInt = 4  # height and width, which divide those of the images
    dim: PositiveInt = 64
    depth: PositiveInt = 6  # blocks
    heads: PositiveInt = 4
    mlp_ratio: PositiveInt = 4  # of a perceptron's hidden layer to dim
    dropout: Fraction = 0.0  # of embeddings, attention's outputs and perceptrons
    outputs: PositiveInt | None = None  # null: one a class, or a single one without classes


class ViT(Model):
    """Patches and a class token through transformer blocks, and a linear classifier of the class token."""

    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__()
        num_channels, height, width = read_image_shape(metadata)
        if height % config.patch or width % config.patch:
            raise MisfitError(
                f"images of {height} × {width} with patches of {config.patch}", "patches that divide them"
            )
        num_patches = (height // config.patch) * (width // config.patch)
        self.embed = nn.Conv2d(num_channels, config.dim, config.patch, config.patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.positions = nn.Parameter(torch.zeros(1, 1 + num_patches, config.dim))
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.Sequential(
            *(Block(config.dim, config.heads, config.mlp_ratio, config.dropout) for _ in range(config.depth))
        )
        self.norm = nn.LayerNorm(config.dim)
        self.classifier = nn.Linear(config.dim, count_outputs(metadata, config.outputs))
        self._initialise()

    def _initialise(self) -> None:
        """Draw weights as the authors' code: linear layers as Glorot, patches as LeCun, the classifier zero."""
        initialise_linears(self)
        nn.init.kaiming_normal_(self.embed.weight, nonlinearity="linear")
        nn.init.normal_(self.positions, std=0.02)
        nn.init.zeros_(self.classifier.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits: (batch, channels, height, width) → (batch, outputs)."""
        patches = self.embed(inputs).flatten(2).transpose(1, 2)  # (batch, patches, dim)
        tokens = torch.cat([self.class_token.expand(inputs.shape[0], -1, -1), patches], dim=1) + self.positions
        logits: Tensor = self.classifier(self.norm(self.blocks(self.dropout(tokens))[:, 0]))
        return logits
