"""Where a component's config comes from, and how it is filled."""

import dataclasses
import sys
from types import ModuleType

import pytest

from common import evaluator, trainer
from common.config import build_config, config_class
from common.trainer import Trainer
from experiments.focal_loss.trainer import Config as FocalConfig
from experiments.focal_loss.trainer import FocalLossTrainer
from experiments.worst_class.evaluator import WorstClassEvaluator


class BesideNothing:
    """Stands in a module without a Config."""


class TrainerWithoutConfig(Trainer):
    """Extends a component that has a Config; its own module has none."""


@dataclasses.dataclass(frozen=True)
class _Sizes:
    widths: tuple[int, ...] = ()


@pytest.fixture
def sized(monkeypatch: pytest.MonkeyPatch) -> type:
    """A component beside a Config with a tuple."""
    module = ModuleType("sized")
    component = type("Sized", (), {"__module__": "sized"})
    module.__dict__.update(Sized=component, Config=_Sizes)
    monkeypatch.setitem(sys.modules, "sized", module)
    return component


def test_config_is_the_dataclass_beside_the_component() -> None:
    assert config_class(Trainer) is trainer.Config
    assert config_class(FocalLossTrainer) is FocalConfig


def test_subclass_uses_its_ancestors_config_when_its_module_has_none() -> None:
    assert config_class(TrainerWithoutConfig) is trainer.Config


def test_subclass_uses_its_ancestors_config_when_it_imports_that() -> None:
    assert config_class(WorstClassEvaluator) is evaluator.Config


def test_config_is_refused_when_no_class_has_one() -> None:
    with pytest.raises(TypeError, match="no dataclass 'Config' beside BesideNothing"):
        config_class(BesideNothing)


def test_fields_are_filled_from_the_section() -> None:
    assert build_config(FocalLossTrainer, {"epochs": 3, "gamma": 1.5}) == FocalConfig(epochs=3, gamma=1.5)


def test_lists_become_tuples_so_that_a_config_hashes(sized: type) -> None:
    config = build_config(sized, {"widths": [8, 16]})
    assert config.widths == (8, 16)
    assert hash(config) == hash(_Sizes((8, 16)))


def test_key_is_refused_when_the_config_has_no_such_field() -> None:
    with pytest.raises(TypeError, match="epoch"):
        build_config(Trainer, {"epoch": 3})
