"""Data-parallel training: several processes, each with its share of every batch, come to one result.

What a single process computes over a batch is what all of them compute together over their shares: gradients are
averaged, batch norm sees the whole batch, means are taken over all samples.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from common.stateful import Stateful

Kind = Literal["ddp", "fsdp"]


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


def add_up(values: list[float]) -> list[float]:
    """Return the sums of these numbers over all processes."""
    if not _is_joined():
        return values
    device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return sums.tolist()


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

    def prepare(self, model: nn.Module) -> None:
        """Change a model on its device for training."""
        if self._processes.num > 1:
            synchronise_batch_norm(model)

    def wrap(self, model: nn.Module, compute: Callable[..., Any], *, in_parts: bool) -> Callable[..., Any]:
        """Return `compute` over the model, such that backward passes average the gradients over all processes."""
        if self._processes.num == 1:
            return partial(compute, model)
        return DistributedDataParallel(_Forward(model, compute), find_unused_parameters=in_parts)

    def context(self, forward: Any, *, is_last: bool) -> AbstractContextManager[Any]:
        """Return the context for a batch: before the last of a step, gradients need not be averaged."""
        return forward.no_sync() if isinstance(forward, DistributedDataParallel) and not is_last else nullcontext()

    def make_whole(self, model: nn.Module) -> nn.Module:
        """Return a model that has all weights, on the first process."""
        return model

    def state_of(self, model: nn.Module) -> Stateful:
        """Return what reads and writes the weights of a model: all of them, on the first process."""
        return model

    def state_of_optimizer(self, model: nn.Module, optimizer: Optimizer) -> Stateful:
        """Return what reads and writes the state of a model's optimizer: all of it, on the first process."""
        return optimizer


class _Forward(nn.Module):
    """A computation over a model as a module, which is what torch's wrapper takes."""

    def __init__(self, model: nn.Module, compute: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self._compute = compute

    def forward(self, *args: Any) -> Any:
        return self._compute(self.model, *args)


def synchronise_batch_norm(model: nn.Module) -> None:
    """Have batch norm take its statistics over the batch as a whole."""
    for name, child in list(model.named_modules()):
        if isinstance(child, _BatchNorm) and not isinstance(child, nn.SyncBatchNorm):
            owner, _, last = name.rpartition(".")
            device = next(child.parameters(), torch.empty(0)).device
            if device.type == "cpu" or not name:
                child.__class__ = SyncedBatchNorm  # keeps its name, its weights, and who refers to it
            else:
                synced = nn.SyncBatchNorm.convert_sync_batchnorm(child)  # type: ignore[no-untyped-call]
                setattr(model.get_submodule(owner), last, synced)


class SyncedBatchNorm(_BatchNorm):
    """Batch norm over all processes, for the CPU, where torch has none."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs of shape (batch, channels, …) normalised by channel."""
        if not self.training:
            return super().forward(inputs)
        dims = [dim for dim in range(inputs.ndim) if dim != 1]
        shape = [-1 if dim == 1 else 1 for dim in range(inputs.ndim)]
        count = _sum_over_processes(inputs.new_tensor([inputs.numel() / inputs.shape[1]]))
        mean = _sum_over_processes(inputs.sum(dims)) / count
        centred = inputs - mean.view(shape)
        variance = _sum_over_processes(centred.square().sum(dims)) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        normalised = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            return normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised

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
