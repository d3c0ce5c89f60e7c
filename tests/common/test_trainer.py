"""What training leaves: its weights, its history, and when it stops."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler

from common import data
from common.dataset import Batch
from common.loader import Loader
from common.meter import Values
from common.roles import Role
from common.trainer import Trainer
from tests.datasets import make_dataset
from tests.trainings import (
    SGD,
    Killed,
    Notes,
    Weights,
    copy_weights,
    fit,
    is_equal,
    is_near,
    make_net,
    make_trainer,
    open_checkpoints,
)

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
NUM_BATCHES = 3  # of 16 samples


class ScriptedTrainer(Trainer):
    """Notes the weights after each epoch, and says of each what the script says."""

    script: tuple[float, ...]

    def validate(self, valid: Loader) -> dict[str, float]:
        """Return the next scripted accuracy, and a loss that is as large."""
        self.seen: list[Weights] = [*getattr(self, "seen", []), copy_weights(self.model)]
        value = self.script[len(self.seen) - 1]
        return {"accuracy": value, "loss": 0.0 if math.isnan(value) else value}


class RateTrainer(Trainer):
    """Notes the learning rate of each batch."""

    script: tuple[float, ...] = ()

    def train_step(self, batch: Batch) -> Values:
        """Train on a batch."""
        self.rates: list[float] = [*getattr(self, "rates", []), self.parts[0].optimizer.param_groups[0]["lr"]]
        return super().train_step(batch)


class PlateauTrainer(RateTrainer, ScriptedTrainer):
    """Notes the learning rates, and says what the script says."""


class LostTrainer(Trainer):
    """Its loss is no finite number at one of its batches."""

    lost_at: int
    lost_value = math.nan

    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Tensor | Values:
        """Return the loss of a batch."""
        self.num_calls = getattr(self, "num_calls", 0) + 1
        loss = super().compute_loss(model, batch, role)
        assert isinstance(loss, Tensor)
        return loss * self.lost_value if self.num_calls == self.lost_at else loss


class ShortTrainer(LostTrainer):
    """Notes its losses."""

    lost_at = -1


class EagerTrainer(LostTrainer):
    """Reports, and keeps its state, at every step."""

    report_s = 0.0


class AverageTrainer(Trainer):
    """Computes the average of the weights by hand, and notes which weights are validated."""

    def on_fit_start(self) -> None:
        """Begin."""
        self.by_hand: Weights = {}
        self.validated: list[Weights] = []

    def on_step_end(self, step: int) -> None:
        """Move the average by a tenth of the way."""
        for name, tensor in copy_weights(self.model).items():
            before = self.by_hand.get(name)
            if before is None or not tensor.is_floating_point():
                self.by_hand[name] = tensor
            else:
                decay = min(0.9, step / (9 + step))  # of the step before, (1 + n) / (10 + n)
                self.by_hand[name] = decay * before + (1 - decay) * tensor

    def valid_step(self, model: nn.Module, batch: Batch) -> Values:
        """Note the weights."""
        assert not model.training
        self.validated.append(copy_weights(model))
        return super().valid_step(model, batch)


class HookedTrainer(Trainer):
    """Notes when its hooks are called."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls: list[str] = []

    def on_fit_start(self) -> None:
        """Note it."""
        self.calls.append(f"fit with {len(self.parts)} part")

    def on_epoch_start(self, epoch: int) -> None:
        """Note it."""
        self.calls.append(f"epoch {epoch}")

    def on_step_end(self, step: int) -> None:
        """Note it."""
        self.calls.append(f"step {step}")

    def on_epoch_end(self, row: dict[str, Any]) -> None:
        """Note it, and add to the row."""
        self.calls.append(f"epoch {row['epoch']} ends")
        row["added"] = 10 * row["epoch"]

    def on_fit_end(self) -> None:
        """Note it."""
        self.calls.append("end")
        self.kept = copy_weights(self.model)


class BuildingTrainer(RateTrainer):
    """Builds its optimizer and its schedule by itself."""

    def build_optimizer(self, module: nn.Module, choice: Any) -> Optimizer:
        """Return one that nobody chose."""
        return AdamW(module.parameters(), lr=0.5)

    def build_scheduler(self, optimizer: Optimizer, choice: Any, num_steps: int) -> LRScheduler:
        """Return one whose first factor says how long the training is."""
        return ExponentialLR(optimizer, 1 / num_steps)


class NamingTrainer(Trainer):
    """Returns more than the loss."""

    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Values:
        """Return the loss, and how many samples there were."""
        loss = super().compute_loss(model, batch, role)
        assert isinstance(loss, Tensor)
        return {"size": torch.tensor(float(len(batch.ids))), "loss": loss}

    def valid_step(self, model: nn.Module, batch: Batch) -> Values:
        """Return a number of its own."""
        return {"score": torch.tensor(0.5)}


class LookingTrainer(Trainer):
    """Notes how the batches and the results of the model look."""

    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Tensor | Values:
        """Return the loss of a batch."""
        outputs = model(batch.inputs)
        self.looks: set[Any] = {
            *getattr(self, "looks", set()),
            (outputs.dtype, batch.inputs.is_contiguous(memory_format=torch.channels_last)),
        }
        return self.loss(outputs, batch.targets)


class Greedy(nn.Module):
    """Wants more memory than there is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(16, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return nothing, ever."""
        return inputs.flatten(1) @ self.weight + torch.empty(2**50)[:3]


def _make_smooth() -> nn.Module:
    """Return a network in which each sample is on its own."""
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))


def _fit_scripted(script: tuple[float, ...], **config: Any) -> tuple[Weights, ScriptedTrainer]:
    trainer = make_trainer(ScriptedTrainer, **{"epochs": len(script), **config})
    assert isinstance(trainer, ScriptedTrainer)
    trainer.script = script
    return fit(trainer).weights, trainer


def _read_rates(trainer_class: type[RateTrainer] = RateTrainer, **config: Any) -> list[float]:
    """Return the learning rate of each batch."""
    trainer = make_trainer(trainer_class, **config)
    assert isinstance(trainer, RateTrainer)
    fit(trainer)
    return trainer.rates


@pytest.mark.parametrize("device", DEVICES)
def test_weights_are_equal_to_the_bit_when_the_seed_is(device: str) -> None:
    ours, theirs = (fit(make_trainer(seed=3, device=device)).weights for _ in range(2))
    assert {tensor.device.type for tensor in ours.values()} == {device}
    assert is_equal(ours, theirs)


def test_weights_differ_when_the_seed_does() -> None:
    assert not is_equal(fit(make_trainer(seed=3)).weights, fit(make_trainer(seed=4)).weights)


def test_history_has_one_row_an_epoch() -> None:
    rows = fit(make_trainer(epochs=4)).rows
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 3), (2, 6), (3, 9), (4, 12)]
    assert {tuple(row) for row in rows} == {
        ("epoch", "step", "train_loss", "valid_loss", "valid_accuracy", "learning_rate")
    }


def test_loss_of_an_epoch_is_the_mean_over_its_samples() -> None:
    trainer = make_trainer(epochs=1, optimizer={"name": "SGD", "lr": 0.0})
    split, net = make_dataset().train, _make_smooth()
    loss = functional.cross_entropy(net(split.tensors[0]), split.tensors[1]).item()
    assert fit(trainer, net, batch_size=7).rows[0]["train_loss"] == pytest.approx(loss)


def test_network_learns_the_dots() -> None:
    rows = fit(make_trainer(epochs=12)).rows
    assert rows[-1]["train_loss"] < 0.3 * rows[0]["train_loss"]
    assert rows[-1]["valid_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("epochs", "steps", "ends"),
    [(2, None, [3, 6]), (None, 5, [3, 5]), (2, 9, [3, 6]), (9, 4, [3, 4]), (None, 6, [3, 6]), (None, 1, [1])],
)
def test_training_ends_after_epochs_or_steps_whichever_comes_first(
    epochs: int | None, steps: int | None, ends: list[int]
) -> None:
    rows = fit(make_trainer(epochs=epochs, steps=steps)).rows
    assert [row["step"] for row in rows] == ends
    assert [row["learning_rate"] == 0.0 for row in rows] == [step == ends[-1] for step in ends]


@pytest.mark.parametrize("config", [{"epochs": 0}, {"steps": 0}, {"epochs": 0, "warmup_steps": 2, "ema_decay": 0.9}])
def test_model_stays_as_it_is_when_there_is_nothing_to_do(config: dict[str, Any]) -> None:
    net = make_net()
    before = copy_weights(net)
    fitted = fit(make_trainer(**config), net)
    assert fitted.rows == []
    assert is_equal(fitted.weights, before)


def test_accumulated_batches_train_as_one_large_batch_does() -> None:
    large, small = (
        fit(make_trainer(accumulate=count, optimizer=SGD), _make_smooth(), batch_size=20 // count) for count in (1, 5)
    )
    assert [len(make_dataset().train) % size for size in (20, 4)] == [7, 3]  # the last step has two batches of five
    assert [row["step"] for row in small.rows] == [row["step"] for row in large.rows] == [3, 6, 9]
    assert is_near(small.weights, large.weights)


def test_accumulated_batches_train_as_one_large_batch_does_when_steps_cut_an_epoch_short() -> None:
    large, small = (
        fit(make_trainer(accumulate=count, steps=4, optimizer=SGD), _make_smooth(), batch_size=16 // count)
        for count in (1, 4)
    )
    assert [row["step"] for row in small.rows] == [3, 4]
    assert is_near(small.weights, large.weights)


@pytest.mark.parametrize(
    ("trainer_class", "value", "lost_at", "place"),
    [
        (LostTrainer, math.nan, 1, r"nan at step 1 \(epoch 1, batch 1 of 3\)"),
        (LostTrainer, math.inf, 5, r"inf at step 5 \(epoch 2, batch 2 of 3\)"),
        (EagerTrainer, -math.inf, 5, r"-inf at step 5 \(epoch 2, batch 2 of 3\)"),
    ],
)
def test_training_stops_when_the_loss_is_no_finite_number(
    trainer_class: type[LostTrainer], value: float, lost_at: int, place: str
) -> None:
    trainer, notes = make_trainer(trainer_class), Notes()
    assert isinstance(trainer, LostTrainer)
    trainer.lost_at, trainer.lost_value = lost_at, value
    with pytest.raises(FloatingPointError, match=rf"the loss is {place}: lower train.optimizer.lr"):
        fit(trainer, notes=notes)
    assert [row["epoch"] for row in notes.rows] == list(range(1, 1 + (lost_at - 1) // NUM_BATCHES))


def test_batch_of_a_strange_loss_is_found_when_batches_are_accumulated() -> None:
    trainer = make_trainer(LostTrainer, accumulate=4)
    assert isinstance(trainer, LostTrainer)
    trainer.lost_at = 17
    with pytest.raises(FloatingPointError, match=r"nan at step 5 \(epoch 2, batch 5 of 12\)"):
        fit(trainer, batch_size=4)


def test_training_stops_as_soon_as_it_reports_when_the_loss_is_strange() -> None:
    trainer = make_trainer(EagerTrainer, epochs=1)
    assert isinstance(trainer, EagerTrainer)
    trainer.lost_at = 3
    with pytest.raises(FloatingPointError, match="batch 3 of 47"):
        fit(trainer, batch_size=1)
    assert trainer.num_calls == 3


def test_training_stops_when_losses_are_infinite_both_ways() -> None:
    class TornTrainer(Trainer):
        def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Values:
            loss = super().compute_loss(model, batch, role)
            assert isinstance(loss, Tensor)
            self.sign = -getattr(self, "sign", -1)
            return {"loss": loss, "other_loss": torch.tensor(self.sign * math.inf)}

    with pytest.raises(FloatingPointError, match="the other_loss is inf at step 1"):
        fit(make_trainer(TornTrainer))


@pytest.mark.parametrize(("accumulate", "good"), [(1, 15), (2, 8)])
def test_state_before_a_strange_loss_stays_on_disk(tmp_path: Path, accumulate: int, good: int) -> None:
    trainer = open_checkpoints(make_trainer(EagerTrainer, accumulate=accumulate), tmp_path, minutes=0.0)
    assert isinstance(trainer, EagerTrainer)
    trainer.lost_at = 16
    with pytest.raises(FloatingPointError):
        fit(trainer, batch_size=4)
    kept = max(int(path.stem.rpartition("-")[2]) for path in tmp_path.iterdir())
    state = torch.load(tmp_path / f"fit-1-step-{kept}.pt", weights_only=True)
    assert good - 1 <= kept <= good
    assert all(tensor.isfinite().all() for tensor in state["parts"]["model"].values())


def test_memory_that_is_too_small_is_said_with_what_helps() -> None:
    with pytest.raises(MemoryError, match=r"cpu memory is too small for batches of 16: lower loader.batch_size and"):
        fit(make_trainer(), Greedy())


@pytest.mark.parametrize(("script", "kept"), [((0.2, 0.9, 0.5), 1), ((0.9, 0.2, 0.5), 0), ((0.5, 0.9, 0.9), 2)])
def test_weights_of_the_best_epoch_are_kept_and_of_equals_the_last(script: tuple[float, ...], kept: int) -> None:
    weights, trainer = _fit_scripted(script)
    assert [is_equal(weights, seen) for seen in trainer.seen] == [epoch == kept for epoch in range(len(script))]


def test_lowest_is_best_when_the_mode_is_min() -> None:
    weights, trainer = _fit_scripted((0.9, 0.2, 0.5), monitor="valid_loss", mode="min")
    assert [is_equal(weights, seen) for seen in trainer.seen] == [False, True, False]


def test_last_weights_are_kept_when_the_config_says_so() -> None:
    weights, trainer = _fit_scripted((0.9, 0.2, 0.5), keep="last")
    assert [is_equal(weights, seen) for seen in trainer.seen] == [False, False, True]


def test_last_weights_are_kept_when_no_epoch_has_a_number() -> None:
    weights, trainer = _fit_scripted((math.nan, math.nan))
    assert [is_equal(weights, seen) for seen in trainer.seen] == [False, True]


def test_what_a_training_says_of_itself_can_be_monitored() -> None:
    trainer = make_trainer(AverageTrainer, monitor="train_loss", mode="min")
    assert fit(trainer).trainer.progress.best == min(row["train_loss"] for row in trainer.progress.rows)


def test_unknown_monitor_is_refused_before_the_first_step_with_what_there_is() -> None:
    trainer = make_trainer(monitor="valid_f1")
    with pytest.raises(ValueError, match=r"train\.monitor is 'valid_f1', and a validation has valid_loss, valid_acc"):
        fit(trainer)
    assert trainer.progress.step == 0


@pytest.mark.parametrize("name", ["valid_median", "valid_f1"])
def test_monitor_is_looked_for_in_a_row_when_a_trainer_adds_to_it(name: str) -> None:
    class MeasuringTrainer(Trainer):
        def on_epoch_end(self, row: dict[str, Any]) -> None:
            row["valid_median"] = 0.5

    trainer = make_trainer(MeasuringTrainer, monitor=name)
    if name == "valid_median":
        assert fit(trainer).trainer.progress.best == 0.5
    else:
        with pytest.raises(ValueError, match=r"train\.monitor is 'valid_f1', and an epoch has epoch, step, train_loss"):
            fit(trainer)


def test_training_ends_when_patience_is_over() -> None:
    weights, trainer = _fit_scripted((0.5, 0.6, 0.6, 0.4, 0.9), patience=2)
    assert len(trainer.seen) == 4
    assert is_equal(weights, trainer.seen[2])


def test_training_goes_on_when_each_second_epoch_is_better() -> None:
    assert len(_fit_scripted((0.5, 0.4, 0.6, 0.5, 0.7), patience=2)[1].seen) == 5


def test_weights_of_the_last_epoch_are_kept_when_valid_is_empty() -> None:
    dataset = make_dataset(data.Config(valid_fraction=0.0))
    whole = fit(make_trainer(epochs=2), dataset=dataset)
    assert [set(row) for row in whole.rows] == [{"epoch", "step", "train_loss", "learning_rate"}] * 2
    trainer = make_trainer(HookedTrainer, epochs=2)
    assert is_equal(fit(trainer, dataset=dataset).weights, whole.weights)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"patience": 1}, "train.patience needs a validation split, and it is empty"),
        ({"scheduler": {"name": "ReduceLROnPlateau"}}, "ReduceLROnPlateau needs a validation split, and it is empty"),
        ({"monitor": "train_los"}, "train.monitor is 'train_los', and an epoch has epoch, step, train_loss"),
    ],
)
def test_waiting_for_a_number_is_refused_when_valid_is_empty_and_there_is_none(
    config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(make_trainer(**config), dataset=make_dataset(data.Config(valid_fraction=0.0)))


def test_patience_waits_for_the_training_loss_when_valid_is_empty() -> None:
    trainer = make_trainer(epochs=9, patience=1, monitor="train_loss", mode="max")
    assert len(fit(trainer, dataset=make_dataset(data.Config(valid_fraction=0.0))).rows) == 2


def test_learning_rate_falls_to_zero_over_the_whole_training() -> None:
    rates = _read_rates(epochs=4)
    assert len(rates) == 4 * NUM_BATCHES
    assert rates[0] == 0.03
    assert rates == sorted(set(rates), reverse=True)
    assert 0.0 < rates[-1] < 0.001


def test_learning_rate_stays_within_a_step_when_batches_are_accumulated() -> None:
    rates = _read_rates(accumulate=2)
    assert [rates[batch] for batch in range(0, 9, 3)] == [rates[batch] for batch in range(1, 9, 3)]
    assert len(set(rates)) == 6


def test_learning_rate_stays_when_there_is_no_schedule() -> None:
    assert set(_read_rates(scheduler=None)) == {0.03}


def test_learning_rate_rises_before_the_schedule_begins() -> None:
    rates = _read_rates(epochs=4, warmup_steps=4)
    assert rates[:4] == pytest.approx([0.03 * (0.01 + 0.99 * step / 4) for step in range(4)])
    assert rates[4:] == pytest.approx([0.03 * 0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)])


def test_schedule_counts_epochs_when_the_config_says_so() -> None:
    scheduler = {"name": "StepLR", "step_size": 1, "gamma": 0.5}
    rates = _read_rates(epochs=4, scheduler=scheduler, schedule_by="epoch", warmup_steps=1)
    assert rates == pytest.approx([rate for rate in (0.0003, 0.03, 0.015, 0.0075) for _ in range(NUM_BATCHES)])


def test_schedule_is_as_long_as_the_training_when_it_counts_epochs() -> None:
    rates = _read_rates(epochs=4, schedule_by="epoch")
    expected = [0.03 * 0.5 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    assert rates[::NUM_BATCHES] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("mode", "script", "factors"),
    [
        ("max", (0.5, 0.6, 0.6, 0.7, 0.1), [1, 1, 1, 0.5, 0.5]),
        ("min", (0.5, 0.4, 0.4, 0.3, 0.9), [1, 1, 1, 0.5, 0.5]),
    ],
)
def test_learning_rate_falls_when_what_is_monitored_stalls(
    mode: str, script: tuple[float, ...], factors: list[float]
) -> None:
    scheduler = {"name": "ReduceLROnPlateau", "patience": 0, "factor": 0.5}
    trainer = make_trainer(PlateauTrainer, epochs=len(script), scheduler=scheduler, mode=mode)
    assert isinstance(trainer, PlateauTrainer)
    trainer.script = script
    fit(trainer)
    assert [rate / 0.03 for rate in trainer.rates[::NUM_BATCHES]] == factors


def test_each_optimizer_and_schedule_is_what_the_methods_build() -> None:
    rates = _read_rates(BuildingTrainer, epochs=2)
    assert rates[:2] == pytest.approx([0.5, 0.5 / 6])


def test_loss_is_what_the_config_names() -> None:
    outputs, targets = torch.randn(8, 3), torch.arange(8) % 3
    weights, smoothing = [1.0, 2.0, 4.0], 0.1
    loss = make_trainer(loss={"name": "cross_entropy", "weight": weights, "label_smoothing": smoothing}).loss
    expected = functional.cross_entropy(outputs, targets, torch.tensor(weights), label_smoothing=smoothing)
    assert torch.equal(loss(outputs, targets), expected)


def test_named_values_get_into_the_history() -> None:
    rows = fit(make_trainer(NamingTrainer, epochs=2, monitor="valid_score")).rows
    size = pytest.approx((2 * 16**2 + 15**2) / 47)
    assert [(row["train_size"], row["valid_score"]) for row in rows] == [(size, 0.5)] * 2


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_precision_computes_in_it_and_learns_as_full_precision_does(precision: str, dtype: torch.dtype) -> None:
    half = fit(make_trainer(LookingTrainer, epochs=6, precision=precision))
    full = fit(make_trainer(LookingTrainer, epochs=6))
    assert isinstance(half.trainer, LookingTrainer)
    assert isinstance(full.trainer, LookingTrainer)
    assert {look[0] for look in half.trainer.looks} == {dtype}
    assert {look[0] for look in full.trainer.looks} == {torch.float32}
    assert {tensor.dtype for tensor in half.weights.values()} == {torch.float32, torch.int64}
    assert half.rows[-1]["train_loss"] == pytest.approx(full.rows[-1]["train_loss"], abs=0.1)
    assert half.rows[-1]["train_loss"] != full.rows[-1]["train_loss"]


@pytest.mark.parametrize("keep", ["best", "last"])
def test_average_of_the_weights_is_validated_and_kept(keep: str) -> None:
    fitted = fit(make_trainer(AverageTrainer, epochs=4, ema_decay=0.9, keep=keep, monitor="epoch"))
    assert isinstance(fitted.trainer, AverageTrainer)
    floating = {name for name, tensor in fitted.weights.items() if tensor.is_floating_point()}
    assert {name for name in floating if "running" in name}
    assert is_equal(fitted.weights, fitted.trainer.validated[-1])
    for name in floating:
        assert torch.allclose(fitted.weights[name], fitted.trainer.by_hand[name], atol=1e-6)
    assert not is_near(fitted.weights, fit(make_trainer(epochs=4, keep="last")).weights)


def test_whole_numbers_stay_as_they_are_when_weights_are_averaged() -> None:
    net = make_net()
    net.register_buffer("table", torch.arange(1000))
    fitted = fit(make_trainer(epochs=9, ema_decay=0.9), net)
    assert torch.equal(fitted.weights["table"], torch.arange(1000))


def test_hooks_are_called_in_order_and_once_each() -> None:
    fitted = fit(make_trainer(HookedTrainer, epochs=2, accumulate=2))
    assert isinstance(fitted.trainer, HookedTrainer)
    assert fitted.trainer.calls == [
        *("fit with 1 part", "epoch 1", "step 1", "step 2", "epoch 1 ends"),
        *("epoch 2", "step 3", "step 4", "epoch 2 ends", "end"),
    ]
    assert [row["added"] for row in fitted.rows] == [10, 20]
    assert is_equal(fitted.trainer.kept, fitted.weights)


@pytest.mark.parametrize("channels_last", [False, True])
def test_batches_and_model_are_channels_last_when_the_config_says_so(channels_last: bool) -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.LazyLinear(3))
    dataset = make_dataset()
    for split in (dataset.train, dataset.valid):
        inputs, *others = split.tensors
        split.tensors = (torch.cat([inputs, inputs], dim=1), *others)
    net(dataset.train.tensors[0][:1])
    fitted = fit(make_trainer(LookingTrainer, channels_last=channels_last), net, dataset)
    assert isinstance(fitted.trainer, LookingTrainer)
    assert {look[1] for look in fitted.trainer.looks} == {channels_last}
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last) == channels_last


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_compiled_training_has_nearly_the_same_losses() -> None:
    compiled, plain = (fit(make_trainer(compile=how), make_net()).rows for how in ("on", "off"))
    assert [row["train_loss"] for row in compiled] == pytest.approx([row["train_loss"] for row in plain], rel=1e-3)


def test_loggers_hear_of_steps() -> None:
    notes, trainer = Notes(), make_trainer(EagerTrainer, epochs=2)
    assert isinstance(trainer, EagerTrainer)
    trainer.lost_at = -1
    fit(trainer, notes=notes)
    assert [step for step, _ in notes.steps] == [0, 1, 2, 3, 4, 5]
    assert [values["epoch"] for _, values in notes.steps] == [1, 1, 1, 2, 2, 2]
    assert [values["fraction"] for _, values in notes.steps] == pytest.approx([step / 6 for step in range(6)])
    assert notes.steps[4][1]["valid_loss"] == notes.rows[0]["valid_loss"]
    assert notes.steps[0][1].keys() == {"epoch", "fraction"}
    assert notes.steps[1][1].keys() == {"epoch", "fraction", "train_loss", "samples_per_s", "seconds_left"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"epochs": None}, "training has no end: give train.epochs or train.steps"),
        ({"warmup_steps": 9}, "train.warmup_steps is 9, and the schedule of 'model' is 9 steps long"),
        (
            {"warmup_steps": 3, "schedule_by": "epoch"},
            "train.warmup_steps is 3, and the schedule of 'model' is 3 epochs long",
        ),
    ],
)
def test_training_is_refused_when_its_numbers_do_not_go_together(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(make_trainer(**config))


class EmptyTrainer(Trainer):
    """Notes what torch does with memory that is about to be written."""

    are_filled: tuple[bool, ...] = ()

    def on_step_end(self, step: int) -> None:
        """Note it."""
        self.are_filled += (torch.utils.deterministic.fill_uninitialized_memory,)


def test_memory_is_filled_where_a_model_is_built_and_not_at_each_step() -> None:
    fitted = fit(make_trainer(EmptyTrainer, epochs=1))
    assert isinstance(fitted.trainer, EmptyTrainer)
    assert fitted.trainer.are_filled == (False,) * NUM_BATCHES
    assert torch.utils.deterministic.fill_uninitialized_memory


class LoggingTrainer(Trainer):
    """Returns what it is told beside the loss, or in its place."""

    extra: dict[str, Any]

    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Values:
        """Return the loss of a batch, and more."""
        return {"loss": self.loss(model(batch.inputs), batch.targets), **self.extra}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"loss": None}, "the loss of the trainer returned loss, and no tensor called 'loss'"),
        ({"loss": torch.zeros(16)}, r"the loss of a batch is to be one number, not \(16,\) of them: take the mean"),
        ({"loss": torch.tensor(1.0)}, "the loss does not depend on the weights that are trained: was it detached?"),
        ({"errors": torch.zeros(16)}, r"'errors' of a batch is to be one number, not \(16,\) of them"),
    ],
)
def test_training_is_refused_when_a_loss_is_no_number(extra: dict[str, Any], message: str) -> None:
    trainer = make_trainer(LoggingTrainer, epochs=1, steps=2)
    assert isinstance(trainer, LoggingTrainer)
    trainer.extra = extra
    with pytest.raises(ValueError, match=message):
        fit(trainer)


def test_plain_number_beside_the_loss_is_in_the_history() -> None:
    trainer = make_trainer(LoggingTrainer, epochs=1)
    assert isinstance(trainer, LoggingTrainer)
    trainer.extra = {"share": 0.25}
    assert fit(trainer).rows[0]["train_share"] == 0.25


def test_training_is_refused_when_a_batch_is_larger_than_the_split() -> None:
    with pytest.raises(ValueError, match=r"loader.batch_size is 64, and the train split has 47 samples: lower it"):
        fit(make_trainer(), batch_size=64)


def test_training_is_refused_when_there_is_nothing_to_train_on() -> None:
    dataset = make_dataset()
    dataset.train.tensors = tuple(tensor[:0] for tensor in dataset.train.tensors)
    with pytest.raises(ValueError, match="the train split is empty"):
        fit(make_trainer(), dataset=dataset)


def test_lower_is_better_when_a_loss_is_monitored_and_the_config_does_not_say() -> None:
    weights, trainer = _fit_scripted((0.9, 0.2, 0.5), monitor="valid_loss")
    assert [is_equal(weights, seen) for seen in trainer.seen] == [False, True, False]


def test_training_stops_when_the_validation_loss_is_no_finite_number() -> None:
    class StrangeTrainer(Trainer):
        def valid_step(self, model: nn.Module, batch: Batch) -> Values:
            return {"loss": torch.tensor(math.nan), "accuracy": torch.tensor(0.5)}

    with pytest.raises(FloatingPointError, match=r"the valid_loss is nan after step 3 \(epoch 1\): lower train"):
        fit(make_trainer(StrangeTrainer))


def test_training_fails_when_its_last_update_breaks_the_weights() -> None:
    class BlindTrainer(Trainer):
        def validate(self, valid: Loader) -> dict[str, float]:
            return {}

    config = {"epochs": None, "steps": 1, "scheduler": None, "optimizer": {"name": "SGD", "lr": math.inf}}
    notes = Notes()
    with pytest.raises(FloatingPointError, match=r"the weights of .* are not finite after the last step: lower train"):
        fit(make_trainer(BlindTrainer, **config), notes=notes)
    assert math.isfinite(notes.rows[0]["train_loss"])


def test_training_goes_on_when_what_is_no_number_is_no_loss() -> None:
    trainer = make_trainer(LoggingTrainer, epochs=1)
    assert isinstance(trainer, LoggingTrainer)
    trainer.extra = {"rare_error": math.nan}
    assert math.isnan(fit(trainer).rows[0]["train_rare_error"])


def test_numbers_of_numpy_and_torch_are_plain_in_the_history() -> None:
    class MeasuringTrainer(Trainer):
        def on_epoch_end(self, row: dict[str, Any]) -> None:
            row |= {"median": np.float32(0.5), "norm": torch.tensor(0.25)}

    row = fit(make_trainer(MeasuringTrainer, epochs=1)).rows[0]
    assert (type(row["median"]), type(row["norm"])) == (float, float)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_a_hook_froze_is_not_trained_when_there_are_roles(precision: str) -> None:
    class FreezingTrainer(Trainer):
        def on_fit_start(self) -> None:
            self.model.get_submodule("features").requires_grad_(False)

    net = make_net()
    before = copy_weights(net)
    config = {"roles": {"features": Role(), "classifier": Role()}, "precision": precision}
    fit(make_trainer(FreezingTrainer, **config, optimizer={"name": "SGD", "lr": 0.1}), net)
    changed = {name.partition(".")[0] for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"classifier"}


class ForgettingTrainer(Trainer):
    """Has a number until the first step, and trains less without."""

    number: float | None

    def on_fit_start(self) -> None:
        """Begin with the number."""
        self.number = 1.0

    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Tensor:
        """Return the loss, as large as the number says."""
        loss = super().compute_loss(model, batch, role)
        assert isinstance(loss, Tensor)
        return loss * (self.number or 0.5)

    def on_step_end(self, step: int) -> None:
        """Forget it."""
        self.number = None


def test_what_has_become_none_is_so_when_training_is_resumed(tmp_path: Path) -> None:
    config = {"optimizer": {"name": "SGD", "lr": 0.1}}
    whole = fit(make_trainer(ForgettingTrainer, **config))
    with pytest.raises(Killed):
        fit(open_checkpoints(make_trainer(ForgettingTrainer, **config), tmp_path), notes=Notes(lambda r: len(r) == 2))
    again = fit(open_checkpoints(make_trainer(ForgettingTrainer, **config), tmp_path))
    assert is_equal(again.weights, whole.weights)
