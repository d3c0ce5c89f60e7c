"""The trainer component. Override one of its small methods: `loss`, `build_optimizer`, `train_step` …"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from common import engine
from common.checkpoint import Checkpoints, Stateful
from common.dataset import Batch
from common.engine import Engine, log
from common.loader import Loader


@dataclass(frozen=True)
class Config:
    """Params of the section `train`."""

    epochs: int = 20
    learning_rate: float = 0.003
    weight_decay: float = 0.05
    label_smoothing: float = 0.0


@dataclass
class Progress:
    """What a training has found so far: its history, and the weights of the best epoch."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    best_accuracy: float = -1.0
    best_weights: dict[str, Any] | None = None

    def add(self, row: dict[str, Any], model: nn.Module) -> None:
        """Add an epoch's row; keep the weights where there was no better epoch, of equals the longest trained."""
        self.rows.append(row)
        if row["valid_accuracy"] >= self.best_accuracy:
            self.best_accuracy, self.best_weights = row["valid_accuracy"], copy.deepcopy(model.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return all of it."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back."""
        vars(self).update(state)


class Trainer(Engine):
    """Fits a model, and keeps the weights of the epoch with the best validation accuracy."""

    checkpoints: Checkpoints | None = None  # where `fit` leaves its state after each epoch; the stage sets it

    def __init__(self, config: Config, runtime: engine.Config) -> None:
        super().__init__(runtime)
        self.config = config

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch: logits (batch, classes), targets (batch,)."""
        return functional.cross_entropy(logits, targets, label_smoothing=self.config.label_smoothing)

    def build_optimizer(self, model: nn.Module) -> Optimizer:
        """Return the optimizer of the model's parameters."""
        return AdamW(model.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay)

    def build_scheduler(self, optimizer: Optimizer, num_steps: int) -> LRScheduler:
        """Return the schedule of the learning rate, stepped after each of `num_steps` updates."""
        return CosineAnnealingLR(optimizer, T_max=max(1, num_steps))

    def train_step(self, model: nn.Module, batch: Batch, optimizer: Optimizer) -> Tensor:
        """Update the weights on one batch; return its loss, detached."""
        optimizer.zero_grad(set_to_none=True)
        loss = self.loss(model(batch.inputs), batch.targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs of the trainer itself: its attributes that are numbers or texts.

        A subclass that changes more on itself while training (tensors, an average of the weights, a gradient scaler)
        extends this and `load_state_dict`. Tensors, numbers, texts, and lists, tuples and dicts of them can be kept.
        """
        return {"attributes": {name: v for name, v in vars(self).items() if isinstance(v, int | float | str)}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned, extended or not; the optimizer and the scheduler are built by then."""
        vars(self).update(state["attributes"])

    def fit(self, model: nn.Module, train: Loader, valid: Loader, record: Callable[[dict[str, Any]], None]) -> None:
        """Train `model` in place. `record` gets one dict of numbers an epoch.

        With `checkpoints`, a training that was killed goes on after its last epoch, to the bit of one that was not.
        Raises FloatingPointError as soon as the mean loss of an epoch is not finite.
        """
        model.to(self.device)
        optimizer = self.build_optimizer(model)
        scheduler = self.build_scheduler(optimizer, self.config.epochs * len(train))
        progress = Progress()
        parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
        parts |= {"trainer": self, "progress": progress}
        num_done = self.checkpoints.resume(parts, self.config.epochs) if self.checkpoints else 0
        for row in progress.rows:
            record(row)
        for epoch in range(num_done + 1, self.config.epochs + 1):
            row = self._run_epoch(model, train, valid, epoch, optimizer, scheduler)
            progress.add(row, model)
            record(row)
            if self.checkpoints:
                self.checkpoints.write(epoch, parts)
        if progress.best_weights is not None:
            model.load_state_dict(progress.best_weights)

    def validate(self, model: nn.Module, valid: Loader) -> float:
        """Return the accuracy on the validation split, 0 … 1; an empty split counts as 0."""
        if not len(valid):
            return 0.0
        logits, targets, _ = self.predict(model, valid)
        return (logits.argmax(dim=1) == targets).double().mean().item()

    def _run_epoch(
        self, model: nn.Module, train: Loader, valid: Loader, epoch: int, optimizer: Optimizer, scheduler: LRScheduler
    ) -> dict[str, Any]:
        """Train and validate once; return the epoch's row of the history."""
        started = time.perf_counter()
        loss = self._train_epoch(model, train, epoch, optimizer, scheduler)
        samples_per_s = len(train.samples.ids) / (time.perf_counter() - started)
        accuracy = self.validate(model, valid)
        log.info("epoch %d/%d  loss %.4f  valid accuracy %.4f", epoch, self.config.epochs, loss, accuracy)
        return {"epoch": epoch, "train_loss": loss, "valid_accuracy": accuracy, "samples_per_s": samples_per_s}

    def _train_epoch(
        self, model: nn.Module, train: Loader, epoch: int, optimizer: Optimizer, scheduler: LRScheduler
    ) -> float:
        model.train()
        losses = []
        for batch in self.batches(train, epoch):
            losses.append(self.train_step(model, batch, optimizer))
            scheduler.step()
        loss = torch.stack(losses).mean().item()
        if not torch.isfinite(torch.tensor(loss)):
            raise FloatingPointError(f"the training loss is {loss} in epoch {epoch}")
        return loss
