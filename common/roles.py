"""The parts of a model that are trained apart, and the models beside it that help."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn

from common.config import BuiltModel, OptimizerChoice, PositiveFloat, PositiveInt, SchedulerChoice

WHOLE = "model"  # the name of a model that is trained as one


@dataclass(frozen=True)
class Role:
    """Params of `train.roles.NAME`: the part of the model with this name, or another experiment's built model."""

    model_from: BuiltModel | None = None  # the experiment; its model is frozen
    frozen: bool = False  # neither trained nor in training mode
    every: PositiveInt = 1  # steps of the training for one update of this part
    optimizer: OptimizerChoice | None = None  # this and what follows: None is what `train` says
    scheduler: SchedulerChoice | None = None
    clip_norm: PositiveFloat | None = None


@dataclass(frozen=True)
class Cast:
    """Who plays in a training."""

    trained: Mapping[str, nn.Module]  # what has an optimizer each
    frozen: tuple[nn.Module, ...]  # parts of the model
    others: Mapping[str, nn.Module]  # built models of other experiments

    def set_training(self, model: nn.Module) -> None:
        """Put the model into training mode, its frozen parts apart."""
        model.train()
        for module in self.frozen:
            module.eval()


def assign(roles: Mapping[str, Role], model: nn.Module, built_models: Mapping[str, nn.Module]) -> Cast:
    """Return who plays: without a trained part, the model as a whole is one; freezes what is declared so.

    Raises ValueError where a role means nothing, or a parameter is not either frozen or in one trained part.
    """
    for name, role in roles.items():
        if role.model_from and replace(role, frozen=False) != Role(role.model_from):
            raise ValueError(f"train.roles.{name}: the model of {role.model_from} is frozen, nothing else can be set")
    others = {name: _freeze(built_models[role.model_from]) for name, role in roles.items() if role.model_from}
    parts = {name: _find_part(model, name) for name in roles if name not in others}
    frozen = tuple(_freeze(module) for name, module in parts.items() if roles[name].frozen)
    trained = {name: module for name, module in parts.items() if not roles[name].frozen} or {WHOLE: model}
    _check_parameters(model, trained)
    return Cast(trained, frozen, others)


def _check_parameters(model: nn.Module, trained: Mapping[str, nn.Module]) -> None:
    owners: dict[int, list[str]] = {}
    for part, module in trained.items():
        for parameter in module.parameters():
            owners.setdefault(id(parameter), []).append(part)
    parameters = [(name, owners.get(id(p), [])) for name, p in model.named_parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("train.roles freezes all of the model: there is nothing to train")
    for name, parts in parameters:
        if not parts:
            raise ValueError(f"train.roles leaves out {name}: give its part a role, or `frozen: true`")
        if len(parts) > 1:
            raise ValueError(f"train.roles: {name} is part of {' and of '.join(parts)}: one part trains it")


def _find_part(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        names = ", ".join(child for child, _ in model.named_children())
        raise ValueError(f"train.roles.{name}: the model has no part of this name; it has {names}") from None


def _freeze(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False).eval()
