"""Losses, optimizers and schedules by their names in torch, and what an update does."""

import inspect
import io
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from common.optimizing import Part, build_loss, build_optimizer, build_scheduler, build_warmed_up

CPU = torch.device("cpu")
# What params cannot give: a closure; sparse gradients.
OTHER_OPTIMIZERS = {"LBFGS", "SparseAdam", "Optimizer"}
OPTIMIZERS = sorted(
    name for name in torch.optim.__all__ if inspect.isclass(getattr(torch.optim, name)) and name not in OTHER_OPTIMIZERS
)
# What params cannot give: functions, or other schedules.
OTHER_SCHEDULERS = {"LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler", "LRScheduler"}
SCHEDULERS = sorted(set(lr_scheduler.__all__) - OTHER_SCHEDULERS)
ARGUMENTS: dict[str, dict[str, Any]] = {
    "CosineAnnealingWarmRestarts": {"T_0": 3},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2},
    "ExponentialLR": {"gamma": 0.9},
    "MultiStepLR": {"milestones": [1, 3]},
    "OneCycleLR": {"max_lr": 0.1},
    "StepLR": {"step_size": 1},
}


def _make_layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2, bias=False)  # Muon takes matrices alone


def _train(part: Part, layer: nn.Module, num_steps: int) -> list[Tensor]:
    """Do so many steps on the same batch; return the weights after each."""
    inputs, seen = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]]), []
    for _ in range(num_steps):
        part.backward(layer(inputs).square().mean())
        part.update()
        seen.append(torch.cat([parameter.detach().flatten() for parameter in layer.parameters()]))
    return seen


def _read_rates(optimizer: Optimizer, scheduler: LRScheduler, num_steps: int) -> list[float]:
    """Return the learning rate of each step."""
    rates = []
    for _ in range(num_steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step(*((1.0,) if isinstance(scheduler, ReduceLROnPlateau) else ()))
    return rates


def _keep(state: Any) -> Any:
    """Return a state as it comes out of a file of tensors and plain types."""
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


def _make_part(**options: Any) -> tuple[Part, nn.Linear]:
    layer = _make_layer()
    return Part("part", SGD(layer.parameters(), lr=0.1), **options), layer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimizer_of_torch_trains_and_goes_on_from_its_state(name: str) -> None:
    layer, other = _make_layer(), _make_layer()
    part, again = (Part("part", build_optimizer({"name": name, "lr": 0.01}, module)) for module in (layer, other))
    start = _train(part, layer, 1)[0]
    assert not torch.equal(start, _make_layer().weight.flatten())
    other.load_state_dict(layer.state_dict())
    again.load_state_dict(_keep(part.state_dict()))
    end = _train(part, layer, 2)[-1]
    assert not torch.equal(start, end)
    assert torch.equal(_train(again, other, 2)[-1], end)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_each_schedule_of_torch_moves_the_learning_rate_and_goes_on_from_its_state(name: str) -> None:
    choice = {"name": name, **ARGUMENTS.get(name, {}), **({"patience": 0} if name == "ReduceLROnPlateau" else {})}
    optimizers = [SGD(_make_layer().parameters(), lr=0.05, momentum=0.9) for _ in range(2)]
    first, second = (build_scheduler(choice, optimizer, 6) for optimizer in optimizers)
    begun = _read_rates(optimizers[0], first, 3)
    optimizers[1].load_state_dict(_keep(optimizers[0].state_dict()))
    second.load_state_dict(_keep(first.state_dict()))
    ended = _read_rates(optimizers[0], first, 3)
    assert len(set(begun + ended)) > 1
    assert _read_rates(optimizers[1], second, 3) == ended


@pytest.mark.parametrize("name", sorted(set(SCHEDULERS) - {"ReduceLROnPlateau"}))
def test_each_schedule_follows_a_warm_up_as_it_is(name: str) -> None:
    choice = {"name": name, **ARGUMENTS.get(name, {})}
    optimizers = [SGD(_make_layer().parameters(), lr=0.05, momentum=0.9) for _ in range(2)]
    plain = build_scheduler(choice, optimizers[0], 5)
    warmed = build_warmed_up(optimizers[1], 3, lambda: build_scheduler(choice, optimizers[1], 5))
    rates = _read_rates(optimizers[1], warmed, 8)
    assert rates[0] < rates[1] < rates[2]
    assert rates[3:] == pytest.approx(_read_rates(optimizers[0], plain, 5))


def test_warm_up_is_refused_when_the_schedule_waits_for_what_is_monitored() -> None:
    optimizer = SGD(_make_layer().parameters(), lr=0.1)
    choice = {"name": "ReduceLROnPlateau", "patience": 0, "factor": 0.5}
    with pytest.raises(ValueError, match=r"train\.warmup_steps does not go with ReduceLROnPlateau"):
        build_warmed_up(optimizer, 3, lambda: build_scheduler(choice, optimizer, 5))


def test_there_is_no_warm_up_when_it_has_no_step() -> None:
    optimizer = SGD(_make_layer().parameters(), lr=0.1)
    scheduler = LambdaLR(optimizer, lambda step: 1.0)
    assert build_warmed_up(optimizer, 0, lambda: scheduler) is scheduler


@pytest.mark.parametrize(
    ("choice", "last"),
    [
        ({"name": "CosineAnnealingLR"}, 0.1 * 0.5 * (1 + math.cos(math.pi * 6 / 7))),
        ({"name": "CosineAnnealingLR", "T_max": 6}, 0.0),
        ({"name": "PolynomialLR"}, 0.1 / 7),
        ({"name": "PolynomialLR", "total_iters": 12}, 0.1 / 2),
        ({"name": "OneCycleLR", "max_lr": 0.1}, 0.1 / 25 / 10_000),
        ({"name": "LinearLR", "start_factor": 0.5}, 0.1),
    ],
)
def test_schedule_is_as_long_as_the_training_when_the_params_do_not_say(choice: dict[str, Any], last: float) -> None:
    optimizer = SGD(_make_layer().parameters(), lr=0.1, momentum=0.9)
    rates = _read_rates(optimizer, build_scheduler(choice, optimizer, 7), 7)
    assert rates[-1] == pytest.approx(last, abs=1e-9)


@pytest.mark.parametrize(("arguments", "mode"), [({}, "max"), ({"mode": "min"}, "min")])
def test_plateau_is_of_what_is_monitored_when_the_params_do_not_say(arguments: dict[str, str], mode: str) -> None:
    optimizer = SGD(_make_layer().parameters(), lr=0.1)
    scheduler = build_scheduler({"name": "ReduceLROnPlateau", **arguments}, optimizer, 5, "max")
    assert isinstance(scheduler, ReduceLROnPlateau)
    assert scheduler.mode == mode


def test_optimizer_has_its_arguments_and_what_is_trained_alone() -> None:
    layers = nn.Sequential(_make_layer(), _make_layer().requires_grad_(False))
    optimizer = build_optimizer({"name": "AdamW", "lr": 0.5, "weight_decay": 0.25, "betas": (0.5, 0.6)}, layers)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"], group["betas"]) == (0.5, 0.25, (0.5, 0.6))
    assert [id(parameter) for parameter in group["params"]] == [id(layers[0].weight)]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"name": "cross_entropy"}, functional.cross_entropy),
        (
            {"name": "cross_entropy", "weight": (1.0, 2.0), "reduction": "sum"},
            lambda ours, theirs: functional.cross_entropy(ours, theirs, torch.tensor([1.0, 2.0]), reduction="sum"),
        ),
        ({"name": "multi_margin_loss", "margin": 0.5}, lambda o, t: functional.multi_margin_loss(o, t, margin=0.5)),
    ],
)
def test_loss_is_the_named_one_with_its_arguments(choice: dict[str, Any], expected: Any) -> None:
    outputs, targets = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    assert torch.equal(build_loss(choice, CPU)(outputs, targets), expected(outputs, targets))


def test_whole_numbers_may_weigh_classes() -> None:
    outputs, targets = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    whole, floating = ({"name": "cross_entropy", "weight": weight} for weight in ([1, 3], [1.0, 3.0]))
    assert torch.equal(build_loss(whole, CPU)(outputs, targets), build_loss(floating, CPU)(outputs, targets))


def test_gradients_gather_until_an_update_forgets_them() -> None:
    part, layer = _make_part()
    before = layer.weight.detach().clone()
    for _ in range(2):
        part.backward(layer.weight.sum())
    part.update()
    assert torch.allclose(layer.weight, before - 0.2)
    assert layer.weight.grad is None


@pytest.mark.parametrize("scaler", [None, torch.amp.GradScaler("cpu", init_scale=8.0)])
def test_gradients_are_clipped_to_their_norm(scaler: torch.amp.GradScaler | None) -> None:
    part, layer = _make_part(clip_norm=0.5, scaler=scaler)
    before = layer.weight.detach().clone()
    part.backward(layer.weight.sum() * 100)
    part.update()
    assert (layer.weight - before).norm().item() == pytest.approx(0.1 * 0.5, rel=1e-4)
    moved = layer.weight.detach().clone()
    part.backward(layer.weight.sum() * 0.1)
    part.update()
    assert torch.allclose(layer.weight, moved - 0.01)  # short ones stay


def test_parameters_that_a_hook_adds_are_clipped_held_and_begun_anew() -> None:
    part, layer = _make_part(clip_norm=0.5)
    added = nn.Parameter(torch.zeros(4))
    part.optimizer.add_param_group({"params": [added]})
    part.backward(layer.weight.sum() * 0 + added.sum() * 10)
    part.update()
    assert added.norm().item() == pytest.approx(0.1 * 0.5, rel=1e-4)
    assert (added.grad, layer.weight.grad) == (None, None)
    part.hold()
    assert not added.requires_grad
    part.release()
    assert added.requires_grad


def test_gradients_are_forgotten_as_an_optimizer_of_its_own_does_it() -> None:
    calls = []

    class Noting(SGD):
        def zero_grad(self, set_to_none: bool = True) -> None:
            calls.append(set_to_none)
            super().zero_grad(set_to_none)

    layer = _make_layer()
    part = Part("part", Noting(layer.parameters(), lr=0.1))
    part.backward(layer.weight.sum())
    part.update()
    assert (calls, layer.weight.grad) == ([True], None)


def test_neither_weights_nor_schedule_move_when_the_scale_was_too_large() -> None:
    layer = _make_layer()
    optimizer = SGD(layer.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    part = Part("part", optimizer, LambdaLR(optimizer, lambda step: 0.5**step), scaler=scaler)
    before, rates = layer.weight.detach().clone(), []
    for factor in (math.inf, 1.0, 1.0):
        part.backward(layer.weight.sum() * factor)
        part.update()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [0.1, 0.05, 0.025]
    assert torch.allclose(layer.weight, before - 0.1 - 0.05)
    assert scaler.get_scale() == 2.0


@pytest.mark.parametrize("schedule_by", ["step", "epoch"])
def test_schedule_counts_steps_or_epochs(schedule_by: Any) -> None:
    layer = _make_layer()
    optimizer = SGD(layer.parameters(), lr=1.0)
    part = Part("part", optimizer, LambdaLR(optimizer, lambda step: 0.5**step), schedule_by=schedule_by)
    rates = []
    for _ in range(2):
        _train(part, layer, 2)
        rates.append(optimizer.param_groups[0]["lr"])
        part.end_epoch(None)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == ([0.25, 0.25, 0.0625, 0.0625] if schedule_by == "step" else [1.0, 0.5, 0.5, 0.25])


def test_schedule_waits_when_nothing_is_monitored() -> None:
    layer = _make_layer()
    optimizer = SGD(layer.parameters(), lr=1.0)
    part = Part("part", optimizer, ReduceLROnPlateau(optimizer, patience=0))
    for monitored in (None, 1.0, None, None):
        part.end_epoch(monitored)
    assert optimizer.param_groups[0]["lr"] == 1.0
    part.end_epoch(1.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_no_gradients_are_computed_while_a_part_is_held() -> None:
    part, layer = _make_part()
    part.hold()
    assert not layer(torch.ones(1, 3)).requires_grad
    part.release()
    assert layer(torch.ones(1, 3)).requires_grad


def test_what_was_frozen_stays_so_when_a_part_is_released() -> None:
    part, layer = _make_part()
    layer.weight.requires_grad_(False)
    part.hold()
    part.release()
    assert not layer.weight.requires_grad
