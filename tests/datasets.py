"""A small data set that a small network learns in a blink."""

import torch
from torch.utils.data import TensorDataset

from common import loader
from common.data import Config, DataModule, Samples
from common.dataset import Dataset
from common.loader import Loader


class Dots(DataModule):
    """Noisy images of 4 × 4 pixels with one bright dot: its place on the diagonal is the class."""

    num_samples = 60

    def read(self) -> Samples:
        """Return the same samples at every call; more of them never change the first."""
        targets = torch.arange(self.num_samples) % 3
        noise = [torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(i)) for i in range(self.num_samples)]
        inputs = 0.2 * torch.stack(noise)
        inputs[torch.arange(self.num_samples), 0, targets, targets] = 1.0
        return Samples("dots", inputs, targets, torch.arange(self.num_samples), ("a", "b", "c"), ({"name": "dots"},))


def make_dataset(config: Config | None = None) -> Dataset:
    """Return the dots, split."""
    return Dots(config or Config()).prepare()


def make_loader(split: TensorDataset, *, training: bool = False, seed: int = 0, batch_size: int = 16) -> Loader:
    """Return the common loader of a split."""
    return Loader(split, loader.Config(batch_size), training=training, seed=seed)
