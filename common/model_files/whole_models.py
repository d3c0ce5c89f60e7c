"""Models that stand in a file of another tool, with their weights: what such a file gives, as a model of ours.

The module that the file holds is the part `model`: its tensors are named `model.` and so on. A built model keeps a copy
of the file, as it was, in the folder `architecture`.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from common.dataset import Metadata
from common.file_model import FileModel
from common.model_files.loading import load_whole
from common.model_files.onnx_models import find_locations
from common.model_files.sources import ModelFileError, first_line, read_verified

FOLDER = "architecture"  # in the folder of a built model
_BATCH = 2  # samples of the trial


class WholeModel(FileModel):
    """Base class: (batch, *input_shape) → (batch, classes), with the weights of the file."""

    form: ClassVar[str]  # as `pipeline.modelforms` calls it
    has_weights = True

    def __init__(self, config: Any, metadata: Metadata, file: Path, sha256: str = "") -> None:
        """Read the file. One that brings code has to have this SHA-256.

        Raises ModelFileError for what cannot be read, and for a model that does not take this data.
        """
        super().__init__(config, metadata, file)
        self.sha256 = sha256
        self._file = file
        self.model = self.load(file, sha256)
        check_fit(self.model, metadata, file.name)

    def load(self, file: Path, sha256: str) -> nn.Module:
        """Return the module that the file holds."""
        return load_whole(self.form, file, sha256)

    def forward(self, inputs: Tensor) -> Any:
        """Return what the module of the file gives."""
        return self.model(inputs)

    def write_file(self, folder: Path) -> str:
        """Copy the file, or all of the folder, as it is, into `folder`; return its path in there."""
        if self._file.is_dir():
            copy_files(self._file, self.list_files(), folder / FOLDER)
            return FOLDER
        if self.sha256:
            (folder / FOLDER).mkdir()
            (folder / FOLDER / self._file.name).write_bytes(read_verified(self._file, self.sha256).getbuffer())
        else:
            copy_files(self._file.parent, self.list_files(), folder / FOLDER)
        return f"{FOLDER}/{self._file.name}"

    def list_files(self) -> list[str]:
        """Return the files to copy: relative to the folder of the file, or to the folder that it is."""
        return list_plain(self._file) if self._file.is_dir() else [self._file.name]


class PickledModel(WholeModel):
    """A whole module, pickled. Its classes are imported, and its code runs."""

    form = "torch_module"


class TorchScriptModel(WholeModel):
    """A TorchScript program."""

    form = "torchscript"


class ExportedProgramModel(WholeModel):
    """A program that torch.export saved."""

    form = "torch_export"


class OnnxModel(WholeModel):
    """An ONNX graph."""

    form = "onnx"

    def list_files(self) -> list[str]:
        """Return the files to copy: the graph, and those with its tensors."""
        return [self._file.name, *find_locations(self._file)]


class KerasModel(WholeModel):
    """A model of Keras 3."""

    form = "keras"


class HuggingFaceModel(WholeModel):
    """A pretrained model of transformers."""

    form = "huggingface"


def list_plain(folder: Path) -> list[str]:
    """Return the files below a folder, relative to it, without hidden ones."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [str(file) for file in files if not any(p.startswith(".") or p == "__pycache__" for p in file.parts)]


def copy_files(source: Path, names: Iterable[str], target: Path) -> None:
    """Copy files of one folder into another, which is made; links become files."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)


def check_fit(model: nn.Module, metadata: Metadata, name: str) -> None:
    """Try a model on a batch of zeros of the data's shape. Raises ModelFileError that names the shapes.

    The model's modes and torch's generators are afterwards as they were.
    """
    dtype = getattr(torch, metadata.input_dtype)
    shape = (_BATCH, *metadata.input_shape)
    inputs = torch.zeros(shape, dtype=torch.float32 if dtype is torch.uint8 else dtype)
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            outputs = model.eval()(inputs)
    except Exception as error:  # whatever the layers say of a shape that they do not take
        raise ModelFileError(f"'{name}' does not take a batch of the shape {shape}: {first_line(error)}") from error
    finally:
        for module, mode in modes.items():
            module.training = mode
    num_classes = len(metadata.classes)
    found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    is_fit = isinstance(outputs, Tensor) and outputs.ndim == 2 and len(outputs) == _BATCH
    if not is_fit or (num_classes and outputs.shape[1] != num_classes):
        wanted = f"(batch, classes) = ({_BATCH}, {num_classes or 'outputs'})"
        raise ModelFileError(f"'{name}' gives {found} for a batch of the shape {shape}, wanted {wanted}")
