"""Data-parallel training: several processes, each with its share of every batch, come to one result.

What a single process computes over a batch is what all of them compute together over their shares: gradients are
averaged, batch norm sees the whole batch, means are taken over all samples.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from common.stateful import Stateful

log = logging.getLogger("force")


@dataclass(frozen=True)
class Processes:
    """How many there are, and which of them this is."""

    rank: int = 0
    num: int = 1

    @property
    def is_first(self) -> bool:
        """Say whether this is the one that writes."""
        return self.rank == 0


def find_processes() -> Processes:
    """Return the processes that this one has joined, or it alone."""
    return Processes(dist.get_rank(), dist.get_world_size()) if _is_joined() else Processes()


@contextmanager
def join(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started with this one; on GPUs, each with its own."""
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield find_processes()
    finally:
        dist.destroy_process_group()


def gather(value: Any) -> list[Any]:
    """Return the values of all processes, by rank, to each of them."""
    if not _is_joined():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


class Replicas:
    """Each process has the whole model; alone, a process has it anyway."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._norms: list[_BatchNormOnCpu | _BatchNormOnGpu] = []

    def prepare(self, model: nn.Module, device: torch.device) -> None:
        """Change a model for training on a device."""
        if self._processes.num > 1:
            self._norms = synchronise_batch_norm(model, device)

    def wrap(
        self, model: nn.Module, compute: Callable[..., Any], optimizers: Sequence[Optimizer]
    ) -> Callable[..., Any]:
        """Return `compute` over the model, such that backward passes average the gradients over all processes."""
        if self._processes.num == 1:
            return partial(compute, model)
        with _make_trainable(optimizers):
            # A parameter that a loss does not reach keeps its gradient, as it does in one process.
            return DistributedDataParallel(_Forward(model, compute), find_unused_parameters=True)

    def batch(self, forward: Any, *, is_last: bool, is_idle: bool) -> AbstractContextManager[Any]:
        """Return the context in which a batch is computed: gradients are averaged with the last batch of a step.

        An idle process has no share of the batch.
        """
        for norm in self._norms:
            norm.is_idle = is_idle
        return nullcontext() if is_last else self._defer(forward)

    def make_whole(self, model: nn.Module) -> nn.Module:
        """Return a model that has all weights, on the first process."""
        return model

    def state_of(self, model: nn.Module) -> Stateful:
        """Return what reads and writes the weights of a model: all of them, on the first process."""
        return model

    def state_of_optimizer(self, model: nn.Module, optimizer: Optimizer) -> Stateful:
        """Return what reads and writes the state of a model's optimizer: all of it, on the first process."""
        return optimizer

    def _defer(self, forward: Any) -> AbstractContextManager[Any]:
        """Return the context in which gradients are not averaged yet."""
        return forward.no_sync() if isinstance(forward, DistributedDataParallel) else nullcontext()


@contextmanager
def _make_trainable(optimizers: Sequence[Optimizer]) -> Iterator[None]:
    """Have gradients for all that is optimized: what is frozen now may not always be."""
    parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    yield
    for parameter in frozen:
        parameter.requires_grad_(False)


class _Forward(nn.Module):
    """A computation over a model as a module, which is what torch's wrapper takes."""

    def __init__(self, model: nn.Module, compute: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self._compute = compute

    def forward(self, *args: Any) -> Any:
        return self._compute(self.model, *args)


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> "list[_BatchNormOnCpu | _BatchNormOnGpu]":
    """Have batch norm take its statistics over the batch as a whole; return the layers.

    A layer keeps its name, its weights, and who refers to it.
    """
    layers: list[_BatchNormOnCpu | _BatchNormOnGpu] = []
    for name, layer in model.named_modules():
        if not isinstance(layer, _BatchNorm):
            continue
        if type(layer).forward not in (_BatchNorm.forward, nn.SyncBatchNorm.forward):
            log.warning("%s is a batch norm of its own: each process normalises by its share of a batch", name)
            continue
        layer.__class__ = _BatchNormOnCpu if device.type == "cpu" else _BatchNormOnGpu
        layers.append(cast(Any, layer))
    return layers


class _BatchNormOnGpu(nn.SyncBatchNorm):
    """Torch's own, which takes part without a sample where a process is idle."""

    process_group = None
    is_idle = False

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs of shape (batch, channels, …) normalised by channel."""
        if self.training and self.is_idle:
            return inputs + super().forward(inputs[:0]).sum()
        return super().forward(inputs)


class _BatchNormOnCpu(_BatchNorm):
    """The same for the CPU, where torch has none."""

    is_idle = False

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs of shape (batch, channels, …) normalised by channel. Raises ValueError for a single value."""
        if not self.training:
            return super().forward(inputs)
        wide = inputs if inputs.dtype == torch.float64 else inputs.float()
        mean, variance = self._measure(wide[:0] if self.is_idle else wide)
        shape = [-1 if dim == 1 else 1 for dim in range(inputs.ndim)]
        normalised = (wide - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(inputs.dtype)

    def _measure(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each channel over all processes, and keep them with the running ones."""
        dims = [dim for dim in range(inputs.ndim) if dim != 1]
        count = inputs.new_tensor([inputs.numel() / inputs.shape[1]])
        sums = _sum_over_processes(torch.cat([inputs.sum(dims), count]))
        count = sums[-1].detach()
        if count <= 1:
            raise ValueError("batch norm needs more than one value of each channel to train on, and a batch has one")
        mean = sums[:-1] / count
        shape = [-1 if dim == 1 else 1 for dim in range(inputs.ndim)]
        variance = _sum_over_processes((inputs - mean.view(shape)).square().sum(dims)) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        return mean, variance

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)

    def _check_input_dim(self, _: Tensor) -> None:
        """Take any number of dimensions."""


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _sum_over_processes(tensor: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
    return total


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()
