"""Data-parallel training of a model that does not fit on one device: each process keeps a share of it (FSDP2).

A module of its own, as loading what it needs of torch takes a second.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.optim import Optimizer

from common.parallel import Replicas, synchronise_batch_norm
from common.stateful import Stateful

_READ = StateDictOptions(full_state_dict=True, cpu_offload=True)  # on the first process; nothing on the others
_WRITE = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


class Shards(Replicas):
    """Each process has a share of each layer's weights, gradients and optimizer state."""

    def prepare(self, model: nn.Module, device: torch.device) -> None:
        """Cut a model into shares on a device; a copy that is whole, on the CPU, is to become the built model."""
        self._class_name = type(model).__qualname__
        self._whole = copy.deepcopy(model) if self._processes.is_first else model
        self._norms = synchronise_batch_norm(model, device)
        self._even_out(model, device)
        mesh = init_device_mesh(device.type, (self._processes.num,))
        for unit in _list_units(model):
            fully_shard(unit, mesh=mesh)
        fully_shard(model, mesh=mesh)

    def wrap(
        self, model: nn.Module, compute: Callable[..., Any], optimizers: Sequence[Optimizer]
    ) -> Callable[..., Any]:
        """Return `compute` over the model. Raises ValueError for a model that is trained in parts."""
        if len(optimizers) > 1:
            raise ValueError("train.parallel is fsdp, which cannot train the parts of train.roles apart: ddp can")
        return partial(compute, model)

    def make_whole(self, model: nn.Module) -> nn.Module:
        """Return a model that has all weights, on the first process."""
        weights = self.state_of(model).state_dict()
        if self._processes.is_first:
            self._whole.load_state_dict(weights)
        return self._whole

    def state_of(self, model: nn.Module) -> Stateful:
        """Return what reads and writes the weights of a model: all of them, on the first process."""
        return _WholeModel(model, self._class_name)

    def state_of_optimizer(self, model: nn.Module, optimizer: Optimizer) -> Stateful:
        """Return what reads and writes the state of a model's optimizer: all of it, on the first process."""
        return _WholeOptimizer(model, optimizer)

    def _even_out(self, model: nn.Module, device: torch.device) -> None:
        """Give all processes the weights of the first one, as its replicas get them."""
        for tensor in [*model.parameters(), *model.buffers()]:
            on_device = tensor.detach().to(device)
            dist.broadcast(on_device, src=0)
            tensor.detach().copy_(on_device)

    def _defer(self, forward: Any) -> AbstractContextManager[Any]:
        """Return no context: gradients are always averaged, as no process has room for all of them."""
        return nullcontext()


def _list_units(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the parts that are gathered as one: children, and those of lists, but for what shares weights with others.

    What is left is gathered with the model.
    """
    children = list(_list_children(model))
    for child in children:
        others = {id(p) for other in children if other is not child for p in other.parameters()}
        own = [id(p) for p in child.parameters()]
        if own and not others.intersection(own):
            yield child


def _list_children(model: nn.Module) -> Iterator[nn.Module]:
    for child in model.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from _list_children(child)
        else:
            yield child


class _WholeModel:
    def __init__(self, model: nn.Module, class_name: str) -> None:
        self._model = model
        self.class_name = class_name

    def state_dict(self) -> dict[str, Any]:
        return get_model_state_dict(self._model, options=_READ)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        set_model_state_dict(self._model, state, options=_WRITE)


class _WholeOptimizer:
    """Reads and writes a state as the optimizer of a whole model has it: by the places of parameters, not by names."""

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self._model = model
        self._optimizer = optimizer
        names = {parameter: name for name, parameter in model.named_parameters()}
        self._names = [[names[p] for p in group["params"]] for group in optimizer.param_groups]
        self._places = {name: place for place, name in enumerate(name for group in self._names for name in group)}

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(get_optimizer_state_dict(self._model, self._optimizer, options=_READ))
        if not state:
            return {}
        groups = [
            {**group, "params": [self._places[name] for name in names]}
            for group, names in zip(state["param_groups"], self._names, strict=True)
        ]
        by_place = {self._places[name]: member for name, member in state["state"].items()}
        return {"state": by_place, "param_groups": groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        groups = [{**group, "params": names} for group, names in zip(state["param_groups"], self._names, strict=True)]
        names = list(self._places)
        by_name = {names[place]: member for place, member in state["state"].items()}
        whole: dict[str, Any] = {"state": by_name, "param_groups": groups}
        set_optimizer_state_dict(self._model, self._optimizer, whole, options=_WRITE)
