"""The loader component: a `TensorDataset` becomes batches, gathered straight from its tensors.

Override `transform` to change batches while training (augmentation), `order` to draw samples otherwise. An epoch is a
pure function of (seed, epoch), on any number of processes; what is drawn for a batch one of (seed, epoch, index)
and the share: it can begin anywhere.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from common import disk
from common.config import PositiveInt
from common.dataset import Batch
from common.prefetch import copy_ahead


@dataclass(frozen=True)
class Config:
    """Params of the section `loader`."""

    batch_size: PositiveInt = 64  # of all processes together
    drop_last: bool = False  # leave out what is left of a training epoch after its last full batch
    shuffle_window: PositiveInt | None = (
        None  # samples that are shuffled with each other, read as one; None: all of them
    )
    placement: Literal["auto", "device", "host"] = "auto"  # where the samples are; auto: on the device if they fit


class Loader:
    """Batches of one split. Evaluation sees every sample once, in order and untransformed."""

    rank, num_processes = 0, 1  # which share of each batch is this process's

    def __init__(self, dataset: TensorDataset, config: Config, *, training: bool, seed: int) -> None:
        self.samples = Batch(*dataset.tensors)
        self.config = config
        self.training = training
        self.seed = seed
        self.place(torch.device("cpu"))

    @cached_property
    def num_samples(self) -> int:
        """The number of samples in an epoch."""
        num_samples = len(self.samples.ids)
        return (
            num_samples - num_samples % self.config.batch_size
            if self.training and self.config.drop_last
            else num_samples
        )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-self.num_samples // self.config.batch_size)

    def size(self, index: int) -> int:
        """Return the number of samples in a batch, of all processes together."""
        return min(self.config.batch_size, self.num_samples - index * self.config.batch_size)

    def share(self, index: int) -> int:
        """Return the number of samples of a batch that this process has."""
        return -(-(self.size(index) - self.rank) // self.num_processes)

    def place(self, device: torch.device, *, channels_last: bool = False) -> None:
        """Give batches on `device` from now on; keep the samples there where they fit, and the config allows it."""
        self.device = device
        self._is_channels_last = channels_last and self.samples.inputs.ndim == 4
        self._stored = self.samples
        if device.type != "cpu" and self._belongs_on(device):
            self._stored = self.samples.to(device)

    def epoch(self, epoch: int, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """Return the batches `start` to `stop` of one epoch: this process's share of each."""
        indices = range(start, len(self) if stop is None else min(stop, len(self)))
        batches = self._gather(epoch, indices)
        if self.samples.inputs.dtype == torch.uint8:
            batches = map(_scale, batches)
        if self._is_channels_last:
            batches = map(_order_channels_last, batches)
        if self.training and type(self).transform is not Loader.transform:
            batches = self._transform(epoch, indices, batches)
        return batches

    def draw(self, epoch: int) -> Tensor:
        """Return the rows of an epoch, in the order in which its batches have them; on the CPU."""
        if not self.training:
            return torch.arange(len(self.samples.ids))
        order = self.order(torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63))
        if len(order) != len(self.samples.ids):
            name = type(self).__name__
            raise ValueError(
                f"{name}.order returned {len(order)} rows, and the split has {len(self.samples.ids)} samples"
            )
        return order

    def order(self, generator: torch.Generator) -> Tensor:
        """Return the rows of a training epoch, in the order in which they are drawn; on the CPU.

        With `shuffle_window`, blocks of rows that stand together are drawn in any order, and those of each window are
        shuffled: what is read from a disk is read in long runs.
        """
        num_samples, window = len(self.samples.ids), self.config.shuffle_window
        if window is None or window >= num_samples:
            return torch.randperm(num_samples, generator=generator)
        window = max(1, window // self.config.batch_size) * self.config.batch_size
        blocks = torch.split(torch.arange(num_samples), max(1, window // 4))
        drawn = torch.cat([blocks[place] for place in torch.randperm(len(blocks), generator=generator)])
        return torch.cat([part[torch.randperm(len(part), generator=generator)] for part in torch.split(drawn, window)])

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return the training batch that the model sees, on the device where it is; draws only from `generator`."""
        return batch

    def _gather(self, epoch: int, indices: range) -> Iterator[Batch]:
        """Yield this process's share of the batches with these indices, on the device and untransformed."""
        if not len(indices):
            return iter(())
        size = self.config.batch_size
        order = self.draw(epoch)[indices.start * size : indices.stop * size].to(self._stored.ids.device)
        shares = [self._take_share(rows) for rows in torch.split(order, size)[: len(indices)]]
        if len(shares) < len(indices):
            raise ValueError(f"{type(self).__name__}.draw returned too few rows for {len(self)} batches of {size}")
        upcoming: Iterable[Tensor] = shares
        if self._stored.ids.device.type == "cpu" and self.config.shuffle_window and self.training:
            upcoming = disk.announce(self._stored, shares, max(1, self.config.shuffle_window // size))
        if self._stored.ids.device.type == self.device.type:
            return (self._stored.select(rows) for rows in upcoming)
        return copy_ahead(self._stored, upcoming, size, self.device)

    def _transform(self, epoch: int, indices: range, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the batches with these indices as the model sees them."""
        generator = torch.Generator(self.device)
        for index, batch in zip(indices, batches, strict=True):
            place = (self.seed * 1_000_003 + epoch) * 2**20 + index * self.num_processes + self.rank
            yield self.transform(batch, generator.manual_seed(place % 2**63))

    def _take_share(self, rows: Tensor) -> Tensor:
        """Return this process's rows of a batch; where there are not enough, one that then counts for nothing."""
        if self.num_processes == 1:
            return rows
        share = rows[self.rank :: self.num_processes]
        return share if len(share) else rows[:1]

    def _belongs_on(self, device: torch.device) -> bool:
        """Say whether the samples are to be kept on the device: `auto` takes up to a quarter of what is free there."""
        if self.config.placement != "auto":
            return self.config.placement == "device"
        num_bytes = sum(tensor.nbytes for tensor in self.samples)
        return num_bytes <= torch.cuda.mem_get_info(device)[0] // 4


def _scale(batch: Batch) -> Batch:
    """Return images of whole numbers as float32 from 0 to 1: stored, they take a quarter of the room."""
    return batch._replace(inputs=batch.inputs.float().div_(255))


def _order_channels_last(batch: Batch) -> Batch:
    return batch._replace(inputs=batch.inputs.contiguous(memory_format=torch.channels_last))
