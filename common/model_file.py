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

    Which file means which form says the table `FORMS` of `pipeline/components.py`.
    """

    @abstractmethod
    def __init__(self, config: Any, metadata: Metadata, file: Path) -> None:
        super().__init__()

    @abstractmethod
    def write_file(self, folder: Path) -> str:
        """Write the file to build this model from again into `folder`, but for its weights; return the file's name.

        Equal models write equal bytes. The name is `architecture` and a suffix; without one, it is a folder's.
        """
