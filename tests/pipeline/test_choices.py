"""A choice is checked against the catalog: its name, its arguments, their types."""

from typing import Any

import pytest

from pipeline.choices import find_choice_faults, load_catalog
from pipeline.configs import Node


def find(kind: str, choice: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (place, message) of what is wrong with a choice that stands at train.it."""
    node = Node(("train", "it"), {"x-choice": kind}, choice)
    return [(".".join(map(str, fault.where)), fault.message) for fault in find_choice_faults(node)]


@pytest.mark.parametrize(
    ("kind", "choice"),
    [
        ("optimizer", {"name": "AdamW", "lr": 0.003, "weight_decay": 0.05}),
        ("optimizer", {"name": "AdamW", "lr": 1, "betas": [0.9, 0.99], "fused": None, "foreach": True}),
        ("scheduler", {"name": "CosineAnnealingLR"}),
        ("scheduler", {"name": "CosineAnnealingLR", "T_max": 100}),
        ("scheduler", {"name": "OneCycleLR", "max_lr": [0.1, 0.2]}),
        ("loss", {"name": "cross_entropy", "weight": [1, 2.5], "label_smoothing": 0.1}),
        ("metric", {"name": "MulticlassAccuracy", "average": "micro", "direction": "max", "unit": "fraction"}),
    ],
)
def test_choice_is_sound_when_what_it_names_takes_its_arguments(kind: str, choice: dict[str, Any]) -> None:
    assert find(kind, choice) == []


@pytest.mark.parametrize(
    ("kind", "choice", "faults"),
    [
        ("optimizer", {}, [("train.it", "'train.it' lacks the key 'name'")]),
        ("optimizer", {"lr": 0.1}, [("train.it", "'train.it' lacks the key 'name'")]),
        (
            "optimizer",
            {"name": "Adamw"},
            [("train.it.name", "'train.it' names \"Adamw\", which is no optimizer; did you mean 'AdamW'?")],
        ),
        ("loss", {"name": "zzz"}, [("train.it.name", "'train.it' names \"zzz\", which is no loss")]),
        ("optimizer", {"name": "AdamW", "lrr": 1}, [("train.it.lrr", "'AdamW' takes no 'lrr'; did you mean 'lr'?")]),
        ("optimizer", {"name": "SGD", "betas": [0, 0]}, [("train.it.betas", "'SGD' takes no 'betas'")]),
        ("optimizer", {"name": "AdamW", "params": 1}, [("train.it.params", "'AdamW' takes no 'params'")]),
        ("optimizer", {"name": "AdamW", "lr": "high"}, [("train.it.lr", "'train.it.lr' is \"high\", wanted a number")]),
        (
            "optimizer",
            {"name": "AdamW", "betas": [0.9, "high"]},
            [("train.it.betas.1", "'train.it.betas.1' is \"high\", wanted a number")],
        ),
        ("scheduler", {"name": "StepLR"}, [("train.it", "'StepLR' needs 'step_size'")]),
        (
            "scheduler",
            {"name": "StepLR", "gama": 1, "gamma": True},
            [
                ("train.it.gama", "'StepLR' takes no 'gama'; did you mean 'gamma'?"),
                ("train.it", "'StepLR' needs 'step_size'"),
                ("train.it.gamma", "'train.it.gamma' is true, wanted a number"),
            ],
        ),
    ],
)
def test_choice_is_refused_with_the_place_of_each_fault(
    kind: str, choice: dict[str, Any], faults: list[tuple[str, str]]
) -> None:
    assert find(kind, choice) == faults


def test_catalog_has_every_kind_of_choice() -> None:
    assert set(load_catalog()) == {"optimizer", "scheduler", "loss", "metric"}
