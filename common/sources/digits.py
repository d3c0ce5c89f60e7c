"""The UCI optical digits: 1,797 images of 8 × 8 pixels, which ship inside scikit-learn."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.datasets import load_digits

from common.samples import Samples, Source


@dataclass(frozen=True)
class Digits(Source):
    """Images (1, 8, 8) of ink from 0 to 1; the classes are the digits, the ids places in the file."""

    name = "optical digits"

    def parts(self) -> list[None]:
        """Return one part: all of them."""
        return [None]

    def load(self, part: None) -> Samples:
        """Return all images."""
        bunch = load_digits()
        inputs = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16.0
        targets = torch.tensor(bunch.target, dtype=torch.int64)
        return Samples(inputs, targets, torch.arange(len(inputs)), tuple(str(name) for name in bunch.target_names))

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Return the hash of pixels and targets."""
        bunch = load_digits()
        digest = hashlib.sha256(bunch.images.tobytes() + bunch.target.tobytes()).hexdigest()
        return ({"name": "sklearn.datasets.load_digits", "sha256": digest},)
