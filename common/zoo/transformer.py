"""A transformer encoder for sequences of tokens or of features, before whose blocks layer norms stand."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from common.config import Fraction, NonNegativeInt, PositiveInt
from common.dataset import Metadata
from common.model import Model
from common.zoo.attention import Block, initialise_linears
from common.zoo.embedding import Embedding
from common.zoo.fitting import count_outputs, read_sequence_shape


@dataclass(frozen=True)
class Config:
    """Params of the section `model`."""

    vocabulary: PositiveInt | None = None  # the number of tokens; null for sequences of features
    padding: NonNegativeInt | None = 0  # the token that fills sequences up; null: none does
    pooling: Literal["mean", "cls"] = "mean"  # over all places but padding, or a token of its own
    dim: PositiveInt = 64
    depth: PositiveInt = 4  # blocks
    heads: PositiveInt = 4
    mlp_ratio: PositiveInt = 4  # of a perceptron's hidden layer to dim
    dropout: Fraction = 0.0  # of embeddings, attention's outputs and perceptrons
    outputs: PositiveInt | None = None  # null: one a class, or a single one without classes


class TransformerEncoder(Model):
    """Embeddings and learned positions through transformer blocks, pooled to a linear classifier."""

    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__()
        length, num_features = read_sequence_shape(metadata, config.vocabulary)
        num_cls = int(config.pooling == "cls")
        self.embed = Embedding(config.dim, config.vocabulary, config.padding, num_features)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.dim)) if num_cls else None
        self.positions = nn.Parameter(torch.zeros(1, num_cls + length, config.dim))
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, config.mlp_ratio, config.dropout) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.dim)
        self.classifier = nn.Linear(config.dim, count_outputs(metadata, config.outputs))
        self._initialise()

    def _initialise(self) -> None:
        """Draw linear layers as Glorot; positions and class token of the size of embeddings, so that order counts."""
        initialise_linears(self)
        std = self.positions.shape[-1] ** -0.5
        nn.init.normal_(self.positions, std=std)
        if self.class_token is not None:
            nn.init.normal_(self.class_token, std=std)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits: tokens (batch, length) or features (batch, length, features) → (batch, outputs).

        Sequences may be shorter than the data's, not longer.
        """
        embedded, seen = self.embed(inputs)
        if self.class_token is not None:
            embedded = torch.cat([self.class_token.expand(inputs.shape[0], -1, -1), embedded], dim=1)
            seen = None if seen is None else nn.functional.pad(seen, (1, 0), value=True)
        outputs = self.dropout(embedded + self.positions[:, : embedded.shape[1]])
        for block in self.blocks:
            outputs = block(outputs, seen)
        outputs = self.norm(outputs)
        logits: Tensor = self.classifier(_mean(outputs, seen) if self.class_token is None else outputs[:, 0])
        return logits


def _mean(outputs: Tensor, seen: Tensor | None) -> Tensor:
    """Return the mean of (batch, length, dim) over the places that are seen, (batch, dim)."""
    if seen is None:
        return outputs.mean(dim=1)
    weights = seen.to(outputs.dtype).unsqueeze(2)
    return (outputs * weights).sum(dim=1) / weights.sum(dim=1)
