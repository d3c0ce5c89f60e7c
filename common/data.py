"""The data component: any source becomes the `TensorDataset`s and metadata of `common.dataset`.

Override `read` for another source, `transform` for another preparation of the same samples.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import TensorDataset

from common.config import Fraction
from common.dataset import SPLITS, Dataset, Metadata


@dataclass(frozen=True)
class Config:
    """Params of the section `data`."""

    valid_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    split_seed: int = 0


class Samples(NamedTuple):
    """All samples of a source, before they are split."""

    name: str
    inputs: Tensor  # (samples, *input_shape)
    targets: Tensor  # (samples,) int64 class indices
    ids: Tensor  # (samples,) int64, stable names of the samples
    classes: tuple[str, ...]
    sources: tuple[dict[str, Any], ...]


class DataModule:
    """Prepares a dataset: read → transform → split by a hash of the sample ids."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self) -> Samples:
        """Return every sample of the source."""
        raise NotImplementedError

    def transform(self, samples: Samples) -> Samples:
        """Return the samples as the model is to see them; by default unchanged."""
        return samples

    def prepare(self) -> Dataset:
        """Return the dataset that the stage `prepare` writes."""
        samples = self.transform(self.read())
        split_of = assign_splits(samples.ids.tolist(), self.config)
        splits = {}
        for name in SPLITS:
            rows = torch.tensor([row for row, split in enumerate(split_of) if split == name], dtype=torch.long)
            splits[name] = TensorDataset(samples.inputs[rows], samples.targets[rows], samples.ids[rows])
        return Dataset(metadata=_describe(samples, splits), **splits)


class Digits(DataModule):
    """The UCI optical digits: 1,797 images of 8 × 8 pixels, scaled to 0 … 1, with a channel dimension."""

    def read(self) -> Samples:
        """Read the images that ship inside scikit-learn."""
        bunch = load_digits()
        inputs = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16.0
        digest = hashlib.sha256(bunch.images.tobytes() + bunch.target.tobytes()).hexdigest()
        return Samples(
            name="optical digits",
            inputs=inputs,
            targets=torch.tensor(bunch.target, dtype=torch.int64),
            ids=torch.arange(len(inputs)),
            classes=tuple(str(name) for name in bunch.target_names),
            sources=({"name": "sklearn.datasets.load_digits", "sha256": digest},),
        )


def assign_splits(ids: Iterable[int], config: Config) -> list[str]:
    """Return the split of each sample, a pure function of (split seed, id): new samples never move old ones."""
    splits = []
    for sample_id in ids:
        digest = hashlib.sha256(f"{config.split_seed}:{sample_id}".encode()).digest()
        position = int.from_bytes(digest[:8], "big") / 2**64
        if position < config.test_fraction:
            splits.append("test")
        elif position < config.test_fraction + config.valid_fraction:
            splits.append("valid")
        else:
            splits.append("train")
    return splits


def _describe(samples: Samples, splits: dict[str, TensorDataset]) -> Metadata:
    train_inputs = splits["train"].tensors[0].double()
    statistics = {"mean": train_inputs.mean().item(), "std": train_inputs.std().item()}
    return Metadata(
        name=samples.name,
        input_shape=tuple(samples.inputs.shape[1:]),
        input_dtype=str(samples.inputs.dtype).removeprefix("torch."),
        classes=samples.classes,
        num_samples={name: len(split) for name, split in splits.items()},
        # The last bits of a sum depend on the machine; equal data is to have equal bytes.
        statistics={name: float(f"{value:.9g}") for name, value in statistics.items()},
        sources=samples.sources,
    )
