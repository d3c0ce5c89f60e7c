"""Small trainings on the dots, and what they leave."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from common import engine, loader, model
from common.checkpoint import Checkpoints
from common.dataset import Dataset
from common.loader import Loader
from common.loggers import Loggers
from common.model import ConvNet
from common.trainer import Config, Trainer
from tests.datasets import make_dataset, make_loader

Weights = dict[str, Tensor]
History = list[dict[str, Any]]

SGD = {"name": "SGD", "lr": 0.03}


class Killed(BaseException):
    """The process ends here."""


class Notes:
    """Hears of a training, and ends the process when `kill_when` says so."""

    def __init__(self, kill_when: Callable[[History], bool] = lambda rows: False) -> None:
        self.rows: History = []
        self.steps: list[tuple[int, dict[str, float]]] = []
        self._kill_when = kill_when

    def start(self, facts: Mapping[str, Any]) -> None:
        """Do nothing."""

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Note the values of a step."""
        self.steps.append((step, dict(values)))

    def log_epoch(self, row: Mapping[str, Any]) -> None:
        """Note a row, without times."""
        self.rows.append({name: value for name, value in row.items() if name != "samples_per_s"})
        if self._kill_when(self.rows):
            raise Killed

    def finish(self, status: str) -> None:
        """Do nothing."""


class Fitted(NamedTuple):
    """What a training left."""

    weights: Weights
    rows: History
    trainer: Trainer
    model: nn.Module


def copy_weights(module: nn.Module) -> Weights:
    """Return the weights as they are now."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def is_equal(ours: Weights, theirs: Weights) -> bool:
    """Say whether weights are equal to the bit."""
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def is_near(ours: Weights, theirs: Weights) -> bool:
    """Say whether weights are equal but for what the order of a sum changes."""
    return all(torch.allclose(ours[name].cpu(), theirs[name].cpu(), rtol=1e-4, atol=1e-6) for name in ours)


def make_trainer(
    trainer_class: type[Trainer] = Trainer, *, seed: int = 0, device: Any = "cpu", **config: Any
) -> Trainer:
    """Return a trainer with this config; without one, three epochs of AdamW."""
    defaults = {"epochs": 3, "optimizer": {"name": "AdamW", "lr": 0.03}}
    return trainer_class(Config(**{**defaults, **config}), engine.Config(device=device, seed=seed))


def make_net(dropout: float = 0.0) -> ConvNet:
    """Return a small network with fresh weights."""
    return ConvNet(model.Config(channels=4, dropout=dropout), make_dataset().metadata)


def fit(
    trainer: Trainer,
    net: nn.Module | None = None,
    dataset: Dataset | None = None,
    *,
    loader_class: type[Loader] = Loader,
    notes: Notes | None = None,
    **config: Any,
) -> Fitted:
    """Train `net` on the dots, in batches of 16 where the loader's config does not say otherwise."""
    dataset, net, notes = dataset or make_dataset(), net or make_net(), notes or Notes()
    loader_config = loader.Config(**{"batch_size": 16, **config})
    train = loader_class(dataset.train, loader_config, training=True, seed=trainer.runtime.seed)
    trainer.loggers = Loggers([notes])
    try:
        trainer.fit(net, train, make_loader(dataset.valid))
    finally:
        if trainer.checkpoints:
            trainer.checkpoints.wait()  # a process that is killed by an exception has no thread that goes on
    return Fitted(copy_weights(net), notes.rows, trainer, net)


def open_checkpoints(trainer: Trainer, folder: Path, minutes: float | None = None) -> Trainer:
    """Let a trainer keep its state in a folder."""
    trainer.checkpoints = Checkpoints(folder, minutes=minutes)
    return trainer
