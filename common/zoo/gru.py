"""A gated recurrent network for sequences (Cho et al. 2014, arXiv:1406.1078)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from common.config import Fraction, NonNegativeInt, PositiveInt
from common.dataset import Metadata
from common.model import Model
from common.zoo.embedding import Embedding
from common.zoo.fitting import count_outputs, read_sequence_shape


@dataclass(frozen=True)
class Config:
    """Params of the section `model`."""

    vocabulary: PositiveInt | None = None  # the number of tokens; null for sequences of features
    padding: NonNegativeInt | None = 0  # the token that fills sequences up at their end; null: none does
    dim: PositiveInt = 64  # of the embeddings
    hidden: PositiveInt = 128
    layers: PositiveInt = 1
    bidirectional: bool = False
    dropout: Fraction = 0.0  # between layers, and before the classifier
    outputs: PositiveInt | None = None  # null: one a class, or a single one without classes


class GRU(Model):
    """Embeddings through recurrent layers, and a linear classifier of the last state (of each direction)."""

    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__()
        _, num_features = read_sequence_shape(metadata, config.vocabulary)
        self.embed = Embedding(config.dim, config.vocabulary, config.padding, num_features)
        between = config.dropout if config.layers > 1 else 0.0  # torch warns of one that has no place
        self.recurrent = nn.GRU(config.dim, config.hidden, config.layers, True, True, between, config.bidirectional)
        self.dropout = nn.Dropout(config.dropout)
        num_states = (2 if config.bidirectional else 1) * config.hidden
        self.classifier = nn.Linear(num_states, count_outputs(metadata, config.outputs))
        self._initialise()

    def _initialise(self) -> None:
        """Draw recurrent matrices orthogonal, as the paper, and the others as Glorot & Bengio 2010; biases are zero."""
        for name, parameter in self.recurrent.named_parameters():
            for gate in parameter.detach().chunk(3):
                if name.startswith("bias"):
                    nn.init.zeros_(gate)
                elif name.startswith("weight_hh"):
                    nn.init.orthogonal_(gate)
                else:
                    nn.init.xavier_uniform_(gate)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits: tokens (batch, length) or features (batch, length, features) → (batch, outputs)."""
        embedded, seen = self.embed(inputs)
        _, states = self.recurrent(embedded if seen is None else _pack(embedded, seen))
        num_directions = 2 if self.recurrent.bidirectional else 1
        last = states[-num_directions:].transpose(0, 1).flatten(1)  # (batch, directions × hidden)
        logits: Tensor = self.classifier(self.dropout(last))
        return logits


def _pack(embedded: Tensor, seen: Tensor) -> nn.utils.rnn.PackedSequence:
    """Cut each sequence after the last place that is seen, so that neither direction runs over its padding."""
    places = torch.arange(1, seen.shape[1] + 1, device=seen.device)
    lengths = (seen * places).amax(dim=1)
    return pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
