"""Models as files, small and real."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from common.config import NoParams
from common.dataset import Metadata
from common.file_model import FileModel
from common.model import Config, ConvNet
from common.model_files.programs import save_torch_export
from common.saved_model import write_model
from tests.datasets import make_dataset

_IMAGES = torch.zeros(5, 1, 4, 4)


def make_net(num_inputs: int = 16, num_classes: int = 3) -> nn.Module:
    """Return a perceptron that takes images of so many pixels; those of the dots, without arguments."""
    return nn.Sequential(nn.Flatten(), nn.Linear(num_inputs, num_classes))


def write_pickle(path: Path, model: nn.Module | None = None) -> None:
    """Pickle a whole module."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(model or make_net()))


def write_built(folder: Path, model: nn.Module | None = None, metadata: Metadata | None = None) -> nn.Module:
    """Write a built model, a small ConvNet of the dots without arguments; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = metadata or make_dataset().metadata
    config = Config(channels=2)
    model = model or ConvNet(config, metadata)
    write_model(model, NoParams() if isinstance(model, FileModel) else config, metadata, folder)
    return model


def write_script(path: Path) -> None:
    """Trace a module, as TorchScript."""
    torch.jit.save(torch.jit.trace(make_net().eval(), _IMAGES), path)  # type: ignore[no-untyped-call]


def write_export(path: Path) -> None:
    """Export a module as a program."""
    save_torch_export(make_net(), _IMAGES, path)


# What writes the file of each class of whole models that bring code.
SAVERS: Mapping[str, Callable[[Path], None]] = {
    "PickledModel": write_pickle,
    "TorchScriptModel": write_script,
    "ExportedProgramModel": write_export,
}
