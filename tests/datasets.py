"""A small data set that a small network learns in a blink."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils.data import TensorDataset

from common import loader
from common.data import Config, DataModule, Samples
from common.dataset import SPLITS, Dataset, map_dataset, read_dataset
from common.dataset_writer import DatasetWriter
from common.hashing import find_keys
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
        return Samples(inputs, targets, torch.arange(self.num_samples), ("a", "b", "c"))

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Return where they come from."""
        return ({"name": "dots"},)


def make_dataset(config: Config | None = None) -> Dataset:
    """Return the dots: 47 for training, 4 for validation and 9 to test."""
    return prepare(Dots(config or Config(split_seed=1013)))


def prepare(module: DataModule) -> Dataset:
    """Return what a data module prepares."""
    with TemporaryDirectory() as folder:  # mapped files live on without their names
        module.prepare(Path(folder))
        return read_dataset(Path(folder))


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Write a dataset whose splits are given."""
    with DatasetWriter(folder) as writer:
        for name in SPLITS:
            tensors = dataset.split(name).tensors
            splits = torch.full((len(tensors[0]),), SPLITS.index(name))
            writer.add(Samples(*tensors, dataset.metadata.classes), tensors[2], splits)
        writer.finish(dataset.metadata.name, "a test", lambda: dataset.metadata.sources)


def write_samples(folder: Path, samples: Samples, splits: str = "", name: str = "a test") -> Dataset:
    """Write samples as a dataset into a new folder; a letter of `splits` a sample: t(rain), v(alid), s for test."""
    folder.mkdir(parents=True)
    places = torch.tensor(["tvs".index(letter) for letter in splits or "t" * len(samples.ids)])
    with DatasetWriter(folder) as writer:
        writer.add(samples, find_keys(samples.ids), places)
        writer.finish(name, "a test", lambda: ())
    return map_dataset(folder)


def make_loader(split: TensorDataset, *, training: bool = False, seed: int = 0, batch_size: int = 16) -> Loader:
    """Return the common loader of a split."""
    return Loader(split, loader.Config(batch_size), training=training, seed=seed)
