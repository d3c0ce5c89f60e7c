"""Evenly spaced parts."""

from pathlib import Path

import pytest
import torch

from common import excerpts
from common.excerpts import space_evenly, take_numbers
from common.samples import Samples
from tests.datasets import write_samples


@pytest.mark.parametrize(("num", "most"), [(0, 5), (1, 5), (5, 5), (6, 5), (1000, 7), (10, 1)])
def test_places_are_few_different_and_in_order(num: int, most: int) -> None:
    places = space_evenly(num, most)
    assert len(places) == min(num, most)
    assert (places.diff() > 0).all()
    assert all(0 <= place < num for place in places.tolist())


def test_numbers_come_by_channel_of_evenly_spaced_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excerpts, "_MAX_ROWS", 4)
    monkeypatch.setattr(excerpts, "_EXCERPT_BYTES", 1)
    inputs = torch.arange(20.0).view(10, 2)
    dataset = write_samples(tmp_path / "data", Samples(inputs, ["a"] * 10, torch.arange(10)))
    numbers, num_samples = take_numbers(dataset, "inputs")
    assert num_samples == 4
    assert numbers.tolist() == [[0.0, 6.0, 12.0, 18.0], [1.0, 7.0, 13.0, 19.0]]


def test_there_are_none_where_there_are_no_train_samples(tmp_path: Path) -> None:
    dataset = write_samples(tmp_path / "data", Samples(torch.rand(1, 2), ["a"], torch.arange(1)), "s")
    assert take_numbers(dataset, "inputs")[1] == 0
