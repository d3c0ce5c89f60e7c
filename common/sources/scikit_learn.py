"""The tables that ship inside scikit-learn; the digits have a source of their own."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from sklearn import datasets

from common.samples import Samples, Source


@dataclass(frozen=True)
class ScikitLearn(Source):
    """Numbers (columns,) float32 as they stand there, not scaled; ids are places.

    Those of iris, wine and breast_cancer have a class; those of diabetes a quantity, those of linnerud three.
    """

    dataset: Literal["iris", "wine", "breast_cancer", "diabetes", "linnerud"]

    @property
    def name(self) -> str:
        """The name of the dataset."""
        return self.dataset

    def parts(self) -> list[None]:
        """Return one part: all of it."""
        return [None]

    def load(self, part: None) -> Samples:
        """Return all rows."""
        bunch = self._load()
        is_class = np.issubdtype(bunch.target.dtype, np.integer)
        return Samples(
            inputs=torch.tensor(bunch.data, dtype=torch.float32),
            targets=torch.tensor(bunch.target, dtype=torch.int64 if is_class else torch.float32),
            ids=torch.arange(len(bunch.data)),
            classes=tuple(str(name) for name in bunch.target_names) if is_class else (),
        )

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Return the hash of inputs and targets."""
        bunch = self._load()
        digest = hashlib.sha256(bunch.data.tobytes() + bunch.target.tobytes()).hexdigest()
        return ({"name": f"sklearn.datasets.load_{self.dataset}", "sha256": digest},)

    def _load(self) -> Any:
        arguments = {"scaled": False} if self.dataset == "diabetes" else {}
        return getattr(datasets, f"load_{self.dataset}")(**arguments)
