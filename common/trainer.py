"""The trainer component. Override one of its small methods: `loss`, `build_optimizer`, `train_step` …"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from common import engine
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


class Trainer(Engine):
    """Fits a model, and keeps the weights of the epoch with the best validation accuracy."""

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

    def fit(self, model: nn.Module, train: Loader, valid: Loader, record: Callable[[dict[str, Any]], None]) -> None:
        """Train `model` in place. `record` gets one dict of numbers an epoch.

        Raises FloatingPointError as soon as the mean loss of an epoch is not finite.
        """
        model.to(self.device)
        optimizer = self.build_optimizer(model)
        scheduler = self.build_scheduler(optimizer, self.config.epochs * len(train))
        best_accuracy, best_weights = -1.0, model.state_dict()
        for epoch in range(1, self.config.epochs + 1):
            started = time.perf_counter()
            loss = self._train_epoch(model, train, epoch, optimizer, scheduler)
            seconds = time.perf_counter() - started
            accuracy = self.validate(model, valid)
            if accuracy >= best_accuracy:  # of equals the longest trained
                best_accuracy, best_weights = accuracy, copy.deepcopy(model.state_dict())
            self._record_epoch(record, epoch, loss, accuracy, len(train.samples.ids) / seconds)
        model.load_state_dict(best_weights)

    def validate(self, model: nn.Module, valid: Loader) -> float:
        """Return the accuracy on the validation split, 0 … 1; an empty split counts as 0."""
        if not len(valid):
            return 0.0
        logits, targets, _ = self.predict(model, valid)
        return (logits.argmax(dim=1) == targets).double().mean().item()

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

    def _record_epoch(
        self,
        record: Callable[[dict[str, Any]], None],
        epoch: int,
        loss: float,
        accuracy: float,
        samples_per_s: float,
    ) -> None:
        record({"epoch": epoch, "train_loss": loss, "valid_accuracy": accuracy, "samples_per_s": samples_per_s})
        log.info("epoch %d/%d  loss %.4f  valid accuracy %.4f", epoch, self.config.epochs, loss, accuracy)
