"""How far data are from others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.dataset import Dataset
from common.drift import compare, count_in_bins, judge
from common.samples import Samples
from common.summary import summarise
from tests.datasets import write_samples


def make_samples(num: int, seed: int = 0, shift: float = 0.0, first_id: int = 0) -> Samples:
    """Return normal numbers in two columns, the second shifted, and two classes that come in turn."""
    inputs = torch.randn(num, 2, generator=torch.Generator().manual_seed(seed))
    inputs[:, 1] += shift
    labels = ["a" if place % 2 else "b" for place in range(num)]
    return Samples(inputs, labels, torch.arange(first_id, first_id + num), input_names=("x", "y"))


def compare_both(data: Dataset, reference: Dataset) -> dict[str, Any]:
    """Return how data differ from others."""
    return compare(data, reference, summarise(data), summarise(reference))


@pytest.mark.parametrize("num", [20, 50, 2000])
def test_others_of_the_same_distribution_have_not_drifted(tmp_path: Path, num: int) -> None:
    for seed in range(5):
        data = write_samples(tmp_path / f"{seed}", make_samples(num, seed))
        reference = write_samples(tmp_path / f"{seed}r", make_samples(num, 100 + seed))
        found = compare_both(data, reference)
        assert [entry["drift"] for entry in found["inputs"]] == ["none", "none"]
        assert found["classes"]["drift"] == "none"


def test_the_column_that_moved_is_named(tmp_path: Path) -> None:
    data = write_samples(tmp_path / "data", make_samples(1000, 1, shift=1.0))
    found = compare_both(data, write_samples(tmp_path / "reference", make_samples(1000)))
    still, moved = found["inputs"]
    assert (still["drift"], moved["drift"], moved["name"]) == ("none", "strong", "column 'y'")
    assert moved["mean_shift_in_std"] == pytest.approx(1.0, abs=0.1)
    assert found["differences"] == []


def test_ids_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    data = write_samples(tmp_path / "data", make_samples(6, first_id=2), "ttvsst")
    reference = write_samples(tmp_path / "reference", make_samples(6), "ttttts")
    assert compare_both(data, reference)["samples"] == {"same": 4, "moved": 1 + 0, "new": 2, "gone": 2}


def test_class_shares_are_compared_by_name(tmp_path: Path) -> None:
    samples = make_samples(400)
    mostly_a = ["a" if place % 10 else "c" for place in range(400)]
    found = compare_both(
        write_samples(tmp_path / "data", samples._replace(targets=mostly_a)),
        write_samples(tmp_path / "reference", samples),
    )
    assert found["classes"]["total_variation"] == pytest.approx(0.5)
    assert found["classes"]["drift"] == "strong"
    assert found["differences"] == ["new classes: 'c'", "classes that are gone: 'b'"]


def test_shapes_and_dtypes_that_differ_are_named_and_not_compared_further(tmp_path: Path) -> None:
    data = write_samples(tmp_path / "data", Samples(torch.rand(4, 1, 2, 2), torch.rand(4), torch.arange(4)))
    found = compare_both(data, write_samples(tmp_path / "reference", make_samples(4)))
    assert found["differences"][:2] == ["input_shape is (1, 2, 2), not (2,)", "target_dtype is float32, not int64"]
    assert (found["inputs"], found["targets"], found["classes"]) == ([], [], None)


def test_quantities_of_targets_are_compared(tmp_path: Path) -> None:
    samples = make_samples(500)
    near, far = (samples._replace(targets=samples.inputs[:, 0] + shift) for shift in (0, 2))
    found = compare_both(write_samples(tmp_path / "far", far), write_samples(tmp_path / "near", near))
    assert [(entry["name"], entry["drift"]) for entry in found["targets"]] == [("target", "strong")]


@pytest.mark.parametrize("splits", ["ssss", "tttt"])
def test_empty_splits_are_compared_without_fault(tmp_path: Path, splits: str) -> None:
    data = write_samples(tmp_path / "data", make_samples(4), splits)
    found = compare_both(data, write_samples(tmp_path / "reference", make_samples(4), "ssss"))
    assert (found["inputs"], found["classes"]) == ([], None)


def test_a_number_that_takes_up_much_has_a_bin_of_its_own() -> None:
    black = np.zeros(100)
    counts, reference = count_in_bins(np.full(100, -5.0), black)
    assert judge(counts, reference, 100, 100)[1] == "strong"
    assert judge(*count_in_bins(black, black), 100, 100) == (0.0, "none")


def test_stability_index_is_that_of_its_formula() -> None:
    psi, word = judge(np.array([70.0, 30.0]) * 1e6, np.array([50.0, 50.0]) * 1e6, 100, 100)
    assert psi == pytest.approx(0.2 * np.log(0.7 / 0.5) - 0.2 * np.log(0.3 / 0.5), rel=1e-4)
    assert word == "none"  # of a hundred samples each
    assert judge(np.array([70.0, 30.0]), np.array([50.0, 50.0]), 1000, 1000)[1] == "some"
    assert judge(np.array([90.0, 10.0]), np.array([50.0, 50.0]), 1000, 1000)[1] == "strong"


def test_some_numbers_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    samples = make_samples(100)
    samples.inputs[:, 0] = torch.nan
    samples.inputs[3, 1] = torch.inf
    data = write_samples(tmp_path / "data", samples)
    found = compare_both(data, write_samples(tmp_path / "reference", make_samples(100)))
    assert [(entry["name"], entry["drift"]) for entry in found["inputs"]] == [("column 'y'", "none")]
