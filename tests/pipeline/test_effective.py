"""Params are laid over the parent's; what only the merged ones show is found, with its place."""

from typing import Any

import pytest

from pipeline import effective, index
from pipeline.errors import ConfigError
from tests.checkouts import Checkout

TRAINER = """\
from collections.abc import Mapping
from dataclasses import dataclass, field

from common.config import BuiltModel, LossChoice, OptimizerChoice, SchedulerChoice
from common.trainer import Trainer


@dataclass(frozen=True)
class Role:
    model_from: BuiltModel | None = None
    every: int = 1
    optimizer: OptimizerChoice | None = None


@dataclass(frozen=True)
class Phase:
    epochs: int
    factor: float = 1.0


@dataclass(frozen=True)
class Config:
    epochs: int | None = 20
    loss: LossChoice = field(default_factory=lambda: {"name": "cross_entropy"})
    optimizer: OptimizerChoice = field(default_factory=lambda: {"name": "AdamW"})
    scheduler: SchedulerChoice | None = None
    roles: Mapping[str, Role | None] = field(default_factory=dict)
    phases: Mapping[str, Phase] = field(default_factory=dict)
    queue: tuple[Phase, ...] = ()
    warm_up: Phase | None = None


class Chooser(Trainer): pass
"""
BASE = """\
params:
  train:
    optimizer: {name: AdamW, lr: 0.003, betas: [0.9, 0.99]}
    scheduler: {name: CosineAnnealingLR}
    roles:
      student: {every: 2, optimizer: {name: SGD, lr: 0.1, momentum: 0.9}}
"""
PLACE = "experiments/x/experiment.yaml"


@pytest.fixture
def chooser(checkout: Checkout) -> Checkout:
    """A checkout with an experiment whose trainer takes choices, and params that name some."""
    checkout.experiment("base", BASE, trainer=TRAINER)
    return checkout


def read_train(checkout: Checkout, params: str) -> dict[str, Any]:
    """Return the section of a child of `base` that sets these params."""
    checkout.experiment("x", f"inherits: base\nparams: {{train: {params}}}\n")
    return checkout.project().experiments.get("x").section("train")


def find_faults(checkout: Checkout, text: str, **files: str) -> list[str]:
    checkout.experiment("x", text, **files)
    with pytest.raises(ConfigError) as raised:
        checkout.project().experiments.get("x")
    return [str(problem) for problem in raised.value.problems]


ADAM = {"name": "AdamW", "lr": 0.003, "betas": [0.9, 0.99]}
STUDENT = {"every": 2, "optimizer": {"name": "SGD", "lr": 0.1, "momentum": 0.9}}


@pytest.mark.parametrize(
    ("params", "key", "expected"),
    [
        ("{optimizer: {lr: 0.01}}", "optimizer", {**ADAM, "lr": 0.01}),
        ("{optimizer: {eps: 0.1}}", "optimizer", {**ADAM, "eps": 0.1}),
        ("{optimizer: {name: SGD, lr: 0.1}}", "optimizer", {"name": "SGD", "lr": 0.1}),
        ("{optimizer: {name: AdamW}}", "optimizer", {"name": "AdamW"}),
        ("{optimizer: {}}", "optimizer", ADAM),
        ("{scheduler: null}", "scheduler", None),
        ("{scheduler: {name: StepLR, step_size: 3}}", "scheduler", {"name": "StepLR", "step_size": 3}),
        ("{epochs: 3}", "optimizer", ADAM),
        ("{roles: {student: {every: 3}}}", "roles", {"student": {**STUDENT, "every": 3}}),
        (
            "{roles: {student: {optimizer: {name: Adam}}}}",
            "roles",
            {"student": {"every": 2, "optimizer": {"name": "Adam"}}},
        ),
        ("{roles: {teacher: {every: 3}}}", "roles", {"student": STUDENT, "teacher": {"every": 3}}),
        ("{roles: {student: null}}", "roles", {"student": None}),
    ],
)
def test_arguments_are_merged_unless_the_name_of_the_choice_is_given(
    chooser: Checkout, params: str, key: str, expected: Any
) -> None:
    assert read_train(chooser, params)[key] == expected


def test_choice_is_merged_key_by_key_when_its_name_is_given_where_the_grandparent_gives_arguments(
    chooser: Checkout,
) -> None:
    chooser.experiment("middle", "inherits: base\nparams: {train: {optimizer: {name: SGD, lr: 0.1}}}\n")
    chooser.experiment("x", "inherits: middle\nparams: {train: {optimizer: {momentum: 0.9}}}\n")
    section = chooser.project().experiments.get("x").section("train")
    assert section["optimizer"] == {"name": "SGD", "lr": 0.1, "momentum": 0.9}


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (
            "inherits: base\nparams:\n  train:\n    epochs: 3\n    optimizer: {name: AdamW, lrr: 0.1}\n",
            ["5:30: 'AdamW' takes no 'lrr'; did you mean 'lr'?"],
        ),
        (
            "inherits: base\nparams: {train: {optimizer: {lr: high}, scheduler: {name: StepLR}}}\n",
            ["2:34: 'train.optimizer.lr' is \"high\", wanted a number", "2:41: 'StepLR' needs 'step_size'"],
        ),
        (
            "inherits: base\nparams: {train: {optimizer: {name: Adamw}}}\n",
            ["2:36: 'train.optimizer' names \"Adamw\", which is no optimizer; did you mean 'AdamW'?"],
        ),
        (
            "inherits: base\nparams: {train: {roles: {teacher: {optimizer: {lr: 0.1}}}}}\n",
            ["2:36: 'train.roles.teacher.optimizer' lacks the key 'name'"],
        ),
        (
            "inherits: base\nparams: {train: {roles: {student: {optimizer: {nesterv: true}}}}}\n",
            ["2:48: 'SGD' takes no 'nesterv'; did you mean 'nesterov'?"],
        ),
        (
            "inherits: base\nparams: {train: {roles: {teacher: {evry: 2}}}}\n",
            ["2:36: unknown key 'evry' in 'params.train.roles.teacher'; did you mean 'every'?"],
        ),
        (
            "inherits: base\nparams: {train: {warm_up: {epoch: 2}}}\n",
            ["2:28: unknown key 'epoch' in 'params.train.warm_up'; did you mean 'epochs'?"],
        ),
        (
            "inherits: base\nparams: {train: {phases: {late: {factor: 0.1}}}}\n",
            ["2:27: 'train.phases.late' lacks the key 'epochs'"],
        ),
        (
            "inherits: base\nparams: {train: {queue: [{epochs: 3}, {factor: 0.1}]}}\n",
            ["2:39: 'params.train.queue.1' lacks the key 'epochs'"],
        ),
        (
            "inherits: base\nparams: {train: {optimizer: AdamW}}\n",
            ["2:29: 'params.train.optimizer' is \"AdamW\", wanted a mapping of keys to values"],
        ),
    ],
)
def test_own_params_are_refused_with_the_place_of_every_fault(chooser: Checkout, text: str, faults: list[str]) -> None:
    assert find_faults(chooser, text) == [f"{PLACE}:{fault}" for fault in faults]


def test_fault_is_the_parents_when_the_parent_sets_it(chooser: Checkout) -> None:
    chooser.experiment("base", BASE.replace("lr: 0.003", "lrr: 0.003"), trainer=TRAINER)
    faults = find_faults(chooser, "inherits: base\nparams: {train: {epochs: 3}}\n")
    assert faults == ["experiments/base/experiment.yaml:3:30: 'AdamW' takes no 'lrr'; did you mean 'lr'?"]


def test_inherited_argument_is_at_fault_when_another_config_makes_it_one(chooser: Checkout) -> None:
    trainer = TRAINER.replace("scheduler: SchedulerChoice | None", "scheduler: OptimizerChoice | None")
    faults = find_faults(chooser, "inherits: base\n", trainer=trainer)
    assert faults == [
        "experiments/base/experiment.yaml:4:23: 'train.scheduler' names \"CosineAnnealingLR\", which is no optimizer"
    ]


def test_params_below_a_field_are_dropped_when_another_config_does_not_take_them(chooser: Checkout) -> None:
    chooser.experiment("x", "inherits: base\n", trainer=TRAINER.replace("    every: int = 1\n", ""))
    section = chooser.project().experiments.get("x").section("train")
    assert section["roles"] == {"student": {"optimizer": STUDENT["optimizer"]}}


def test_choice_is_checked_once_until_what_it_is_merged_with_changes(
    chooser: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    monkeypatch.setattr(effective, "find_choice_faults", lambda node: checked.append(node.key) or ())
    monkeypatch.setattr(index, "_RACY_NS", 0)  # the files are older than a tick of the clock
    chooser.experiment("x", "inherits: base\nparams: {train: {optimizer: {lr: 0.1}}}\n")
    _load(chooser, "common")
    del checked[:]
    for _ in range(2):
        _load(chooser, "x")
    chosen = ["train.loss", "train.optimizer", "train.scheduler", "train.roles.student.optimizer"]
    assert checked == [*chosen, "train.optimizer"]
    chooser.experiment("base", BASE.replace("AdamW", "Adam"), trainer=TRAINER)
    _load(chooser, "x")
    assert checked[5:] == checked[:5]


def _load(checkout: Checkout, name: str) -> None:
    project = checkout.project()
    project.experiments.get(name)
    project.index.save()
