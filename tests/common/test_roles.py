"""Parts of a model that are trained apart, frozen ones, and models that help."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common import data
from common.config import build_config
from common.dataset import Batch
from common.meter import Values
from common.roles import WHOLE, Role, assign
from common.trainer import Trainer
from tests.datasets import make_dataset
from tests.trainings import SGD, Weights, copy_weights, fit, is_equal, is_near, make_net, make_trainer


class Pair(nn.Module):
    """Two layers that look at the same image."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(16, 3)
        self.right = nn.Linear(16, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the sum of both."""
        sides: Tensor = self.left(inputs.flatten(1)) + self.right(inputs.flatten(1))
        return sides


class SideTrainer(Trainer):
    """Notes the weights after each step, and which gradients there are for each part's loss."""

    def on_fit_start(self) -> None:
        """Begin."""
        self.seen: list[Weights] = [copy_weights(self.model)]
        self.trainable: dict[str, list[str]] = {}

    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Tensor | Values:
        """Return the loss through both parts; the right one's is twice as large."""
        self.trainable[role] = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        loss = super().compute_loss(model, batch, role)
        assert isinstance(loss, Tensor)
        return {"loss": loss * 2, "twice": loss} if role == "right" else loss

    def on_step_end(self, step: int) -> None:
        """Note the weights."""
        self.seen.append(copy_weights(self.model))


class ApartTrainer(Trainer):
    """Trains each part as if it were alone."""

    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Tensor:
        """Return the loss of one part."""
        return self.loss(model.get_submodule(role)(batch.inputs.flatten(1)), batch.targets)


class TeacherTrainer(Trainer):
    """Learns what a built model says."""

    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Tensor:
        """Return how far the model is from its teacher."""
        teacher = self.cast.others["teacher"]
        assert not teacher.training
        return nn.functional.mse_loss(model(batch.inputs), teacher(batch.inputs))


class TwiceTrainer(SideTrainer):
    """Trains again what it has trained."""

    def fit(self, *args: Any) -> None:
        """Train twice."""
        super().fit(*args)
        super().fit(*args)


def _fit_pair(trainer_class: type[SideTrainer] = SideTrainer, **roles: Role) -> tuple[SideTrainer, Any]:
    trainer = make_trainer(trainer_class, epochs=2, optimizer=SGD, roles=roles)
    assert isinstance(trainer, SideTrainer)
    return trainer, fit(trainer, Pair())


def _list_moves(trainer: SideTrainer, part: str) -> list[bool]:
    """Say for each step whether it moved the part."""
    names = [name for name in trainer.seen[0] if name.startswith(part)]
    pairs = zip(trainer.seen, trainer.seen[1:], strict=False)
    return [any(not torch.equal(before[name], after[name]) for name in names) for before, after in pairs]


def test_whole_model_is_one_part_when_there_are_no_roles() -> None:
    pair = Pair()
    cast = assign({}, pair, {})
    assert (dict(cast.trained), cast.frozen, dict(cast.others)) == ({WHOLE: pair}, (), {})


def test_roles_come_out_of_params() -> None:
    section = {"every": 2, "optimizer": {"name": "SGD", "lr": 0.5}}
    assert Role(**section) == Role(every=2, optimizer={"name": "SGD", "lr": 0.5})
    assert build_config(Trainer, {"roles": {"left": section}}).roles["left"] in (section, Role(**section))


def test_part_may_be_deep_in_the_model() -> None:
    net = nn.Sequential(Pair(), nn.Linear(3, 3))
    cast = assign({"0.left": Role(), "0.right": Role(frozen=True), "1": Role()}, net, {})
    assert dict(cast.trained) == {"0.left": net[0].left, "1": net[1]}
    assert cast.frozen == (net[0].right,)


def test_frozen_part_keeps_its_weights_and_its_statistics() -> None:
    net = make_net()
    before, features = copy_weights(net), net.features
    fitted = fit(make_trainer(roles={"features": Role(frozen=True)}), net)
    kept = {name for name in before if torch.equal(before[name], fitted.weights[name])}
    assert kept == {name for name in before if name.startswith("features")}
    assert {name for name in kept if name.endswith("running_mean")}
    assert not features.training
    assert set(fitted.rows[0]) >= {"train_loss", "learning_rate"}  # what is left is no part with a name


def test_part_is_updated_every_second_step_when_the_role_says_so() -> None:
    trainer, fitted = _fit_pair(left=Role(), right=Role(every=2))
    assert _list_moves(trainer, "left") == [True] * 6
    assert _list_moves(trainer, "right") == [True, False, True, False, True, False]
    assert [row["right_learning_rate"] for row in fitted.rows][-1] == 0.0


@pytest.mark.parametrize(("schedule_by", "factors"), [("step", [1 / 3, 0]), ("epoch", [1.0, 0.5])])
def test_schedule_of_a_part_is_as_long_as_the_training_when_it_is_updated_every_second_step(
    schedule_by: str, factors: list[float]
) -> None:
    roles = {"left": Role(), "right": Role(every=2)}
    linear = {"name": "PolynomialLR"}
    trainer = make_trainer(SideTrainer, epochs=2, optimizer=SGD, scheduler=linear, schedule_by=schedule_by, roles=roles)
    rows = fit(trainer, Pair()).rows
    assert [row["right_learning_rate"] / 0.03 for row in rows] == pytest.approx(factors)


def test_parts_do_not_train_each_other() -> None:
    trainer, fitted = _fit_pair(left=Role(), right=Role(optimizer={"name": "SGD", "lr": 0.0}))
    assert trainer.trainable == {"left": ["left.weight", "left.bias"], "right": ["right.weight", "right.bias"]}
    assert not any(_list_moves(trainer, "right"))
    assert all(_list_moves(trainer, "left"))
    assert set(fitted.rows[0]) >= {"train_left_loss", "train_right_loss", "train_right_twice", "left_learning_rate"}
    assert fitted.rows[0]["train_right_loss"] == pytest.approx(2 * fitted.rows[0]["train_right_twice"])


def test_each_part_has_its_own_optimizer_schedule_and_clipping() -> None:
    right = Role(
        optimizer={"name": "SGD", "lr": 1.0}, scheduler={"name": "ExponentialLR", "gamma": 0.5}, clip_norm=1e-3
    )
    roles = {"left": Role(), "right": right}
    trainer = make_trainer(SideTrainer, epochs=1, optimizer={**SGD, "lr": 0.5}, clip_norm=1e-2, roles=roles)
    fitted = fit(trainer, Pair())
    assert isinstance(trainer, SideTrainer)
    moved = {
        part: torch.cat(
            [(trainer.seen[1][name] - trainer.seen[0][name]).flatten() for name in trainer.seen[0] if part in name]
        )
        for part in roles
    }
    assert moved["left"].norm().item() == pytest.approx(0.5 * 1e-2, rel=1e-3)
    assert moved["right"].norm().item() == pytest.approx(1e-3, rel=1e-3)
    assert fitted.rows[0]["right_learning_rate"] == 0.5**3
    assert fitted.rows[0]["left_learning_rate"] == 0.0


def test_accumulated_batches_train_each_part_as_one_large_batch_does() -> None:
    config: dict[str, Any] = {"epochs": 2, "optimizer": SGD, "roles": {"left": Role(), "right": Role(every=2)}}
    large, small = (
        fit(make_trainer(ApartTrainer, accumulate=count, **config), Pair(), batch_size=20 // count) for count in (1, 5)
    )
    assert is_near(small.weights, large.weights)


def test_model_can_be_trained_again_when_its_parts_alternated() -> None:
    trainer, fitted = _fit_pair(TwiceTrainer, left=Role(), right=Role(every=2))
    assert _list_moves(trainer, "left") == [True] * 6
    assert all(parameter.requires_grad for parameter in fitted.model.parameters())


def test_built_model_is_frozen_and_no_part_of_what_is_kept() -> None:
    teacher, student = make_net().train(), make_net()
    nn.init.ones_(teacher.classifier[1].weight)
    before = copy_weights(teacher)
    trainer = make_trainer(TeacherTrainer, roles={"teacher": Role(model_from="wide_net")})
    trainer.built_models = {"wide_net": teacher}
    fitted = fit(trainer, student)
    assert is_equal(copy_weights(teacher), before)
    assert fitted.weights.keys() == before.keys()
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert [part.name for part in trainer.parts] == [WHOLE]
    assert fitted.rows[-1]["train_loss"] < fitted.rows[0]["train_loss"]


@pytest.mark.parametrize("more", [{"every": 2}, {"clip_norm": 1.0}, {"optimizer": {"name": "SGD"}}])
def test_built_model_is_refused_when_more_is_said_of_it(more: dict[str, Any]) -> None:
    trainer = make_trainer(roles={"teacher": Role(model_from="wide_net", frozen=True, **more)})
    trainer.built_models = {"wide_net": make_net()}
    with pytest.raises(ValueError, match=r"train.roles.teacher: the model of wide_net is frozen"):
        fit(trainer)


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"left": Role()}, r"train.roles leaves out right.weight: give its part a role, or `frozen: true`"),
        ({"centre": Role()}, r"train.roles.centre: the model has no part of this name; it has left, right"),
        ({"left": Role(frozen=True), "right": Role(frozen=True)}, r"train.roles freezes all of the model"),
        ({"left": Role(), "left.weight": Role()}, r"train.roles.left.weight: the model has no part of this name"),
    ],
)
def test_roles_that_mean_nothing_are_refused(roles: dict[str, Role], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(make_trainer(roles=roles), Pair())


def test_parameter_in_two_parts_is_refused() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(16, 3)))
    roles = {"1": Role(), "1.0": Role(every=2)}
    with pytest.raises(ValueError, match=r"train.roles: 1.0.weight is part of 1 and of 1.0"):
        fit(make_trainer(roles=roles), net)


def test_role_is_kept_when_valid_is_empty() -> None:
    dataset = make_dataset(data.Config(valid_fraction=0.0))
    rows = fit(make_trainer(epochs=1, roles={"left": Role(), "right": Role()}), Pair(), dataset).rows
    assert set(rows[0]) == {
        *("epoch", "step", "train_left_loss", "train_right_loss", "left_learning_rate", "right_learning_rate"),
    }
