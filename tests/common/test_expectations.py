"""What is expected of prepared data."""

from pathlib import Path

import pytest
import torch

from common.config import build_config
from common.data import Config, DataModule, Samples
from common.dataset import map_dataset
from common.expectations import Expectations, Judge, NumSamples, check_expectations
from common.samples import BadSourceError
from common.summary import summarise
from tests.datasets import Dots, write_samples

INPUTS = torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0], [4.0, 1.0]])
LABELS = ["a", "b", "a", "a", "a"]


def find_broken(folder: Path, expect: Expectations, inputs: torch.Tensor = INPUTS, splits: str = "tttvs") -> list[str]:
    """Return what five samples of two columns break."""
    ids = [f"scan/{place}" for place in range(5)]
    write_samples(folder / "data", Samples(inputs, LABELS, ids, input_names=("x", "y")), splits)
    return judge(folder / "data").find_broken(expect)


def judge(folder: Path) -> Judge:
    """Return the judge of a dataset."""
    dataset = map_dataset(folder)
    return Judge(folder, dataset, summarise(dataset))


def test_nothing_is_broken_when_data_are_as_expected(tmp_path: Path) -> None:
    expect = Expectations(
        minimum=0,
        maximum=4,
        columns={"y": (1, 1), "x": (None, 4)},
        min_samples=NumSamples(3, 1, 1),
        min_class_fraction=0.3,
        classes=("b", "a"),
    )
    assert find_broken(tmp_path, expect) == []


@pytest.mark.parametrize(
    ("expect", "lines"),
    [
        (
            Expectations(maximum=1.5),
            [
                f"{split}: sample scan/{row} has {row} in column 'x', above the maximum 1.5 of data.expect"
                for split, row in (("train", 2), ("valid", 3), ("test", 4))
            ],
        ),
        (
            Expectations(minimum=0.5),
            ["train: sample scan/0 has 0 in column 'x', below the minimum 0.5 of data.expect"],
        ),
        (
            Expectations(columns={"y": (2, None), "x": None}),
            [
                f"{split}: sample scan/{row} has 1 in column 'y', below the minimum 2 of data.expect.columns"
                for split, row in (("train", 0), ("valid", 3), ("test", 4))
            ],
        ),
        (
            Expectations(columns={"z": (0, 1)}),
            ["no column 'z', which data.expect.columns names: there are 'x', 'y'"],
        ),
        (
            Expectations(min_samples=NumSamples(train=4, test=1)),
            ["train: 3 samples, fewer than data.expect.min_samples.train = 4"],
        ),
        (
            Expectations(min_class_fraction=0.4),
            ["train: class 'b' has a share of 0.333 (1 of them), less than data.expect.min_class_fraction = 0.4"],
        ),
        (
            Expectations(classes=("a", "c")),
            ["'b': none of data.expect.classes", "no class 'c', which data.expect.classes names"],
        ),
        (
            Expectations(same_classes_in_splits=True),
            [f"{split}: no samples of 'b' (data.expect.same_classes_in_splits)" for split in ("valid", "test")],
        ),
    ],
)
def test_split_sample_and_value_are_named_when_an_expectation_is_broken(
    tmp_path: Path, expect: Expectations, lines: list[str]
) -> None:
    assert find_broken(tmp_path, expect) == lines


def test_sample_is_named_when_a_number_is_not_finite(tmp_path: Path) -> None:
    inputs = INPUTS.clone()
    inputs[1, 1], inputs[2, 0], inputs[4, 0] = torch.nan, torch.nan, -torch.inf
    assert find_broken(tmp_path, Expectations(), inputs) == [
        "train: sample scan/1 has nan in column 'y'; 2 such numbers in all",
        "test: sample scan/4 has -inf in column 'x'; 1 such numbers in all",
    ]
    assert judge(tmp_path / "data").find_broken(Expectations(finite=False)) == []


def test_targets_have_to_be_finite_too(tmp_path: Path) -> None:
    targets = torch.tensor([1.0, torch.nan, 3.0])
    write_samples(tmp_path / "data", Samples(torch.rand(3, 2), targets, torch.arange(3)))
    assert judge(tmp_path / "data").find_broken(Expectations()) == [
        "train: sample 1 has nan in target; 1 such numbers in all"
    ]


def test_an_empty_split_lacks_no_class_and_breaks_no_bound(tmp_path: Path) -> None:
    expect = Expectations(minimum=0, maximum=9, same_classes_in_splits=True)
    assert find_broken(tmp_path, expect, splits="ttttt") == []


def test_class_without_train_samples_is_too_rare(tmp_path: Path) -> None:
    (line,) = find_broken(tmp_path, Expectations(min_class_fraction=0.1), splits="tsttt")
    assert line.startswith("train: class 'b' has a share of 0 (0 of them)")


def test_few_of_many_strange_classes_are_named(tmp_path: Path) -> None:
    classes = tuple(f"class {place}" for place in range(10_000))
    samples = Samples(torch.rand(1, 2), torch.tensor([0]), torch.arange(1), classes)
    write_samples(tmp_path / "data", samples)
    found = judge(tmp_path / "data").find_broken(Expectations(classes=(), min_class_fraction=1e-6))
    assert found[0].endswith("'class 4' and 9,995 more: none of data.expect.classes")
    assert found[1].endswith("; so 9999 of 10000 classes")


def test_bytes_are_held_against_bounds_as_the_model_gets_them(tmp_path: Path) -> None:
    images = torch.tensor([0, 204], dtype=torch.uint8).view(2, 1, 1, 1)
    write_samples(tmp_path / "data", Samples(images, ["a", "b"], torch.arange(2)))
    assert judge(tmp_path / "data").find_broken(Expectations(maximum=0.5)) == [
        "train: sample 1 has 0.8 in channel 0, above the maximum 0.5 of data.expect"
    ]


def test_columns_that_never_change_are_doubtful(tmp_path: Path) -> None:
    find_broken(tmp_path, Expectations())
    assert judge(tmp_path / "data").find_constant() == ["inputs tell nothing: column 'y' is 1 in all samples"]


def test_one_sample_is_not_doubted_for_being_the_same_as_itself(tmp_path: Path) -> None:
    write_samples(tmp_path / "data", Samples(torch.rand(1, 2), ["a"], torch.arange(1)))
    assert judge(tmp_path / "data").find_constant() == []


def test_data_are_not_prepared_when_they_break_what_is_expected(tmp_path: Path) -> None:
    params = {"expect": {"maximum": 0.5, "min_samples": {"train": 100}, "classes": ["a", "b", "c"]}}
    config = build_config(Dots, params)
    assert isinstance(config, Config)
    with pytest.raises(BadSourceError, match=r"^train: 4\d samples, fewer than .*; train: sample \d+ has 1 in channel"):
        Dots(config).prepare(tmp_path)


def test_nothing_is_walked_when_nothing_is_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("common.data.check_expectations", fail)
    Dots(Config()).prepare(tmp_path)
    assert DataModule(Config()).config.expect is None


def test_a_message_names_no_more_than_ten_faults(tmp_path: Path) -> None:
    columns: dict[str, tuple[float | None, float | None] | None] = {f"c{place}": (0, 1) for place in range(14)}
    write_samples(tmp_path / "data", Samples(INPUTS, LABELS, torch.arange(5)))
    with pytest.raises(BadSourceError, match=r"; and 4 more$"):
        check_expectations(tmp_path / "data", Expectations(columns=columns))
