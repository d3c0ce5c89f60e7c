"""The loader component: a `TensorDataset` becomes batches, gathered straight from its tensors.

Override `transform` to change batches while training (augmentation), `order` to draw samples otherwise.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from common.dataset import Batch


@dataclass(frozen=True)
class Config:
    """Params of the section `loader`."""

    batch_size: int = 64


class Loader:
    """Batches of one split. Evaluation sees every sample once, in order and untransformed."""

    def __init__(self, dataset: TensorDataset, config: Config, *, training: bool, seed: int) -> None:
        self.samples = Batch(*dataset.tensors)
        self.config = config
        self.training = training
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.samples.ids) // self.config.batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of one epoch, a pure function of (seed, epoch)."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = self.order(generator) if self.training else torch.arange(len(self.samples.ids))
        for rows in torch.split(order, self.config.batch_size)[: len(self)]:
            batch = Batch(*(tensor.index_select(0, rows) for tensor in self.samples))
            yield self.transform(batch, generator) if self.training else batch

    def order(self, generator: torch.Generator) -> Tensor:
        """Return the rows of a training epoch, in the order in which they are drawn."""
        return torch.randperm(len(self.samples.ids), generator=generator)

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return the training batch that the model sees; draws only from `generator`."""
        return batch
