"""Means over the samples of an epoch, whenever they are asked for."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from common import meter
from common.meter import Meter

STEPS = [
    ({"loss": 3.0, "a": 1.0}, 2),
    ({"loss": 1.0}, 4),
    ({"loss": 0.1, "a": 4.0, "late": 7.0}, 1),
    ({"loss": 0.7}, 3),
]


def _tensors(values: dict[str, float]) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def _fill(after_each: Callable[[Meter], object] = lambda meter: None) -> Meter:
    """Return a meter of the steps; `after_each` is called in between."""
    filled = Meter()
    for values, size in STEPS:
        filled.add(_tensors(values), size)
        after_each(filled)
    return filled


def _of(*losses: float) -> Meter:
    filled = Meter()
    for loss in losses:
        filled.add(_tensors({"loss": loss}), 1)
    return filled


def test_mean_weighs_a_step_by_its_samples() -> None:
    assert _fill().means()["loss"] == pytest.approx((3.0 * 2 + 1.0 * 4 + 0.1 + 0.7 * 3) / 10)


def test_mean_is_that_of_the_steps_that_have_a_value() -> None:
    assert _fill().means()["a"] == pytest.approx((1.0 * 2 + 4.0) / 3)
    assert _fill().means()["late"] == 7.0


def test_there_is_no_mean_of_nothing() -> None:
    assert Meter().means() == {}


@pytest.mark.parametrize("ask", [Meter.fetch, Meter.means, Meter.find_strange, Meter.state_dict])
def test_means_do_not_depend_on_when_they_are_asked_for(ask: Callable[[Meter], object]) -> None:
    asked = _fill(ask)
    assert asked.means() == _fill().means()


def test_values_are_fetched_when_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "_MAX_WAITING", 3)
    assert _fill().columns == {"loss": [3.0, 1.0, pytest.approx(0.1)], "a": [1.0, None, 4.0], "late": [None, None, 7.0]}


def test_latest_value_is_the_last_that_was_fetched() -> None:
    filled = Meter()
    assert filled.latest() == {}
    for values, size in STEPS[:3]:
        filled.add(_tensors(values), size)
    filled.fetch()
    filled.add(_tensors({"a": 9.0}), 1)
    assert filled.latest() == {"loss": pytest.approx(0.1), "a": 4.0, "late": 7.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_first_value_that_is_no_finite_number_is_found(value: float) -> None:
    filled = _of(1.0, value, math.inf)
    filled.fetch()
    assert str(filled.find_strange()) == str((1, "loss", value))


def test_first_strange_value_is_found_when_names_differ() -> None:
    filled = Meter()
    for values in (
        {"b_loss": 1.0, "b": math.nan},
        {"loss": 1.0, "b_loss": math.inf},
        {"loss": math.inf, "b_loss": 1.0},
    ):
        filled.add(_tensors(values), 1)
    filled.fetch()
    assert filled.find_strange() == (1, "b_loss", math.inf)


def test_strange_value_is_found_once_and_where_it_is() -> None:
    filled = _of(1.0, 2.0)
    filled.fetch()
    assert filled.find_strange() is None
    filled.add(_tensors({"other_loss": 1.0, "loss": 1.0}), 1)
    filled.add(_tensors({"other_loss": math.inf}), 1)
    assert filled.find_strange() is None  # it is not fetched yet
    filled.fetch()
    assert filled.find_strange() == (3, "other_loss", math.inf)
    assert filled.find_strange() is None


def test_mean_is_no_number_when_values_are_infinite_both_ways() -> None:
    assert math.isnan(_of(math.inf, -math.inf).means()["loss"])


def test_meter_goes_on_from_its_state() -> None:
    half, whole = Meter(), Meter()
    for values, size in STEPS[:2]:
        half.add(_tensors(values), size)
    whole.load_state_dict(half.state_dict())
    for values, size in STEPS[2:]:
        half.add(_tensors({"loss": math.inf}), 1)  # what it hears later is not in the state
        whole.add(_tensors(values), size)
    assert whole.means() == _fill().means()
