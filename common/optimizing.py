"""A part of a model with an optimizer of its own, and losses, optimizers and schedules by their names in torch."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LinearLR, LRScheduler, ReduceLROnPlateau, SequentialLR

from common.stateful import Stateful

_LENGTHS = ("T_max", "total_steps")  # arguments of schedules that mean the whole training, where they are not given
_WARM_UP_FROM = 0.01  # of the learning rate


def build_loss(choice: Mapping[str, Any], device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function of torch.nn.functional with its arguments; a list of numbers becomes a tensor of floats."""
    name, arguments = _split(choice)
    lists = {key: value for key, value in arguments.items() if isinstance(value, tuple | list)}
    tensors = {key: torch.tensor(value, dtype=torch.float32, device=device) for key, value in lists.items()}
    return partial(getattr(functional, name), **{**arguments, **tensors})


def build_optimizer(choice: Mapping[str, Any], module: nn.Module) -> Optimizer:
    """Return an optimizer of torch.optim for the parameters of a module that are trained."""
    name, arguments = _split(choice)
    optimizer: Optimizer = getattr(torch.optim, name)([p for p in module.parameters() if p.requires_grad], **arguments)
    return optimizer


def build_scheduler(
    choice: Mapping[str, Any], optimizer: Optimizer, num_steps: int, mode: Literal["max", "min"] = "min"
) -> LRScheduler:
    """Return a schedule of torch.optim.lr_scheduler that is `num_steps` long; `mode` is that of what is monitored."""
    name, arguments = _split(choice)
    scheduler_class = getattr(lr_scheduler, name)
    lengths = [key for key in inspect.signature(scheduler_class).parameters if key in _LENGTHS]
    if name == "PolynomialLR":
        lengths = ["total_iters"]
    defaults: dict[str, Any] = dict.fromkeys(lengths, max(1, num_steps))
    if scheduler_class is ReduceLROnPlateau:
        defaults["mode"] = mode
    scheduler: LRScheduler = scheduler_class(optimizer, **{**defaults, **arguments})
    return scheduler


def build_warmed_up(optimizer: Optimizer, num_steps: int, build: Callable[[], LRScheduler]) -> LRScheduler:
    """Return a schedule that rises for `num_steps`, and is then the one that `build` returns.

    Raises ValueError where that one counts no steps.
    """
    if num_steps <= 0:
        return build()
    rise, then = LinearLR(optimizer, _WARM_UP_FROM, total_iters=num_steps), build()
    if isinstance(then, ReduceLROnPlateau):
        raise ValueError("train.warmup_steps does not go with ReduceLROnPlateau: set it to 0, or take another schedule")
    return SequentialLR(optimizer, [rise, then], [num_steps])


def build_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """Return how a moving average takes in newer tensors. Whole numbers, as indices, are taken as they are.

    After n updates the decay is at most (1 + n) / (10 + n), as TensorFlow's ExponentialMovingAverage has it: a short
    training would else end with the average still full of the weights that it began with.
    """

    @torch.no_grad()
    def take_in(averages: list[Tensor], newer: list[Tensor], num_averaged: Tensor) -> None:
        if averages[0].is_floating_point() or averages[0].is_complex():
            weight = 1 - ((1 + num_averaged) / (10 + num_averaged)).clamp(max=decay)  # stays on the device
            differences = torch._foreach_sub(newer, averages)
            torch._foreach_mul_(differences, weight)
            torch._foreach_add_(averages, differences)
        else:
            for average, tensor in zip(averages, newer, strict=True):
                average.copy_(tensor)

    return take_in


class Part:
    """What one optimizer trains: gradients gather over batches, and an update ends them."""

    def __init__(
        self,
        name: str,
        optimizer: Optimizer,
        scheduler: LRScheduler | None = None,
        *,
        every: int = 1,
        schedule_by: Literal["step", "epoch"] = "step",
        clip_norm: float | None = None,
        scaler: torch.amp.GradScaler | None = None,
        optimizer_state: Stateful | None = None,
    ) -> None:
        """Join them; `every` counts the steps of the training for one update of this part."""
        self.name = name
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.every = every
        self._clip_norm = clip_norm
        self._scaler = scaler
        stateful = {"optimizer": optimizer_state or optimizer, "scheduler": scheduler, "scaler": scaler}
        self._stateful = {name: part for name, part in stateful.items() if part is not None}
        self._held: list[Tensor] = []
        self._steps_by_epoch = schedule_by == "epoch" or isinstance(scheduler, ReduceLROnPlateau)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        (self._scaler.scale(loss) if self._scaler else loss).backward()  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """Step the optimizer and the schedule, and forget the gradients."""
        is_updated = self._update_scaled(self._scaler) if self._scaler and self._has_gradients else self._update_plain()
        if self.scheduler is not None and not self._steps_by_epoch and is_updated:
            self.scheduler.step()
        self._forget_gradients()

    def end_epoch(self, monitored: float | None) -> None:
        """Step a schedule that counts epochs, or waits for what is monitored to stall."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            if monitored is not None:
                self.scheduler.step(monitored)
        elif self.scheduler is not None and self._steps_by_epoch:
            self.scheduler.step()

    @property
    def is_trainable(self) -> bool:
        """Whether there is anything to train: a hook may have frozen all of it."""
        return any(parameter.requires_grad for parameter in self._list_parameters())

    def hold(self) -> None:
        """Compute no gradients for this part, until `release`."""
        self._held = [parameter for parameter in self._list_parameters() if parameter.requires_grad]
        for parameter in self._held:
            parameter.requires_grad_(False)

    def release(self) -> None:
        """Compute those gradients again that were computed before."""
        for parameter in self._held:
            parameter.requires_grad_(True)

    def state_dict(self) -> dict[str, Any]:
        """Return what changes while training, the module's weights apart."""
        return {name: part.state_dict() for name, part in self._stateful.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back."""
        for name, part in self._stateful.items():
            part.load_state_dict(state[name])

    def _list_parameters(self) -> list[Tensor]:
        """Return what is trained; a hook may have added to it."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    @property
    def _has_gradients(self) -> bool:
        """Whether there are any: a scaler fails without."""
        return any(parameter.grad is not None for parameter in self._list_parameters())

    def _forget_gradients(self) -> None:
        if type(self.optimizer).zero_grad is not Optimizer.zero_grad:
            self.optimizer.zero_grad(set_to_none=True)
            return
        for parameter in self._list_parameters():  # as torch's own does, but for the entry in a profile: 6 % of a step
            parameter.grad = None

    def _update_plain(self) -> bool:
        if self._clip_norm is not None:
            clip_grad_norm_(self._list_parameters(), self._clip_norm)
        self.optimizer.step()
        return True

    def _update_scaled(self, scaler: torch.amp.GradScaler) -> bool:
        """Step the optimizer, unless a gradient was too large for the scale, which is then lowered; say whether."""
        scale = scaler.get_scale()
        if self._clip_norm is not None:
            scaler.unscale_(self.optimizer)
            clip_grad_norm_(self._list_parameters(), self._clip_norm)
        scaler.step(self.optimizer)
        scaler.update()
        return scaler.get_scale() >= scale


def _split(choice: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return choice["name"], {key: value for key, value in choice.items() if key != "name"}
