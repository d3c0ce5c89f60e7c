"""What training leaves: its weights, its history, and when it stops."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from common import data, engine, model
from common.dataset import Batch, Dataset
from common.loader import Loader
from common.model import ConvNet
from common.trainer import Config, Trainer
from tests.datasets import make_dataset, make_loader

Weights = dict[str, Tensor]


class LostTrainer(Trainer):
    """Its loss is not finite from the second epoch on."""

    num_calls = 0

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, once per batch."""
        self.num_calls += 1
        return super().loss(logits, targets) * (math.inf if self.num_calls > 3 else 1)


class ScriptedTrainer(Trainer):
    """Notes the weights after each epoch, and says of each what the script says."""

    script: tuple[float, ...]

    def validate(self, model: nn.Module, valid: Loader) -> float:
        """Return the next scripted accuracy."""
        self.seen: list[Weights] = [*getattr(self, "seen", []), _copy_weights(model)]
        return self.script[len(self.seen) - 1]


class RateTrainer(Trainer):
    """Notes the learning rate of each step."""

    rates: list[float]
    optimizer: Optimizer

    def train_step(self, model: nn.Module, batch: Batch, optimizer: Optimizer) -> Tensor:
        """Return the loss of a step."""
        self.optimizer = optimizer
        self.rates.append(optimizer.param_groups[0]["lr"])
        return super().train_step(model, batch, optimizer)


def _copy_weights(model: nn.Module) -> Weights:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _is_equal(ours: Weights, theirs: Weights) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def _make_trainer(trainer_class: type[Trainer] = Trainer, *, epochs: int = 3, seed: int = 0) -> Trainer:
    return trainer_class(Config(epochs=epochs, learning_rate=0.03), engine.Config(device="cpu", seed=seed))


def _fit(trainer: Trainer, dataset: Dataset | None = None) -> tuple[Weights, list[dict[str, Any]]]:
    """Train a small network on the dots; return its weights and the history."""
    dataset = dataset or make_dataset()
    net = ConvNet(model.Config(channels=4), dataset.metadata)
    history: list[dict[str, Any]] = []
    train = make_loader(dataset.train, training=True, seed=trainer.runtime.seed)
    trainer.fit(net, train, make_loader(dataset.valid), history.append)
    return _copy_weights(net), history


def test_weights_are_equal_to_the_bit_when_the_seed_is() -> None:
    assert _is_equal(_fit(_make_trainer(seed=3))[0], _fit(_make_trainer(seed=3))[0])


def test_weights_differ_when_the_seed_does() -> None:
    assert not _is_equal(_fit(_make_trainer(seed=3))[0], _fit(_make_trainer(seed=4))[0])


def test_history_has_one_row_an_epoch() -> None:
    history = _fit(_make_trainer(epochs=4))[1]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert {frozenset(row) for row in history} == {
        frozenset({"epoch", "train_loss", "valid_accuracy", "samples_per_s"})
    }


def test_network_learns_the_dots() -> None:
    history = _fit(_make_trainer(epochs=12))[1]
    assert history[-1]["train_loss"] < 0.3 * history[0]["train_loss"]
    assert history[-1]["valid_accuracy"] == 1.0


def test_training_stops_when_the_loss_is_not_finite() -> None:
    history: list[dict[str, Any]] = []
    trainer, dataset = _make_trainer(LostTrainer), make_dataset()
    net = ConvNet(model.Config(channels=2), dataset.metadata)
    train = make_loader(dataset.train, training=True)
    assert len(train) == 3
    with pytest.raises(FloatingPointError, match="in epoch 2"):
        trainer.fit(net, train, make_loader(dataset.valid), history.append)
    assert [row["epoch"] for row in history] == [1]


@pytest.mark.parametrize(("script", "kept"), [((0.2, 0.9, 0.5), 1), ((0.9, 0.2, 0.5), 0), ((0.5, 0.9, 0.9), 2)])
def test_weights_of_the_best_epoch_are_kept_and_of_equals_the_last(script: tuple[float, ...], kept: int) -> None:
    trainer = _make_trainer(ScriptedTrainer, epochs=len(script))
    assert isinstance(trainer, ScriptedTrainer)
    trainer.script = script
    weights, _ = _fit(trainer)
    assert [_is_equal(weights, seen) for seen in trainer.seen] == [epoch == kept for epoch in range(len(script))]


def test_weights_of_the_last_epoch_are_kept_when_valid_is_empty() -> None:
    dataset = make_dataset(data.Config(valid_fraction=0.0))
    weights, history = _fit(_make_trainer(epochs=2), dataset)
    assert [row["valid_accuracy"] for row in history] == [0.0, 0.0]

    trainer = _make_trainer(ScriptedTrainer, epochs=2)
    assert isinstance(trainer, ScriptedTrainer)
    trainer.script = (0.0, 0.0)
    _fit(trainer, dataset)
    assert _is_equal(weights, trainer.seen[-1])


def test_learning_rate_falls_to_zero_over_the_whole_training() -> None:
    trainer = _make_trainer(RateTrainer, epochs=4)
    assert isinstance(trainer, RateTrainer)
    trainer.rates = []
    _fit(trainer)
    assert len(trainer.rates) == 4 * len(make_loader(make_dataset().train))
    assert trainer.rates[0] == 0.03
    assert trainer.rates == sorted(set(trainer.rates), reverse=True)
    assert 0.0 < trainer.rates[-1] < 0.001
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)


def test_loss_is_smoothed_when_the_config_says_so() -> None:
    logits, targets = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([0])
    plain, smooth = (
        Trainer(Config(label_smoothing=value), engine.Config(device="cpu")).loss(logits, targets)
        for value in (0.0, 0.1)
    )
    assert smooth > plain + 0.1
