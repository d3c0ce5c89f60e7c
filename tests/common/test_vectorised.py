"""Seeds that are trained at once end where each would by itself."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from common import vectorised
from common.dataset import Batch, Dataset
from common.loader import Config as LoaderConfig
from common.loader import Loader
from common.loggers import Loggers
from common.trainer import Trainer
from common.vectorising import NotVectorisableError
from tests.datasets import make_dataset, make_loader
from tests.trainings import History, Killed, Notes, Weights, copy_weights, is_equal, is_near, make_trainer, open_checkpoints

NUM_SEEDS = 3
FIRST_SEED = 5
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


class Net(nn.Module):
    """A small network without anything that draws or counts."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.rand(16))
        self.layers = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits of shape (batch, 3)."""
        logits: Tensor = self.layers(inputs.flatten(1) * self.scale)
        return logits


class SharingNet(Net):
    """Two layers are one, two others share their weights and a buffer, and one is not trained."""

    def __init__(self) -> None:
        super().__init__()
        one, first, second = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        second.weight = first.weight
        for layer in (first, second):
            layer.register_buffer("shift", self.scale[:8])
            layer.register_forward_hook(lambda layer, _, outputs: outputs + layer.shift)
        activation = nn.ReLU(inplace=True)
        self.layers = nn.Sequential(
            nn.Linear(16, 8), one, nn.GroupNorm(2, 8), activation, one, first, activation, second, nn.Linear(8, 3)
        )
        self.layers[0].requires_grad_(False)


class ConvolutionalNet(Net):
    """Sees images."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits of shape (batch, 3)."""
        logits: Tensor = self.layers(inputs)
        return logits


class FocalTrainer(Trainer):
    """Has a loss of its own."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        losses = functional.cross_entropy(outputs, targets, reduction="none")
        return ((1 - (-losses).exp()) ** 2 * losses).mean()


class NoisyLoader(Loader):
    """Adds noise to training batches, and draws samples more than once."""

    def order(self, generator: torch.Generator) -> Tensor:
        """Return rows with repetition."""
        return torch.randint(len(self.samples.ids), (len(self.samples.ids),), generator=generator)

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return the batch with noise."""
        noise = torch.randn(batch.inputs.shape, generator=generator, device=batch.inputs.device)
        return batch._replace(inputs=batch.inputs + 0.1 * noise)


class CroppingLoader(Loader):
    """Gives batches whose size depends on the seed."""

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return some of the samples."""
        return Batch(*(tensor[: len(tensor) - self.seed % 2] for tensor in batch))


class Trained(NamedTuple):
    """What a training left, for each seed."""

    weights: list[Weights]
    rows: History
    trainer: Trainer


class Setting(NamedTuple):
    """One training, for as many seeds as are asked for."""

    net: Callable[[], nn.Module] = Net
    trainer: type[Trainer] = Trainer
    loader: type[Loader] = Loader
    loader_config: LoaderConfig = LoaderConfig(batch_size=16)
    dataset: Dataset = make_dataset()
    device: str = "cpu"

    def start(self, seed: int, **config: Any) -> tuple[Trainer, nn.Module, Loader]:
        """Return what a training with this seed begins with."""
        trainer = make_trainer(self.trainer, seed=seed, device=self.device, **config)
        train = self.loader(self.dataset.train, self.loader_config, training=True, seed=seed)
        return trainer, self.net(), train

    def fit_apart(self, seed: int, **config: Any) -> tuple[Weights, History]:
        """Train one seed by itself."""
        trainer, net, train = self.start(seed, **config)
        notes = Notes()
        trainer.loggers = Loggers([notes])
        trainer.fit(net, train, make_loader(self.dataset.valid))
        return copy_weights(net), notes.rows

    def fit_at_once(self, notes: Notes | None = None, folder: Path | None = None, **config: Any) -> Trained:
        """Train all seeds at once."""
        notes = notes or Notes()
        seeds = range(FIRST_SEED, FIRST_SEED + NUM_SEEDS)
        trainers, nets, trains = zip(
            *(self.start(seed, vectorised_seeds=NUM_SEEDS, **config) for seed in seeds), strict=True
        )
        trainers[0].loggers = Loggers([notes])
        if folder:
            open_checkpoints(trainers[0], folder, minutes=0)
        try:
            vectorised.fit(trainers[0], nets, trains, make_loader(self.dataset.valid))
        finally:
            if trainers[0].checkpoints:
                trainers[0].checkpoints.wait()
        return Trained([copy_weights(net) for net in nets], notes.rows, trainers[0])


def assert_equal_to_apart(setting: Setting, **config: Any) -> Trained:
    """Train both ways; compare weights and the history."""
    ours = setting.fit_at_once(**config)
    apart = [setting.fit_apart(FIRST_SEED + index, **config) for index in range(NUM_SEEDS)]
    for index, (weights, _) in enumerate(apart):
        assert is_near(ours.weights[index], weights), index
    for row, *theirs in zip(ours.rows, *(rows for _, rows in apart), strict=True):
        for name in theirs[0]:
            values = torch.tensor([each[name] for each in theirs], dtype=torch.float64)
            assert row[name] == pytest.approx(values.mean().item(), rel=1e-4)
            if name.startswith(("train_", "valid_")):
                assert row[f"{name}_std"] == pytest.approx(values.std().item(), rel=1e-3, abs=1e-5)
    return ours


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("optimizer", "config"),
    [
        ({"name": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": True}, {}),
        ({"name": "Adam", "lr": 0.03, "weight_decay": 0.1}, {"keep": "last"}),
        ({"name": "AdamW", "lr": 0.03}, {"warmup_steps": 3, "monitor": "valid_loss", "mode": "min"}),
        ({"name": "AdamW", "lr": 0.03}, {"schedule_by": "epoch", "scheduler": {"name": "StepLR", "step_size": 2}}),
        ({"name": "SGD", "lr": 0.5}, {"clip_norm": 0.3, "scheduler": None}),
        ({"name": "SGD", "lr": 0.1}, {"epochs": None, "steps": 7}),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if "name" in value else "",
)
def test_each_seed_ends_as_by_itself(optimizer: dict[str, Any], config: dict[str, Any], device: str) -> None:
    trained = assert_equal_to_apart(Setting(device=device), **{"optimizer": optimizer, "epochs": 4, **config})
    assert not is_near(trained.weights[0], trained.weights[1])


@pytest.mark.parametrize(
    "setting",
    [
        Setting(net=SharingNet),
        Setting(net=ConvolutionalNet),
        Setting(trainer=FocalTrainer),
        Setting(loader=NoisyLoader),
        Setting(loader_config=LoaderConfig(batch_size=16, drop_last=True)),
        Setting(loader_config=LoaderConfig(batch_size=16, shuffle_window=20)),
    ],
    ids=["sharing", "convolutional", "loss", "transform", "drop_last", "window"],
)
def test_each_seed_ends_as_by_itself_whatever_is_overridden(setting: Setting) -> None:
    assert_equal_to_apart(setting)


def test_last_batch_is_smaller_in_these_tests() -> None:
    assert len(make_dataset().train) % 16
