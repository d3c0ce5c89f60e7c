"""What training leaves: its weights, its history, when it stops, and that it goes on to the bit."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.optim.swa_utils import AveragedModel

from common import data, engine, loader, model
from common.checkpoint import Checkpoints
from common.dataset import Batch, Dataset
from common.loader import Loader
from common.model import ConvNet
from common.trainer import Config, Trainer
from experiments.random_shifts.loader import ShiftingLoader
from tests.datasets import make_dataset, make_loader

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]

Weights = dict[str, Tensor]
History = list[dict[str, Any]]


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


class AveragingTrainer(Trainer):
    """Draws from every generator, counts its steps, and validates an average of the weights."""

    num_steps = 0

    def build_optimizer(self, model: nn.Module) -> Optimizer:
        """Return an optimizer with momentum; begin the average."""
        self.average = AveragedModel(model)
        return SGD(model.parameters(), lr=self.config.learning_rate, momentum=0.9)

    def build_scheduler(self, optimizer: Optimizer, num_steps: int) -> LRScheduler:
        """Return a schedule that numpy computes, as many do."""
        return LambdaLR(optimizer, lambda step: 0.5 * (1 + np.cos(np.pi * step / num_steps)))

    def train_step(self, model: nn.Module, batch: Batch, optimizer: Optimizer) -> Tensor:
        """Return the loss of a step on noisy images; the more steps, the less noise."""
        self.num_steps += 1
        noise = (random.random() + np.random.randn() + torch.rand(1)).to(self.device) / self.num_steps
        loss = super().train_step(model, batch._replace(inputs=batch.inputs + noise.float()), optimizer)
        self.average.update_parameters(model)
        return loss

    def validate(self, model: nn.Module, valid: Loader) -> float:
        """Return the accuracy of the average."""
        return super().validate(self.average, valid)

    def state_dict(self) -> dict[str, Any]:
        """Add the average."""
        return {**super().state_dict(), "average": self.average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the average back."""
        super().load_state_dict(state)
        self.average.load_state_dict(state["average"])


class UnsureTrainer(Trainer):
    """Has no idea how accurate the model is."""

    def validate(self, model: nn.Module, valid: Loader) -> float:
        """Return no number."""
        return math.nan


class TwiceTrainer(Trainer):
    """Trains again what it has trained."""

    def fit(self, *args: Any) -> None:
        """Train twice."""
        super().fit(*args)
        super().fit(*args)


class Killed(BaseException):
    """The process ends here."""


def _copy_weights(model: nn.Module) -> Weights:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _is_equal(ours: Weights, theirs: Weights) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def _make_trainer(
    trainer_class: type[Trainer] = Trainer, *, epochs: int = 3, seed: int = 0, device: Any = "cpu"
) -> Trainer:
    return trainer_class(Config(epochs=epochs, learning_rate=0.03), engine.Config(device=device, seed=seed))


def _fit(trainer: Trainer, dataset: Dataset | None = None) -> tuple[Weights, History]:
    """Train a small network on the dots; return its weights and the history."""
    dataset = dataset or make_dataset()
    net = ConvNet(model.Config(channels=4), dataset.metadata)
    history: History = []
    train = make_loader(dataset.train, training=True, seed=trainer.runtime.seed)
    trainer.fit(net, train, make_loader(dataset.valid), history.append)
    return _copy_weights(net), history


def _train(
    folder: Path | None,
    trainer_class: type[Trainer] = Trainer,
    loader_class: type[Loader] = Loader,
    kill_when: Callable[[History], bool] = lambda history: False,
    device: str = "cpu",
) -> tuple[Weights, History]:
    """Train as a process of its own would, until it is killed; return weights and history without times."""
    trainer, dataset = _make_trainer(trainer_class, epochs=4, device=device), make_dataset()
    trainer.checkpoints = Checkpoints(folder) if folder else None
    net = ConvNet(model.Config(channels=4, dropout=0.5), dataset.metadata)
    train = loader_class(dataset.train, loader.Config(16), training=True, seed=0)
    history: History = []

    def record(row: dict[str, Any]) -> None:
        history.append({name: value for name, value in row.items() if name != "samples_per_s"})
        if kill_when(history):
            raise Killed

    trainer.fit(net, train, make_loader(dataset.valid), record)
    return _copy_weights(net), history


def _train_until(folder: Path, num_rows: int, *classes: Any, device: str = "cpu") -> None:
    """Train until a process has recorded so many rows and is killed."""
    with pytest.raises(Killed):
        _train(folder, *classes, kill_when=lambda history: len(history) == num_rows, device=device)


@pytest.mark.parametrize("device", DEVICES)
def test_weights_are_equal_to_the_bit_when_the_seed_is(device: str) -> None:
    ours, theirs = (_fit(_make_trainer(seed=3, device=device))[0] for _ in range(2))
    assert {tensor.device.type for tensor in ours.values()} == {device}
    assert _is_equal(ours, theirs)


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
    history: History = []
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


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("loader_class", [Loader, ShiftingLoader])
@pytest.mark.parametrize("trainer_class", [Trainer, AveragingTrainer, UnsureTrainer])
def test_killed_training_goes_on_to_the_bit(
    tmp_path: Path, trainer_class: type[Trainer], loader_class: type[Loader], device: str
) -> None:
    weights, history = _train(None, trainer_class, loader_class, device=device)
    for epoch in (1, 2, 3, 4):
        folder = tmp_path / str(epoch)
        _train_until(folder, epoch, trainer_class, loader_class, device=device)
        again, whole = _train(folder, trainer_class, loader_class, device=device)
        assert _is_equal(again, weights)
        assert str(whole) == str(history)  # as text, nan is nan


@pytest.mark.gpu
@pytest.mark.parametrize("trainer_class", [Trainer, AveragingTrainer])
@pytest.mark.parametrize(("before", "after"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_killed_training_goes_on_when_only_one_of_two_machines_has_a_gpu(
    tmp_path: Path, trainer_class: type[Trainer], before: str, after: str
) -> None:
    _train_until(tmp_path, 3, trainer_class, device=before)
    weights, history = _train(tmp_path, trainer_class, device=after)
    assert {tensor.device.type for tensor in weights.values()} == {after}
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert history[:2] == _train(None, trainer_class, device=before)[1][:2]


def test_training_goes_on_to_the_bit_when_it_is_killed_in_each_epoch(tmp_path: Path) -> None:
    for epoch in (1, 2, 2, 3, 4, 4):
        _train_until(tmp_path, epoch, AveragingTrainer)
    again, plain = _train(tmp_path, AveragingTrainer), _train(None, AveragingTrainer)
    assert _is_equal(again[0], plain[0])
    assert again[1] == plain[1]


def test_nothing_is_trained_again_when_a_training_was_killed_after_its_last_epoch(tmp_path: Path) -> None:
    weights, history = _train(tmp_path)
    again, whole = _train(tmp_path, LostTrainer)  # its loss would not be finite
    assert _is_equal(again, weights)
    assert whole == history


@pytest.mark.parametrize("num_rows", [2, 4, 6, 8])
def test_killed_training_goes_on_to_the_bit_when_it_fits_twice(tmp_path: Path, num_rows: int) -> None:
    weights, history = _train(None, TwiceTrainer)
    _train_until(tmp_path, num_rows, TwiceTrainer)
    again, whole = _train(tmp_path, TwiceTrainer)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 1, 2, 3, 4]
    assert _is_equal(again, weights)
    assert whole == history


@pytest.mark.parametrize("trainer_class", [Trainer, AveragingTrainer])
def test_weights_are_the_same_to_the_bit_when_checkpoints_are_kept(
    tmp_path: Path, trainer_class: type[Trainer]
) -> None:
    kept, plain = _train(tmp_path, trainer_class), _train(None, trainer_class)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit-1-epoch-3.pt", "fit-1-epoch-4.pt"]
    assert _is_equal(kept[0], plain[0])
    assert kept[1] == plain[1]


def test_earlier_rows_come_first_when_training_is_resumed(tmp_path: Path) -> None:
    _train_until(tmp_path, 3)  # killed before the third epoch is kept
    rows: list[History] = []
    _train(tmp_path, kill_when=lambda history: bool(rows.append(list(history))))
    assert [[row["epoch"] for row in history] for history in rows] == [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4]]


def test_numbers_on_the_trainer_come_back_when_it_is_resumed() -> None:
    old, new = _make_trainer(LostTrainer), _make_trainer(LostTrainer)
    assert isinstance(old, LostTrainer)
    assert isinstance(new, LostTrainer)
    old.num_calls = 7
    new.load_state_dict(old.state_dict())
    assert new.num_calls == 7
    assert vars(new).keys() == vars(old).keys()
