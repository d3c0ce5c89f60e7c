"""The trainer component. Override one of its small methods: `loss`, `compute_loss`, `valid_step`, `build_optimizer` …

A *batch* is what the loader gives. A *step* is an update of the weights, after `accumulate` batches.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from common import engine, optimizing
from common.checkpoint import Checkpoints
from common.config import (
    Fraction,
    LossChoice,
    NonNegativeInt,
    OptimizerChoice,
    PositiveFloat,
    PositiveInt,
    SchedulerChoice,
)
from common.dataset import NO_CLASS, Batch
from common.engine import Engine, log
from common.loader import Loader
from common.loggers import Loggers
from common.meter import Values, is_loss
from common.optimizing import Part
from common.parallel import Replicas, gather
from common.progress import Progress
from common.roles import WHOLE, Cast, Role, assign
from common.stateful import Attributes, Divided, Stateful
from common.steps import Steps

_LOWER_LR = "lower train.optimizer.lr, or set train.clip_norm"


@dataclass(frozen=True)
class Config:
    """Params of the section `train`."""

    epochs: NonNegativeInt | None = 20
    steps: NonNegativeInt | None = None  # ends training too, whichever comes first
    loss: LossChoice = field(default_factory=lambda: {"name": "cross_entropy"})
    optimizer: OptimizerChoice = field(default_factory=lambda: {"name": "AdamW", "lr": 0.003, "weight_decay": 0.05})
    scheduler: SchedulerChoice | None = field(default_factory=lambda: {"name": "CosineAnnealingLR"})
    schedule_by: Literal["step", "epoch"] = "step"  # what the numbers of the schedule and warmup_steps count
    warmup_steps: NonNegativeInt = 0
    accumulate: PositiveInt = 1  # batches a step
    clip_norm: PositiveFloat | None = None  # of the gradients of each optimizer's parameters
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: Literal["off", "on", "default", "reduce-overhead", "max-autotune"] = "off"
    channels_last: bool = False
    ema_decay: Fraction | None = None  # validate and keep an exponential moving average of the weights
    monitor: str = "valid_accuracy"  # the number of an epoch that says which is best
    mode: Literal["max", "min"] | None = None  # whether more of it is better, or less; None: less of a loss, else more
    keep: Literal["best", "last"] = "best"  # which weights become the built model
    patience: PositiveInt | None = None  # epochs without a better one that end training
    parallel: Literal["ddp", "fsdp"] = "ddp"  # several processes have the whole model each, or a share of it
    roles: Mapping[str, Role] = field(default_factory=dict)
    vectorised_seeds: PositiveInt | None = None  # so many trainings at once: of runtime.seed, and of those after it

    @property
    def direction(self) -> Literal["max", "min"]:
        """Which of two monitored numbers is better."""
        return self.mode or ("min" if self.monitor.endswith("loss") else "max")


class Trainer(Engine):
    """Fits a model, and keeps the weights of its best epoch."""

    checkpoints: Checkpoints | None = None  # where `fit` leaves its state; the stage sets these three
    built_models: Mapping[str, nn.Module] = {}  # by experiment
    loggers = Loggers([])
    report_s = 0.5  # between two reports, in which losses are checked and a state may be kept
    agree_steps = 50  # between two states of several processes inside an epoch: they have to agree on the step

    model: nn.Module  # these are there while `fit` runs
    parts: list[Part]
    cast: Cast
    steps: Steps
    progress: Progress

    def __init__(self, config: Config, runtime: engine.Config) -> None:
        super().__init__(runtime)
        self.config = config
        self._loss = optimizing.build_loss(config.loss, self.device)

    # What an experiment overrides

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch: outputs (batch, classes), targets (batch,); or with places, (…), at the end.

        One output of (batch, 1) for quantities (batch,) is taken as one a sample: torch would compare each with all.
        """
        if targets.is_floating_point() and targets.ndim == 1 and outputs.ndim == 2 and outputs.shape[1] == 1:
            outputs = outputs.squeeze(1)
        return self._loss(outputs, targets)

    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Tensor | Values:
        """Return the loss that the part called `role` minimises on a batch; `model` is the whole.

        With more to log, return it by name, the loss as "loss".
        """
        return self.loss(model(batch.inputs), batch.targets)

    def valid_step(self, model: nn.Module, batch: Batch) -> Values:
        """Return the means over a validation batch, by name; in the history they are `valid_…`."""
        outputs = model(batch.inputs)
        values = {"loss": self.loss(outputs, batch.targets)}
        if batch.targets.ndim == outputs.ndim - 1 and not batch.targets.is_floating_point():
            counted = batch.targets != NO_CLASS
            hits = (outputs.argmax(dim=1) == batch.targets) & counted
            values["accuracy"] = hits.double().sum() / counted.sum().clamp(min=1)
        return values

    def build_optimizer(self, module: nn.Module, choice: OptimizerChoice) -> Optimizer:
        """Return the optimizer of a module's parameters."""
        return optimizing.build_optimizer(choice, module)

    def build_scheduler(self, optimizer: Optimizer, choice: SchedulerChoice, num_steps: int) -> LRScheduler:
        """Return the schedule of the learning rate, stepped `num_steps` times."""
        return optimizing.build_scheduler(choice, optimizer, num_steps, self.config.direction)

    def on_fit_start(self) -> None:
        """Everything is built; nothing is trained, or training is about to be resumed."""

    def on_epoch_start(self, epoch: int) -> None:
        """An epoch begins; not called again where it is resumed in its midst."""

    def on_step_end(self, step: int) -> None:
        """The weights were updated for the `step`th time."""

    def on_epoch_end(self, row: dict[str, Any]) -> None:
        """An epoch was trained and validated; what is added to its row gets into the history."""

    def on_fit_end(self) -> None:
        """Training is over; the model has the weights that are kept."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs besides: what the trainer has frozen.

        Its attributes that are numbers, texts or None are kept anyway, those of each process. A subclass that changes
        more on itself while training (tensors, a memory of samples) extends this and `load_state_dict`. Tensors,
        numbers, texts, and lists, tuples and dicts of them can be kept.
        """
        return {
            "frozen": [name for name, p in self.model.named_parameters() if not p.requires_grad]
        }  # hooks may thaw it

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned, extended or not; the model and its parts are built by then."""
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name not in state["frozen"])

    # The loop

    def fit(self, model: nn.Module, train: Loader, valid: Loader) -> nn.Module:
        """Train `model`, in place where it is not cut into shares; return it. The loggers hear of it.

        With `checkpoints`, a training that was killed goes on where it was, to the bit of one that was not. Raises
        ValueError where the config does not go with the data or the model, FloatingPointError where a loss is no finite
        number, MemoryError where the device has too little memory.
        """
        engine.keep_freed_memory()
        status = "failed"
        advice = " and raise train.accumulate by as much, or set train.precision: bf16"
        try:
            with self.explain_memory(train, advice), engine.leave_uninitialised():
                self._build(model, train, valid)
                self._fit(train, valid)
            model = self._replicas.make_whole(model)
            _check_weights(model)
            status = "finished"
            return model
        finally:
            self.loggers.finish(status)

    def train_step(self, batch: Batch) -> Values:
        """Compute the loss of each part that is due and its gradients, and update it at the end of a step.

        Returns the losses by name.
        """
        values: dict[str, Tensor] = {}
        progress = self.progress
        weight = self.steps.weight(progress.epoch + 1, progress.batch)
        is_last = self.steps.is_last(progress.epoch + 1, progress.batch)
        for part in self.parts:
            if progress.step % part.every:
                continue
            others = [other for other in self.parts if other is not part]
            for other in others:  # the loss of a generator goes through the discriminator, and must not train it
                other.hold()
            named: Values = {}
            if part.is_trainable:
                with self._replicas.batch(self._forward, is_last=is_last, is_idle=weight == 0.0):
                    with self._autocast:
                        found = self._forward(batch, part.name)
                    named = _name_losses(found)
                    part.backward(named["loss"] if weight == 1.0 else named["loss"] * weight)
            for other in others:
                other.release()
            if is_last:
                part.update()
            for name, value in named.items():
                values[name if part.name == WHOLE else f"{part.name}_{name}"] = value.detach()
        return values

    def _build(self, model: nn.Module, train: Loader, valid: Loader) -> None:
        """Build all that training needs, as the config says."""
        config = self.config
        self.steps = Steps.plan(train, config.accumulate, config.epochs, config.steps)
        size = train.config.batch_size
        if size < self.processes.num:
            raise ValueError(f"loader.batch_size is {size}, and there are {self.processes.num} processes: raise it")
        for loader in (train, valid):
            loader.rank, loader.num_processes = self.processes.rank, self.processes.num
            loader.place(self.device, channels_last=config.channels_last)
        self._replicas = self._choose_replicas()
        self._replicas.prepare(model, self.device)
        self.model = self._place(model)
        self.cast = assign(config.roles, model, self.built_models)
        for other in self.cast.others.values():
            self._place(other)
        self.parts = [self._build_part(name, module) for name, module in self.cast.trained.items()]
        self._check_monitor(valid)
        self.average = self._build_average()
        self._forward = self._replicas.wrap(model, self.compute_loss, [part.optimizer for part in self.parts])
        if config.compile != "off":
            model.compile(mode="default" if config.compile == "on" else config.compile)
        self.progress = Progress()
        self._autocast = self.autocast(config.precision)

    def _choose_replicas(self) -> Replicas:
        if self.config.parallel == "ddp" or self.processes.num == 1:
            return Replicas(self.processes)
        _check_shards(self.config)
        from common.sharding import Shards  # noqa: PLC0415  # takes a second

        return Shards(self.processes)

    def _place(self, module: nn.Module) -> nn.Module:
        module.to(self.device)
        if self.config.channels_last:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module

    def _build_part(self, name: str, module: nn.Module) -> Part:
        config, role = self.config, self.config.roles.get(name, Role())
        optimizer = self.build_optimizer(module, role.optimizer or config.optimizer)
        choice, by_epoch = role.scheduler or config.scheduler, config.schedule_by == "epoch"
        num_steps = self.steps.num_epochs if by_epoch else -(-self.steps.total // role.every)
        scheduler: LRScheduler | None = None
        if choice is not None:
            warm_up = config.warmup_steps
            if 0 < num_steps <= warm_up:
                count = f"{num_steps} {'epochs' if by_epoch else 'steps'}"
                raise ValueError(f"train.warmup_steps is {warm_up}, and the schedule of '{name}' is {count} long")
            scheduler = optimizing.build_warmed_up(
                optimizer, warm_up, lambda: self.build_scheduler(optimizer, choice, num_steps - warm_up)
            )
        return Part(
            name,
            optimizer,
            scheduler,
            every=role.every,
            schedule_by=config.schedule_by,
            clip_norm=role.clip_norm or config.clip_norm,
            scaler=torch.amp.GradScaler(self.device.type) if config.precision == "fp16" else None,
            optimizer_state=self._replicas.state_of_optimizer(self.model, optimizer),
        )

    def _check_monitor(self, valid: Loader) -> None:
        """Raise ValueError where something waits for a number of a validation that there is not."""
        if len(valid) or not self.config.monitor.startswith("valid_"):
            return
        waits = any(isinstance(part.scheduler, ReduceLROnPlateau) for part in self.parts)
        if waits or self.config.patience is not None:
            name = "ReduceLROnPlateau" if waits else "train.patience"
            raise ValueError(
                f"{name} needs a validation split, and it is empty: raise data.valid_fraction, or monitor train_loss"
            )

    @torch.no_grad()
    def _check_monitored_name(self, valid: Loader) -> None:
        """Raise ValueError where the first batch of the validation shows that nothing has the monitored name."""
        name = self.config.monitor
        is_extended = any(getattr(type(self), m) is not getattr(Trainer, m) for m in ("validate", "on_epoch_end"))
        if is_extended or not len(valid) or not name.startswith("valid_"):
            return
        self.model.eval()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []), self._autocast:
            names = [f"valid_{key}" for key in self.valid_step(self.model, next(iter(valid.epoch(0, 0, 1))))]
        if name not in names:
            raise ValueError(f"train.monitor is '{name}', and a validation has {', '.join(names)}")

    def _build_average(self) -> AveragedModel | None:
        decay = self.config.ema_decay
        if decay is None:
            return None
        return AveragedModel(self.model, multi_avg_fn=optimizing.build_average(decay), use_buffers=True)

    def _fit(self, train: Loader, valid: Loader) -> None:
        progress, config = self.progress, self.config
        if self.processes.num > 1:  # the weights are the same in all of them; what is drawn from now on is not
            torch.manual_seed(self.runtime.seed + self.processes.rank * 1_000_003)
        self.on_fit_start()
        self._check_monitored_name(valid)
        self.loggers.start({"num_steps": self.steps.total})
        if self.checkpoints:
            self.checkpoints.resume(self._list_stateful(), self._list_own())
        for row in progress.rows:
            self.loggers.log_epoch(row)
        self._started, self._started_at = time.perf_counter(), progress.step / max(1, self.steps.total)
        self._next_report = 0.0  # not that of a process before, whose clock was another
        while progress.step < self.steps.total and not self._is_patience_over():
            row = self._run_epoch(train, valid)
            self.on_epoch_end(row)
            row = {name: v.item() if isinstance(v, np.generic | Tensor) else v for name, v in row.items()}
            row = gather(row)[0]  # all go by what the first process says
            self._compare(row)
            progress.end_epoch(row)
            self.loggers.log_epoch(row)
            log.info("epoch %d/%d  %s", row["epoch"], self.steps.num_epochs, _describe(row))
            self._write_checkpoint()
        if config.keep == "best" and progress.best_weights is not None:
            self._replicas.state_of(self.model).load_state_dict(progress.best_weights)
        elif self.average:
            self.model.load_state_dict(self.average.module.state_dict())
        self.on_fit_end()

    def _run_epoch(self, train: Loader, valid: Loader) -> dict[str, Any]:
        """Train the rest of an epoch, and validate; return its row of the history."""
        progress = self.progress
        epoch, first = progress.epoch + 1, progress.batch
        if first == 0:
            self.on_epoch_start(epoch)
        self.cast.set_training(self.model)
        started = time.perf_counter()
        meter = self.run_epoch(train, self._train_batch, epoch, first, self.steps.end(epoch), progress.meter)
        self._check_values()  # waits for the device
        num_samples = sum(train.size(index) for index in range(first, progress.batch))
        samples_per_s = num_samples / (time.perf_counter() - started)
        means = meter.means()
        row = {"epoch": epoch, "step": progress.step, **{f"train_{name}": value for name, value in means.items()}}
        row |= {f"valid_{name}": value for name, value in self.validate(valid).items()}
        for name in (name for name, value in row.items() if is_loss(name) and not math.isfinite(value)):
            raise FloatingPointError(
                f"the {name} is {row[name]} after step {progress.step} (epoch {epoch}): {_LOWER_LR}"
            )
        for part in self.parts:
            prefix = "" if part.name == WHOLE else f"{part.name}_"
            row[f"{prefix}learning_rate"] = float(part.optimizer.param_groups[0]["lr"])  # numpy may have computed it
        return {**row, "samples_per_s": samples_per_s}

    @torch.no_grad()
    def validate(self, valid: Loader) -> dict[str, float]:
        """Return the means over the validation split, by name; nothing where it is empty."""
        if not len(valid):
            return {}
        model = self.average.module if self.average else self.model
        model.eval()
        with self._autocast:
            return self.run_epoch(valid, lambda batch: self.valid_step(model, batch)).means()

    def _train_batch(self, batch: Batch) -> Values:
        """Train on one batch, the next one."""
        progress = self.progress
        if self.steps.is_first(progress.batch):
            self._report_when_due()
            if self.processes.num > 1 and progress.batch and progress.step % self.agree_steps == 0:
                self._write_when_all_agree()
        values = self.train_step(batch)
        if self.steps.is_last(progress.epoch + 1, progress.batch):
            progress.step += 1
            if self.average:
                self.average.update_parameters(self.model)
            self.on_step_end(progress.step)
        progress.batch += 1
        return values

    def _report_when_due(self) -> None:
        """A few times a second: check the losses, tell the loggers, and write a checkpoint where it is time."""
        if time.perf_counter() < self._next_report:
            return
        self._check_values()
        progress, fraction = self.progress, self.progress.step / self.steps.total
        seconds = time.perf_counter() - self._started
        values = {f"train_{name}": value for name, value in progress.meter.latest().items()}
        values |= {name: v for name, v in (progress.rows or [{}])[-1].items() if name.startswith("valid_")}
        done = fraction - self._started_at
        values |= {"epoch": progress.epoch + 1, "fraction": fraction}
        if done > 0:
            values["samples_per_s"] = done * self.steps.num_samples / seconds
            values["seconds_left"] = seconds * (1 - fraction) / done
        self.loggers.log_step(progress.step, values)
        if self.checkpoints and progress.batch and self.processes.num == 1 and self.checkpoints.is_due():
            self._write_checkpoint()
        self._next_report = time.perf_counter() + self.report_s

    def _write_when_all_agree(self) -> None:
        """Write a checkpoint where the first process says that it is time: all have to do it after the same step."""
        if self.checkpoints and gather(self.checkpoints.is_due())[0]:
            self._check_values()
            self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        if self.checkpoints:
            self.checkpoints.write(self.progress.step, self._list_stateful(), self._list_own())

    def _check_values(self) -> None:
        """Raise FloatingPointError where a loss of this epoch is no finite number."""
        meter = self.progress.meter
        meter.fetch()
        if found := meter.find_strange():
            batch, name, value = found
            epoch = self.progress.epoch + 1
            step = (epoch - 1) * self.steps.in_epoch + batch // self.config.accumulate + 1
            raise FloatingPointError(
                f"the {name} is {value} at step {step} (epoch {epoch}, batch {batch + 1} of {len(self.steps.loader)}): "
                f"{_LOWER_LR}"
            )

    def _compare(self, row: dict[str, Any]) -> None:
        """Find out whether the epoch is the best so far, and tell the schedules. Without validation the last one is."""
        monitored = self._read_monitored(row)
        if monitored is not None:
            weights = self.average.module if self.average else self._replicas.state_of(self.model)
            self.progress.compare(monitored, self.config.direction, weights)
        for part in self.parts:
            part.end_epoch(monitored)

    def _read_monitored(self, row: Mapping[str, Any]) -> float | None:
        """Return what says which epoch is best; None where there is no validation."""
        name = self.config.monitor
        monitored: float | None = row.get(name)
        if monitored is None and (not name.startswith("valid_") or any(key.startswith("valid_") for key in row)):
            raise ValueError(f"train.monitor is '{name}', and an epoch has {', '.join(row)}")
        return monitored

    def _is_patience_over(self) -> bool:
        patience = self.config.patience
        is_over = patience is not None and self.progress.num_stale >= patience
        if is_over:
            log.info("no better epoch for %d epochs: training ends after epoch %d", patience, self.progress.epoch)
        return is_over

    def _list_stateful(self) -> dict[str, Stateful]:
        """Return all that changes while training, by name."""
        parts: dict[str, Stateful] = {
            "model": self._replicas.state_of(self.model),
            **{f"part {part.name}": part for part in self.parts},
        }
        if self.average:
            parts["average"] = self.average
        return {**parts, "trainer": self, "progress": self.progress}

    def _list_own(self) -> dict[str, Divided]:
        """Return what changes in each process by itself, by name."""
        return {"meter": self.progress.meter, "attributes": Attributes(self)}


def _check_weights(model: nn.Module) -> None:
    """Raise FloatingPointError where the last update broke what no loss shows any more."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise FloatingPointError(f"the weights of {name} are not finite after the last step: {_LOWER_LR}")


def _name_losses(found: Tensor | Values) -> Values:
    """Return what `compute_loss` returned by name. Raises ValueError where the loss is not there, or trains nothing."""
    named = {"loss": found} if isinstance(found, Tensor) else found
    if not isinstance(named, Mapping) or not isinstance(loss := named.get("loss"), Tensor):
        what = (", ".join(named) or "nothing") if isinstance(named, Mapping) else f"a {type(named).__name__}"
        raise ValueError(f"the loss of the trainer returned {what}, and no tensor called 'loss': does it `return` one?")
    if loss.ndim:
        raise ValueError(f"the loss of a batch is to be one number, not {tuple(loss.shape)} of them: take the mean")
    if not loss.requires_grad:
        raise ValueError("the loss does not depend on the weights that are trained: was it detached?")
    return named if named is not found else {name: torch.as_tensor(value) for name, value in named.items()}


def _check_shards(config: Config) -> None:
    """Raise ValueError where a config asks for what a model in shares cannot do."""
    refused = {
        "ema_decay": config.ema_decay is not None,
        "channels_last": config.channels_last,
        "compile": config.compile != "off",
    }
    if names := [f"train.{name}" for name, is_set in refused.items() if is_set]:
        raise ValueError(f"train.parallel is fsdp, which does not go with {' and '.join(names)}: ddp does")


def _describe(row: Mapping[str, Any]) -> str:
    """Return the losses and validation metrics of a row as text."""
    shown = {name: value for name, value in row.items() if name.startswith(("train_", "valid_"))}
    return "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in shown.items())
