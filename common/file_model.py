"""Models that a file of the experiment describes, where others have a class of their own."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from common.dataset import Metadata


@dataclass(frozen=True)
class Config:
    """A model that a file describes takes no params: all of it stands in the file."""


class FileModel(nn.Module):
    """Base class of the forms of model files: (batch, *input_shape) → (batch, classes), from (config, metadata, file).

    Which form has which of its subclasses says the table `READERS` of `pipeline/components.py`. Those that run code
    which the file brings also take the SHA-256 that somebody vouched for, and keep it as `sha256`.
    """

    has_weights = False  # of the file, to train on

    @abstractmethod
    def __init__(self, config: Any, metadata: Metadata, file: Path) -> None:
        super().__init__()
        self.sha256 = ""

    @abstractmethod
    def write_file(self, folder: Path) -> str:
        """Write the file to build this model from again into `folder`; return its path in there.

        Equal models write equal bytes. The name is `architecture` and a suffix, or leads into a folder of that name.
        """
