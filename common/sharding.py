"""Data-parallel training of a model that does not fit on one device: each process keeps a share of it (FSDP2).

A module of its own, as loading what it needs of torch takes a second.
"""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import fully_shard
from torch.optim import Optimizer

from common.parallel import Replicas, synchronise_batch_norm
from common.stateful import Stateful

_READ = StateDictOptions(full_state_dict=True, cpu_offload=True)  # on the first process; nothing on the others
_WRITE = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


class Shards(Replicas):
    """Each process has a share of each layer's weights, gradients and optimizer state."""

    def prepare(self, model: nn.Module) -> None:
        """Cut a model into shares; a copy that is whole, on the CPU, is to become the built model."""
        self._whole = copy.deepcopy(model).to("cpu") if self._processes.is_first else model
        synchronise_batch_norm(model)
        for child in model.children():
            if any(True for _ in child.parameters()):
                fully_shard(child)
        fully_shard(model)

    def wrap(self, model: nn.Module, compute: Callable[..., Any], *, in_parts: bool) -> Callable[..., Any]:
        """Return `compute` over the model. Raises ValueError for a model that is trained in parts."""
        if in_parts:
            raise ValueError("train.parallel is fsdp, which cannot train the parts of train.roles apart: ddp can")
        return partial(compute, model)

    def context(self, forward: Any, *, is_last: bool) -> AbstractContextManager[Any]:
        """Return no context: gradients are always reduced, as no process has room for all of them."""
        return nullcontext()

    def make_whole(self, model: nn.Module) -> nn.Module:
        """Return a model that has all weights, on the first process."""
        weights = self.state_of(model).state_dict()
        if self._processes.is_first:
            self._whole.load_state_dict(weights)
        return self._whole

    def state_of(self, model: nn.Module) -> Stateful:
        """Return what reads and writes the weights of a model: all of them, on the first process."""
        return _WholeModel(model)

    def state_of_optimizer(self, model: nn.Module, optimizer: Optimizer) -> Stateful:
        """Return what reads and writes the state of a model's optimizer: all of it, on the first process."""
        return _WholeOptimizer(model, optimizer)


@dataclass(frozen=True)
class _WholeModel:
    model: nn.Module

    def state_dict(self) -> dict[str, Any]:
        return get_model_state_dict(self.model, options=_READ)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        set_model_state_dict(self.model, state, options=_WRITE)


@dataclass(frozen=True)
class _WholeOptimizer:
    model: nn.Module
    optimizer: Optimizer

    def state_dict(self) -> dict[str, Any]:
        return dict(get_optimizer_state_dict(self.model, self.optimizer, options=_READ))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        set_optimizer_state_dict(self.model, self.optimizer, state, options=_WRITE)
