"""What keeps seeds from being trained at once: all that would make one of them end elsewhere than by itself.

Everything is refused before anything is trained, in one line that says what it is and why.
"""

import copy
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from common.dataset import Batch
from common.trainer import Config, Trainer

# Optimizers of torch.optim that update each number of a tensor by itself: one of them serves the stacked weights.
ELEMENTWISE = (
    *("ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD"),
)
_MAY_OVERRIDE = ("__init__", "loss")


class NotVectorisableError(ValueError):
    """Seeds cannot be trained at once."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"train.vectorised_seeds does not go with {what}: {why}")


def check_trainer(trainer: Trainer, model: nn.Module) -> None:
    """Raise NotVectorisableError where the config, the trainer's class or a layer says that it cannot be."""
    if (trainer.config.vectorised_seeds or 0) < 2:
        raise ValueError(f"train.vectorised_seeds is {trainer.config.vectorised_seeds}: give 2 or more, or null")
    for what, why in (*_find_in_config(trainer.config), *_find_in_class(trainer), *_find_in_model(model)):
        raise NotVectorisableError(what, why)


def check_step(trainer: Trainer, model: nn.Module, batch: Batch) -> None:
    """Compute the loss of one batch of one seed; raise NotVectorisableError where more than a loss comes of it.

    The model is copied before. What its own code raises is raised.
    """
    probe = copy.deepcopy(model).train()
    before, generators = _list_attributes(trainer, probe), _read_generators()
    buffers = {name: buffer.clone() for name, buffer in probe.named_buffers()}
    trainer.loss(probe(batch.inputs), batch.targets)
    for name, buffer in probe.named_buffers():
        if name not in buffers or not torch.equal(buffer, buffers[name]):
            raise NotVectorisableError(f"the buffer {name}", "a forward pass changes it")
    for name, value in _list_attributes(trainer, probe).items():
        if name not in before or before[name] is not value:
            raise NotVectorisableError(f"what is kept in {name}", "computing a loss changes it")
    if _read_generators() != generators:
        raise NotVectorisableError("random numbers in the model or the loss", "each seed draws its own by itself")


def _find_in_config(config: Config) -> Iterator[tuple[str, str]]:
    """Yield what is refused, and why."""
    optimizer, scheduler = config.optimizer["name"], (config.scheduler or {}).get("name")
    if optimizer not in ELEMENTWISE:
        yield f"the optimizer {optimizer}", f"it does not treat each weight by itself, as {', '.join(ELEMENTWISE)} do"
    if scheduler == "ReduceLROnPlateau":
        yield f"the schedule {scheduler}", "each seed would come to a learning rate of its own"
    if config.roles:
        yield "train.roles", "the model is trained as a whole"
    if config.accumulate > 1:
        yield "train.accumulate", "a step is one batch"
    if config.patience is not None:
        yield "train.patience", "seeds would end at different epochs"
    if config.ema_decay is not None:
        yield "train.ema_decay", "no average of stacked weights is kept"
    if config.precision == "fp16":
        yield "train.precision: fp16", "one scale of the gradients would serve all seeds"
    if config.compile != "off":
        yield "train.compile", "the step is traced already"
    if config.channels_last:
        yield "train.channels_last", "stacked weights have a dimension more"


def _find_in_class(trainer: Trainer) -> Iterator[tuple[str, str]]:
    if trainer.processes.num > 1:
        yield "several processes", "one trains all seeds; leave out --processes"
    for name in dir(Trainer):
        method = getattr(Trainer, name)
        is_free = name in _MAY_OVERRIDE or name.startswith("__") or not callable(method)
        if not is_free and getattr(type(trainer), name) is not method:
            yield f"{type(trainer).__qualname__}.{name}", "of its methods only `loss` is called for each seed"


def _find_in_model(model: nn.Module) -> Iterator[tuple[str, str]]:
    for name, module in model.named_modules():
        place = f"{name or 'the model'} ({type(module).__name__})"
        if isinstance(module, _DropoutNd) and module.p > 0:
            yield place, "each seed draws its own zeros by itself; set its p to 0"
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            yield place, "a forward pass changes its buffers; take another norm, as GroupNorm"


def _list_attributes(trainer: Trainer, model: nn.Module) -> dict[str, Any]:
    """Return what the trainer and the modules hold by themselves, by place."""
    holders = {"the trainer": trainer, **{name or "the model": module for name, module in model.named_modules()}}
    return {f"{name}.{key}": value for name, holder in holders.items() for key, value in vars(holder).items()}


def _read_generators() -> list[Any]:
    """Return the states of all generators, such that equal ones compare equal."""
    numpy = np.random.get_state(legacy=False)["state"]
    tensors = [torch.get_rng_state()]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        tensors += torch.cuda.get_rng_state_all()
    return [random.getstate(), numpy["pos"], numpy["key"].tolist(), *(tensor.tolist() for tensor in tensors)]
