"""A training that was killed goes on to the bit, wherever that was."""

import math
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from common import loader, model
from common.checkpoint import Checkpoints
from common.dataset import Batch
from common.loader import Loader
from common.loggers import Loggers
from common.meter import Values
from common.model import ConvNet
from common.roles import Role
from common.stateful import Attributes
from common.trainer import Trainer
from experiments.random_shifts.loader import ShiftingLoader
from tests.datasets import make_dataset, make_loader
from tests.processes import Child
from tests.trainings import (
    Fitted,
    Killed,
    Notes,
    fit,
    is_equal,
    make_net,
    make_trainer,
    open_checkpoints,
)

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


class EagerTrainer(Trainer):
    """Keeps its state at every step."""

    report_s = 0.0


class CustomTrainer(EagerTrainer):
    """Draws from every generator, counts its batches, remembers some, and has a schedule that numpy computes."""

    num_batches = 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.memory = torch.zeros(0)

    def build_optimizer(self, module: nn.Module, choice: Any) -> Optimizer:
        """Return an optimizer with momentum."""
        return SGD(module.parameters(), lr=choice["lr"], momentum=0.9)

    def build_scheduler(self, optimizer: Optimizer, choice: Any, num_steps: int) -> LRScheduler:
        """Return a schedule that numpy computes, as many do."""
        return LambdaLR(optimizer, lambda step: 0.5 * (1 + np.cos(np.pi * step / num_steps)))

    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Tensor | Values:
        """Return the loss on noisy images; the more batches, the less noise."""
        self.num_batches += 1
        noise = (random.random() + np.random.randn() + torch.rand(1)).to(self.device) / self.num_batches
        self.memory = torch.cat([self.memory, noise.cpu()])[-5:]
        inputs = batch.inputs + noise.float() + self.memory.mean().float().to(self.device)
        return super().compute_loss(model, batch._replace(inputs=inputs), role)

    def on_epoch_end(self, row: dict[str, Any]) -> None:
        """Say what is remembered."""
        row["memory"] = float(self.memory.sum())

    def state_dict(self) -> dict[str, Any]:
        """Add the memory."""
        return {**super().state_dict(), "memory": self.memory}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the memory back."""
        super().load_state_dict(state)
        self.memory = state["memory"]


class ThawingTrainer(EagerTrainer):
    """Trains the features from the second epoch on."""

    def build_optimizer(self, module: nn.Module, choice: Any) -> Optimizer:
        """Return an optimizer without momentum, to which a frozen parameter is one without a gradient."""
        return SGD(module.parameters(), lr=choice["lr"])

    def on_fit_start(self) -> None:
        """Freeze the features."""
        self.model.get_submodule("features").requires_grad_(False)

    def on_epoch_start(self, epoch: int) -> None:
        """Thaw them."""
        if epoch == 2:
            self.model.requires_grad_(True)


class UnsureTrainer(EagerTrainer):
    """Has no idea how accurate the model is."""

    def validate(self, valid: Loader) -> dict[str, float]:
        """Return no number."""
        return {"accuracy": math.nan}


class FallingTrainer(EagerTrainer):
    """Is less accurate from epoch to epoch."""

    def validate(self, valid: Loader) -> dict[str, float]:
        """Return a number that falls."""
        return {"accuracy": 1 / (2 + self.progress.epoch)}


class TwiceTrainer(EagerTrainer):
    """Trains again what it has trained."""

    def fit(self, *args: Any) -> None:
        """Train twice."""
        super().fit(*args)
        super().fit(*args)


class UnableTrainer(EagerTrainer):
    """Cannot train."""

    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Tensor:
        """Raise an error."""
        raise AssertionError("it trains")


class Fatal(Notes):
    """Ends the process when it hears of a step for the `num_calls`th time; the state of that step is not kept."""

    def __init__(self, num_calls: int = -1) -> None:
        super().__init__()
        self._num_calls = num_calls

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Count."""
        super().log_step(step, values)
        if len(self.steps) == self._num_calls:
            raise Killed


ROLES = {"features": Role(optimizer={"name": "SGD", "lr": 0.1}), "classifier": Role(every=2, clip_norm=0.1)}
AVERAGED = {"ema_decay": 0.9, "warmup_steps": 4, "accumulate": 2}
CASES: dict[str, tuple[type[Trainer], dict[str, Any], type[Loader], dict[str, Any]]] = {
    "plain": (EagerTrainer, {}, Loader, {}),
    "steps": (EagerTrainer, {"epochs": None, "steps": 10}, Loader, {}),
    "accumulated": (EagerTrainer, {"accumulate": 4, "clip_norm": 0.5}, Loader, {"batch_size": 4}),
    "averaged": (EagerTrainer, {"ema_decay": 0.9, "keep": "last"}, Loader, {}),
    "fp16": (EagerTrainer, {"precision": "fp16"}, Loader, {}),
    "bf16": (EagerTrainer, {"precision": "bf16"}, Loader, {}),
    "roles": (EagerTrainer, {"roles": ROLES}, Loader, {}),
    "frozen": (EagerTrainer, {"roles": {"features": Role(frozen=True)}}, Loader, {}),
    "warmed up": (EagerTrainer, {"warmup_steps": 4}, Loader, {}),
    "one cycle": (EagerTrainer, {"scheduler": {"name": "OneCycleLR", "max_lr": 0.1}}, Loader, {}),
    "by epoch": (EagerTrainer, {"schedule_by": "epoch"}, Loader, {}),
    "plateau": (
        FallingTrainer,
        {"scheduler": {"name": "ReduceLROnPlateau", "patience": 0}, "epochs": 9, "patience": 3},
        Loader,
        {},
    ),
    "channels last": (EagerTrainer, {"channels_last": True}, Loader, {}),
    "custom": (CustomTrainer, {}, ShiftingLoader, {"drop_last": True}),
    "windows": (CustomTrainer, {**AVERAGED}, ShiftingLoader, {"batch_size": 4, "shuffle_window": 16}),
    "thawing": (ThawingTrainer, {"keep": "last"}, Loader, {}),
    "unsure": (UnsureTrainer, {}, Loader, {}),
    "twice": (TwiceTrainer, {}, Loader, {}),
}


def _train(
    name: str, folder: Path | None = None, notes: Notes | None = None, device: str = "cpu", trainer_class: Any = None
) -> Fitted:
    """Train as a process of its own would, until it is killed."""
    own_class, config, loader_class, loader_config = CASES[name]
    trainer = make_trainer(trainer_class or own_class, device=device, **config)
    if folder:
        open_checkpoints(trainer, folder, minutes=0.0)
    return fit(trainer, make_net(dropout=0.5), loader_class=loader_class, notes=notes, **loader_config)


def _train_until(name: str, folder: Path, notes: Notes, device: str = "cpu") -> None:
    with pytest.raises(Killed):
        _train(name, folder, notes, device)


def _after_rows(count: int) -> Notes:
    return Notes(lambda rows: len(rows) == count)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CASES)
def test_killed_training_goes_on_to_the_bit(tmp_path: Path, name: str, device: str) -> None:
    whole = _train(name, device=device)
    for num_calls in (2, 3, 1, 4):  # in the midst of epochs, and of each other
        _train_until(name, tmp_path, Fatal(num_calls), device)
    again = _train(name, tmp_path, device=device)
    assert is_equal(again.weights, whole.weights)
    assert str(again.rows) == str(whole.rows)  # as text, nan is nan
    assert Attributes(again.trainer).state_dict().keys() == Attributes(whole.trainer).state_dict().keys()


@pytest.mark.parametrize("name", ["plain", "custom", "thawing", "twice"])
def test_training_that_was_killed_after_an_epoch_goes_on_to_the_bit(tmp_path: Path, name: str) -> None:
    whole = _train(name)
    for num_rows in (1, 2, 2, 3, len(whole.rows)):
        _train_until(name, tmp_path, _after_rows(num_rows))
    again = _train(name, tmp_path)
    assert is_equal(again.weights, whole.weights)
    assert again.rows == whole.rows


@pytest.mark.parametrize("name", ["plain", "windows"])
def test_weights_are_the_same_to_the_bit_when_states_are_kept(tmp_path: Path, name: str) -> None:
    kept, plain = _train(name, tmp_path), _train(name)
    assert is_equal(kept.weights, plain.weights)
    assert kept.rows == plain.rows


def test_state_is_kept_at_each_step_and_two_stay(tmp_path: Path) -> None:
    _train_until("plain", tmp_path, Fatal(6))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit-1-step-3.pt", "fit-1-step-4.pt"]


def test_state_is_kept_only_after_epochs_when_it_is_due_later(tmp_path: Path) -> None:
    trainer = open_checkpoints(make_trainer(EagerTrainer), tmp_path)
    fit(trainer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit-1-step-6.pt", "fit-1-step-9.pt"]


def test_nothing_is_trained_again_when_a_training_was_killed_after_its_last_epoch(tmp_path: Path) -> None:
    whole = _train("plain", tmp_path)
    again = _train("plain", tmp_path, trainer_class=UnableTrainer)
    assert is_equal(again.weights, whole.weights)
    assert again.rows == whole.rows


def test_earlier_rows_come_first_and_hooks_of_a_begun_epoch_are_not_called_again(tmp_path: Path) -> None:
    class HookedTrainer(EagerTrainer):
        def on_epoch_start(self, epoch: int) -> None:
            begun.append(epoch)

    begun: list[int] = []
    _train_until("plain", tmp_path, Fatal(6))  # in the midst of the second epoch
    notes = Notes()
    _train("plain", tmp_path, notes, trainer_class=HookedTrainer)
    assert [row["epoch"] for row in notes.rows] == [1, 2, 3]
    assert [step for step, _ in notes.steps] == [4, 5, 6, 7, 8]
    assert begun == [3]


def test_training_reports_when_the_machine_before_had_run_for_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("common.trainer.time", SimpleNamespace(perf_counter=lambda: time.perf_counter() + 1e6))
        _train_until("plain", tmp_path, Fatal(4))
    notes = Notes()
    _train("plain", tmp_path, notes)
    assert [step for step, _ in notes.steps] == [3, 4, 5, 6, 7, 8]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["plain", "custom", "averaged", "windows"])
@pytest.mark.parametrize(("before", "after"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_killed_training_goes_on_when_only_one_of_two_machines_has_a_gpu(
    tmp_path: Path, name: str, before: str, after: str
) -> None:
    _train_until(name, tmp_path, _after_rows(3), before)
    fitted = _train(name, tmp_path, device=after)
    assert {tensor.device.type for tensor in fitted.weights.values()} == {after}
    assert [row["epoch"] for row in fitted.rows] == [1, 2, 3]
    assert fitted.rows[:2] == _train(name, device=before).rows[:2]


class HeavyTrainer(CustomTrainer):
    """Takes long enough to be hit."""

    report_s = 0.0


def _train_heavily(begin: Callable[[], None], folder: Path, out: Path, minutes: float) -> None:
    """Train in a process of its own; leave weights and rows in the file `out`."""
    trainer = make_trainer(HeavyTrainer, epochs=10, **AVERAGED)
    dataset = make_dataset()
    net = ConvNet(model.Config(channels=64, dropout=0.5), dataset.metadata)
    notes, batches = Notes(), loader.Config(8)
    trainer.loggers = Loggers([notes])
    trainer.checkpoints = Checkpoints(folder, {"batch_size": 8}, minutes)
    train = ShiftingLoader(dataset.train, batches, training=True, seed=0)
    begin()
    trainer.fit(net, train, make_loader(dataset.valid))
    trainer.checkpoints.wait()
    torch.save((net.state_dict(), notes.rows), out)


@pytest.mark.slow
def test_training_goes_on_to_the_bit_when_its_process_is_killed_again_and_again(tmp_path: Path) -> None:
    seed, num_killed, num_torn, num_chains = random.SystemRandom().randrange(2**32), 0, 0, 0
    print("seed", seed)
    generator = random.Random(seed)
    child = Child(_train_heavily, tmp_path / "whole", tmp_path / "whole.pt", 0.0)
    child.wait_until_begun()
    started = time.perf_counter()
    assert not child.kill_after(None)
    seconds = time.perf_counter() - started
    weights, rows = torch.load(tmp_path / "whole.pt")
    while num_killed < 25:
        num_chains += 1
        folder, out = tmp_path / f"{num_chains}", tmp_path / f"{num_chains}.pt"
        while not out.exists():
            child = Child(_train_heavily, folder, out, 0.0)
            child.wait_until_begun()
            num_killed += child.kill_after(generator.uniform(0, seconds / 3))
            num_torn += any(path.suffix == ".tmp" for path in folder.iterdir())
        ours, our_rows = torch.load(out)
        assert is_equal(ours, weights)
        assert our_rows == rows
    print(num_killed, "killed in", num_chains, "trainings of", seconds, "s,", num_torn, "while a state was written")
    assert num_torn
