"""What params may choose by name is what the installed torch and torchmetrics have."""

from typing import Any

import pytest
import torch
import torchmetrics
from torch.nn import functional

from common.catalog import build_catalog, describe, find_class, render_catalog
from tests.checkouts import ROOT

NUMBER, INTEGER, FLAG, TEXT, NOTHING = ({"type": t} for t in ("number", "integer", "boolean", "string", "null"))
NUMBERS = {"type": "array", "items": NUMBER}


def test_committed_catalog_is_what_the_installed_packages_say() -> None:
    assert (ROOT / "pipeline/catalog.json").read_text() == render_catalog(), "make lock"


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("optimizer", "AdamW", torch.optim.AdamW),
        ("scheduler", "CosineAnnealingLR", torch.optim.lr_scheduler.CosineAnnealingLR),
        ("loss", "cross_entropy", functional.cross_entropy),
        ("metric", "MulticlassAccuracy", torchmetrics.classification.MulticlassAccuracy),
        ("metric", "R2Score", torchmetrics.regression.R2Score),
    ],
)
def test_class_is_found_when_a_choice_names_it(kind: str, name: str, expected: Any) -> None:
    assert find_class(kind, name) is expected


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("optimizer", "Adamw"),
        ("optimizer", "Optimizer"),
        ("optimizer", "LBFGS"),  # calls the model itself
        ("scheduler", "LambdaLR"),  # wants a function
        ("scheduler", "SequentialLR"),  # wants schedulers
        ("scheduler", "ChainedScheduler"),
        ("loss", "gaussian_nll_loss"),  # wants more of a batch than input and target
        ("loss", "linear_cross_entropy"),
        ("loss", "relu"),
        ("metric", "AdamW"),
    ],
)
def test_name_is_refused_when_params_cannot_choose_it(kind: str, name: str) -> None:
    with pytest.raises(LookupError, match=f"no {kind} '{name}' in torch"):
        find_class(kind, name)
    assert name not in build_catalog()[kind]


@pytest.mark.parametrize(
    ("kind", "name", "arguments"),
    [
        ("optimizer", "AdamW", {"lr": NUMBER, "amsgrad": FLAG, "fused": {"anyOf": [FLAG, NOTHING]}}),
        (
            "optimizer",
            "Adam",
            {"betas": {"type": "array", "prefixItems": [NUMBER, NUMBER], "minItems": 2, "maxItems": 2}},
        ),
        ("scheduler", "CyclicLR", {"mode": {"enum": ["triangular", "triangular2", "exp_range"]}}),
        ("scheduler", "MultiStepLR", {"milestones": {"type": "array", "items": INTEGER}}),
        ("loss", "cross_entropy", {"weight": {"anyOf": [NUMBERS, NOTHING]}, "reduction": TEXT}),
        ("metric", "MulticlassF1Score", {"num_classes": INTEGER, "direction": {"enum": ["max", "min"]}, "unit": TEXT}),
        ("metric", "BinaryROC", {"thresholds": {"anyOf": [INTEGER, NUMBERS, NOTHING]}}),
        ("metric", "Accuracy", {"task": {"enum": ["binary", "multiclass", "multilabel"]}}),
    ],
)
def test_arguments_have_the_schemas_of_their_types(kind: str, name: str, arguments: dict[str, Any]) -> None:
    found = build_catalog()[kind][name]["arguments"]
    assert {key: found.get(key) for key in arguments} == arguments


@pytest.mark.parametrize(
    ("kind", "name", "absent"),
    [
        ("optimizer", "AdamW", "params"),
        ("scheduler", "StepLR", "optimizer"),
        ("scheduler", "StepLR", "last_epoch"),
        ("scheduler", "CyclicLR", "scale_fn"),
        ("loss", "cross_entropy", "input"),
        ("loss", "cross_entropy", "size_average"),
        ("metric", "Accuracy", "cls"),
        ("metric", "MulticlassAccuracy", "self"),
        ("metric", "MulticlassAccuracy", "kwargs"),
    ],
)
def test_argument_is_left_out_when_params_cannot_or_may_not_give_it(kind: str, name: str, absent: str) -> None:
    assert absent not in build_catalog()[kind][name]["arguments"]


@pytest.mark.parametrize(
    ("kind", "name", "required"),
    [
        ("optimizer", "SGD", []),
        ("scheduler", "CosineAnnealingLR", []),  # T_max is the number of steps
        ("scheduler", "OneCycleLR", ["max_lr"]),
        ("loss", "huber_loss", []),
        ("metric", "MulticlassFBetaScore", ["beta"]),  # num_classes is that of the data
        ("metric", "Accuracy", []),  # and so is the task
    ],
)
def test_argument_is_required_when_nobody_else_can_say_it(kind: str, name: str, required: list[str]) -> None:
    assert build_catalog()[kind][name]["required"] == required


def test_argument_that_cannot_stand_in_params_is_left_out_unless_it_is_required() -> None:
    class Odd(torch.optim.SGD):
        def __init__(self, params: Any, hook: type = int, *, lr: float) -> None: ...

    class Odder(torch.optim.SGD):
        def __init__(self, params: Any, hook: type, lr: float = 0.1) -> None: ...

    assert describe("optimizer", Odd) == {"arguments": {"lr": NUMBER}, "required": ["lr"]}
    assert describe("optimizer", Odder) is None
