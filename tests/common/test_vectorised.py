"""Seeds that are trained at once end where each would by itself."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from common import vectorised
from common.dataset import Batch, Dataset
from common.loader import Config as LoaderConfig
from common.loader import Loader
from common.loggers import Loggers
from common.roles import Role
from common.trainer import Trainer
from common.vectorising import NotVectorisableError
from tests.datasets import make_dataset, make_loader
from tests.trainings import (
    History,
    Killed,
    Notes,
    Weights,
    copy_weights,
    is_equal,
    is_near,
    make_trainer,
    open_checkpoints,
)

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


class LostNet(Net):
    """The second one that is made begins with a weight that is no number."""

    num_made = 0

    def __init__(self) -> None:
        super().__init__()
        LostNet.num_made += 1
        if LostNet.num_made == 2:
            nn.init.constant_(self.layers[2].bias, math.nan)


class Counting(nn.Module):
    """Counts in a buffer how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("num_calls", torch.tensor(0))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs."""
        self.num_calls = self.num_calls + 1
        return inputs


class Remembering(nn.Module):
    """Keeps what it saw."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs."""
        self.seen = inputs.mean()
        return inputs


class Branching(nn.Module):
    """Does this or that, by a value."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs or their opposite."""
        return inputs if inputs.mean() > 0 else -inputs


class Selecting(nn.Module):
    """Adds up what is above zero."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs, shifted."""
        return inputs + inputs[inputs > 0].sum()


def make_net_with(layer: nn.Module) -> nn.Module:
    """Return the small network with a layer more."""
    net = Net()
    net.layers.append(copy.deepcopy(layer))
    return net


class EagerTrainer(Trainer):
    """Reports, and keeps its state, at every step."""

    report_s = 0.0


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


def assert_refused(message: str, setting: Setting, **config: Any) -> None:
    """Check the one line that says what is refused and why, and that nothing was trained."""
    notes = Notes()
    with pytest.raises(NotVectorisableError) as raised:
        setting.fit_at_once(notes, **config)
    text = str(raised.value)
    assert text.startswith(f"train.vectorised_seeds does not go with {message}")
    assert len(text.splitlines()) == 1
    assert not notes.rows


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("optimizer", "config"),
    [
        ({"name": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": True}, {}),
        ({"name": "Adam", "lr": 0.03, "weight_decay": 0.1}, {"keep": "last"}),
        ({"name": "SGD", "lr": 0.1, "fused": True}, {}),
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


# Each seed's own best epoch


def test_each_seed_keeps_its_own_best_epoch() -> None:
    setting, optimizer = Setting(loader=NoisyLoader), {"name": "AdamW", "lr": 0.7}
    config = {"epochs": 6, "optimizer": optimizer, "scheduler": None, "monitor": "valid_loss", "mode": "min"}
    rows = [setting.fit_apart(FIRST_SEED + index, **config)[1] for index in range(NUM_SEEDS)]
    assert len({min(of_seed, key=lambda row: row["valid_loss"])["epoch"] for of_seed in rows}) > 1
    assert_equal_to_apart(setting, **config)


def test_last_weights_are_kept_when_there_is_no_validation() -> None:
    dataset = make_dataset()
    empty = replace(dataset, valid=TensorDataset(*(tensor[:0] for tensor in dataset.valid.tensors)))
    assert_equal_to_apart(Setting(dataset=empty))


def test_unknown_monitor_is_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"train\.monitor is 'valid_f1', and an epoch has epoch, step, train_loss"):
        Setting().fit_at_once(monitor="valid_f1")


def test_seed_is_named_when_its_loss_is_no_finite_number() -> None:
    with pytest.raises(FloatingPointError, match=rf"^seed {FIRST_SEED + 1}: the loss is nan at step 1 "):
        Setting(net=LostNet).fit_at_once()


# Resumed trainings


@pytest.mark.parametrize("in_epoch", [False, True])
@pytest.mark.parametrize("device", DEVICES)
def test_training_goes_on_to_the_bit_when_it_is_resumed(tmp_path: Path, in_epoch: bool, device: str) -> None:
    setting = Setting(trainer=EagerTrainer if in_epoch else Trainer, loader=NoisyLoader, device=device)
    whole = setting.fit_at_once(epochs=4)
    killed = Notes(lambda rows: len(rows) == 2)
    if in_epoch:
        killed.log_step = _kill_at(killed.log_step, 5)  # type: ignore[method-assign]
    with pytest.raises(Killed):
        setting.fit_at_once(killed, tmp_path, epochs=4)
    resumed = setting.fit_at_once(folder=tmp_path, epochs=4)
    assert all(map(is_equal, resumed.weights, whole.weights))
    assert resumed.rows == whole.rows


def _kill_at(log_step: Callable[..., None], step: int) -> Callable[..., None]:
    def log_or_die(at: int, values: dict[str, float]) -> None:
        if at == step:
            raise Killed
        log_step(at, values)

    return log_or_die


# What is refused


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"optimizer": {"name": "Muon"}}, "the optimizer Muon: it does not treat each weight by itself, as ASGD, "),
        ({"scheduler": {"name": "ReduceLROnPlateau"}}, "the schedule ReduceLROnPlateau: each seed would come to"),
        ({"roles": {"layers": Role()}}, "train.roles: the model is trained as a whole"),
        ({"accumulate": 2}, "train.accumulate: a step is one batch"),
        ({"patience": 2}, "train.patience: seeds would end at different epochs"),
        ({"ema_decay": 0.9}, "train.ema_decay: "),
        ({"precision": "fp16"}, "train.precision: fp16: "),
        ({"compile": "on"}, "train.compile: the step is traced already"),
        ({"channels_last": True}, "train.channels_last: "),
    ],
)
def test_param_is_refused_when_seeds_would_not_end_as_by_themselves(config: dict[str, Any], message: str) -> None:
    assert_refused(message, Setting(), **config)


@pytest.mark.parametrize("count", [1, 0, -3])
def test_fewer_than_two_seeds_are_refused(count: int) -> None:
    trainer, net, train = Setting().start(0, vectorised_seeds=count)
    with pytest.raises(ValueError, match=f"train.vectorised_seeds is {count}: give 2 or more, or null"):
        vectorised.fit(trainer, [net], [train], make_loader(make_dataset().valid))


@pytest.mark.parametrize(
    "name",
    ["train_step", "compute_loss", "valid_step", "validate", "fit", "on_step_end", "build_optimizer", "state_dict"],
)
def test_trainer_is_refused_when_it_overrides_more_than_the_loss(name: str) -> None:
    overriding = type("Overriding", (Trainer,), {name: lambda self, *args: None})
    assert_refused(f"Overriding.{name}: of its methods only `loss` is", Setting(trainer=overriding))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Dropout(0.1), "layers.3 (Dropout): each seed draws its own zeros by itself; set its p to 0"),
        (
            nn.BatchNorm1d(3),
            "layers.3 (BatchNorm1d): a forward pass changes its buffers; take another norm, as GroupNorm",
        ),
        (nn.RReLU(), "random numbers in the model or the loss: each seed draws its own"),
        (Counting(), "the buffer layers.3.num_calls: a forward pass changes it"),
        (Remembering(), "what is kept in layers.3.seen: computing a loss changes it"),
        (Branching(), "this model and loss: vmap cannot trace them (It looks like you're either (1) calling .item()"),
        (Selecting(), "this model and loss: vmap cannot trace them (We do not support batching operators that can "),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_model_is_refused_when_seeds_would_not_end_as_by_themselves(layer: nn.Module, message: str) -> None:
    assert_refused(message, Setting(net=partial(make_net_with, layer)))


def test_dropout_that_drops_nothing_is_taken() -> None:
    assert_equal_to_apart(Setting(net=partial(make_net_with, nn.Dropout(0.0))))


def test_own_error_of_a_model_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Setting(net=partial(make_net_with, nn.Linear(5, 5))).fit_at_once()


def test_batches_are_refused_when_their_shapes_differ_between_seeds() -> None:
    message = "these batches: their shapes differ between seeds ((15, 1, 4, 4), (16, 1, 4, 4), (15, 1, 4, 4))"
    assert_refused(message, Setting(loader=CroppingLoader))
