"""Where a component's config comes from, and how it is filled."""

import dataclasses
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Optional

import pytest

from common import evaluator, trainer
from common.config import BuiltModel, NoParams, OptimizerChoice, build_config, config_class
from common.trainer import Trainer
from experiments.focal_loss.trainer import Config as FocalConfig
from experiments.focal_loss.trainer import FocalLossTrainer
from experiments.worst_class.evaluator import WorstClassEvaluator

if TYPE_CHECKING:
    from pathlib import Path


class BesideNothing:
    """Stands in a module without a Config."""


class TrainerWithoutConfig(Trainer):
    """Extends a component that has a Config; its own module has none."""


@dataclasses.dataclass(frozen=True)
class _Sizes:
    widths: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Role:
    model_from: BuiltModel | None = None
    optimizer: OptimizerChoice | None = None
    sizes: _Sizes | None = None


@dataclasses.dataclass(frozen=True)
class _Nested:
    sizes: _Sizes = dataclasses.field(default_factory=_Sizes)
    maybe: Optional[_Sizes] = None  # noqa: UP045 (both spellings have to work)
    roles: Mapping[str, _Role] = dataclasses.field(default_factory=dict)
    stages: tuple[_Sizes, ...] = ()
    more: list[_Sizes | None] | None = None
    pair: tuple[int, _Sizes] | None = None
    choice: OptimizerChoice | None = None
    anything: Any = None


@dataclasses.dataclass(frozen=True)
class _Unreadable:
    folder: "Path | None" = None
    widths: tuple[int, ...] = ()


def _component(monkeypatch: pytest.MonkeyPatch, config: type) -> type:
    """Return a component beside a Config."""
    module = ModuleType("sized")
    component = type("Sized", (), {"__module__": "sized"})
    module.__dict__.update(Sized=component, Config=config)
    monkeypatch.setitem(sys.modules, "sized", module)
    return component


@pytest.fixture
def sized(monkeypatch: pytest.MonkeyPatch) -> type:
    """A component beside a Config with a tuple."""
    return _component(monkeypatch, _Sizes)


@pytest.fixture
def nested(monkeypatch: pytest.MonkeyPatch) -> type:
    """A component beside a Config that holds dataclasses in every way."""
    return _component(monkeypatch, _Nested)


def test_config_is_the_dataclass_beside_the_component() -> None:
    assert config_class(Trainer) is trainer.Config
    assert config_class(FocalLossTrainer) is FocalConfig


def test_subclass_uses_its_ancestors_config_when_its_module_has_none() -> None:
    assert config_class(TrainerWithoutConfig) is trainer.Config


def test_subclass_uses_its_ancestors_config_when_it_imports_that() -> None:
    assert config_class(WorstClassEvaluator) is evaluator.Config


def test_component_without_a_config_has_no_params() -> None:
    assert build_config(BesideNothing, {}) == NoParams()
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        build_config(BesideNothing, {"depth": 3})


def test_fields_are_filled_from_the_section() -> None:
    assert build_config(FocalLossTrainer, {"epochs": 3, "gamma": 1.5}) == FocalConfig(epochs=3, gamma=1.5)


def test_lists_become_tuples_so_that_a_config_hashes(sized: type) -> None:
    config = build_config(sized, {"widths": [8, 16]})
    assert config.widths == (8, 16)
    assert hash(config) == hash(_Sizes((8, 16)))


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"sizes": {"widths": [8]}}, _Nested(sizes=_Sizes((8,)))),
        ({"maybe": {"widths": [8]}}, _Nested(maybe=_Sizes((8,)))),
        ({"maybe": None}, _Nested()),
        ({"roles": {"teacher": {"model_from": "wide"}}}, _Nested(roles={"teacher": _Role("wide")})),
        ({"roles": {"student": {"sizes": {"widths": [8]}}}}, _Nested(roles={"student": _Role(sizes=_Sizes((8,)))})),
        ({"stages": [{"widths": [8]}, {}]}, _Nested(stages=(_Sizes((8,)), _Sizes()))),
        ({"more": [{"widths": [8]}, None]}, _Nested(more=(_Sizes((8,)), None))),  # type: ignore[arg-type]
        ({"pair": [3, {"widths": [8]}]}, _Nested(pair=(3, _Sizes((8,))))),
        ({"anything": {"widths": [8]}}, _Nested(anything={"widths": [8]})),
        ({"anything": [[8], [9]]}, _Nested(anything=((8,), (9,)))),
    ],
)
def test_mappings_become_dataclasses_where_a_field_says_so(
    nested: type, section: dict[str, Any], expected: _Nested
) -> None:
    assert build_config(nested, section) == expected


def test_choice_stays_as_the_params_say_it(nested: type) -> None:
    choice = {"name": "AdamW", "betas": [0.9, 0.99]}
    config = build_config(nested, {"choice": choice, "roles": {"student": {"optimizer": choice}}})
    assert config.choice == choice
    assert config.roles["student"].optimizer == choice


def test_lists_become_tuples_when_an_annotation_cannot_be_read_at_run_time(monkeypatch: pytest.MonkeyPatch) -> None:
    config = build_config(_component(monkeypatch, _Unreadable), {"folder": "x", "widths": [8]})
    assert config == _Unreadable("x", (8,))  # type: ignore[arg-type]


def test_key_is_refused_when_a_nested_dataclass_has_no_such_field(nested: type) -> None:
    with pytest.raises(TypeError, match="width"):
        build_config(nested, {"sizes": {"width": [8]}})


def test_key_is_refused_when_the_config_has_no_such_field() -> None:
    with pytest.raises(TypeError, match="epoch"):
        build_config(Trainer, {"epoch": 3})
