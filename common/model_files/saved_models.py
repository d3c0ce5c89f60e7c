"""A built model of another experiment, copied into the folder of this one, as the model to train on."""

from pathlib import Path
from typing import ClassVar

from torch import nn

from common.model_files.sources import ModelFileError, first_line
from common.model_files.whole_models import WholeModel, list_plain
from common.saved_model import load_model


class SavedModel(WholeModel):
    """A built model as a folder: model.json, weights, and what else it takes.

    Its class is one of the checkout; code that it brings runs only with the SHA-256 given here, whatever its
    model.json says.
    """

    form: ClassVar[str] = "force"

    def load(self, file: Path, sha256: str) -> nn.Module:
        """Rebuild the model."""
        try:
            return load_model(file, sha256)
        except (ModelFileError, ImportError):
            raise
        except Exception as error:  # a class of the checkout that has changed raises what it likes
            raise ModelFileError(f"'{file.name}' cannot be rebuilt: {first_line(error)}") from error

    def list_files(self) -> list[str]:
        """Return the files to copy: all but the models of further seeds."""
        return [name for name in list_plain(self._file) if not name.startswith("seed_")]
