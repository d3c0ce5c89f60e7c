"""Datasets written part by part."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from common.dataset import SPLITS, Dataset, read_dataset
from common.dataset_writer import BadTargetError, DatasetWriter
from common.hashing import find_keys
from common.part_states import PartStates
from common.samples import Affine, BadSourceError, Samples


def make(ids: Any = range(6), **fields: Any) -> Samples:
    """Return samples whose inputs are made of their ids."""
    keys = torch.tensor([hash(key) % 100 if isinstance(key, str) else key for key in ids])
    inputs = torch.stack([keys.float(), keys.float() + 0.5], dim=1)
    names = list(ids) if isinstance(next(iter(ids), 0), str) else keys
    return Samples(**{"inputs": inputs, "targets": keys % 2, "ids": names, **fields})


def write(folder: Path, *parts: Samples, **options: Any) -> Dataset:
    """Write parts, their samples into train, valid and test in turn; return what is read."""
    with DatasetWriter(folder) as writer:
        for part in parts:
            writer.add(part, find_keys(part.ids), torch.arange(len(part.ids)) % 3)
        writer.finish("a test", "nobody", lambda: (), **options)
    return read_dataset(folder)


def test_parts_become_one_dataset(tmp_path: Path) -> None:
    dataset = write(tmp_path, make(range(6)), make(range(0)), make(range(6, 13)))
    assert [dataset.split(name).tensors[2].tolist() for name in SPLITS] == [
        [0, 3, 6, 9, 12],
        [1, 4, 7, 10],
        [2, 5, 8, 11],
    ]
    assert dataset.valid.tensors[0].tolist() == [[1, 1.5], [4, 4.5], [7, 7.5], [10, 10.5]]
    assert dataset.metadata.num_samples == {"train": 5, "valid": 4, "test": 4}
    assert dataset.metadata.statistics["mean"] == 6.25


def test_labels_become_places_in_the_alphabet_whenever_they_come(tmp_path: Path) -> None:
    first, second = make(range(3), targets=["dog", "cat", "dog"]), make(range(3, 6), targets=["ant", "dog", "cat"])
    dataset = write(tmp_path, first, second)
    assert dataset.metadata.classes == ("ant", "cat", "dog")
    assert [dataset.split(name).tensors[1].tolist() for name in SPLITS] == [[2, 0], [1, 2], [2, 1]]


def test_labels_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    assert write(tmp_path, make(range(3), targets=["10", "9", "-1"])).metadata.classes == ("-1", "9", "10")


def test_labels_become_places_among_classes_that_the_source_gives(tmp_path: Path) -> None:
    samples = make(range(3), targets=["dog", "cat", "dog"], classes=("dog", "emu", "cat"))
    dataset = write(tmp_path, samples)
    assert dataset.metadata.classes == ("dog", "emu", "cat")
    assert [dataset.split(name).tensors[1].item() for name in SPLITS] == [0, 2, 0]


def test_names_stand_beside_the_samples(tmp_path: Path) -> None:
    write(tmp_path, make(["a", "ä\n", "c", "d"]))
    assert [(tmp_path / name / "names.jsonl").read_text() for name in SPLITS] == ['"a"\n"d"\n', '"ä\\n"\n', '"c"\n']


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_inputs_are_changed_by_what_the_train_inputs_say(tmp_path: Path, dtype: torch.dtype) -> None:
    def fit(statistics: Any) -> Affine:
        return Affine(1 / statistics["std"], -statistics["mean"] / statistics["std"])

    plain = make(range(12)).inputs.to(dtype)
    dataset = write(tmp_path, make(range(12), inputs=plain), fit=fit)
    assert dataset.train.tensors[0].mean(dim=0).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert dataset.train.tensors[0].std(dim=0).tolist() == pytest.approx([1, 1])
    scaled = (plain - plain[0::3].mean(dim=0)) / plain[0::3].std(dim=0)
    assert torch.allclose(dataset.test.tensors[0], scaled[2::3])
    assert dataset.metadata.statistics == {"mean": pytest.approx(0, abs=1e-6), "std": pytest.approx(1, rel=0.1)}


def test_samples_of_different_splits_with_the_same_inputs_are_found(tmp_path: Path) -> None:
    prints = torch.tensor([1, 2, 1, 4, 5, 5])
    with DatasetWriter(tmp_path) as writer:
        samples = make(["a", "b", "c", "d", "e", "f"], fingerprints=prints)
        writer.add(samples, find_keys(samples.ids), torch.tensor([0, 0, 2, 1, 1, 1]))
        writer.finish("a test", "nobody", lambda: ())
        assert writer.find_duplicates() == [("a (train)", "c (test)")]


def test_last_sample_of_a_split_is_told_from_the_first_of_the_next(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path) as writer:
        samples = make(["a", "b", "c", "d"], fingerprints=torch.tensor([1, 2, 2, 4]))
        writer.add(samples, find_keys(samples.ids), torch.tensor([0, 0, 1, 1]))
        writer.finish("a test", "nobody", lambda: ())
        assert writer.find_duplicates() == [("b (train)", "c (valid)")]


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([], BadSourceError, "the source has no samples"),
        ([make(range(0))], BadSourceError, "the source has no samples"),
        (
            [make(targets=torch.zeros(5))],
            BadSourceError,
            "the source gives 6 inputs, 5 targets, 6 ids: wanted",
        ),
        ([make(inputs=["text"] * 6)], BadSourceError, "the inputs are texts: data.transforms has to make numbers"),
        (
            [make(), make(range(6, 9), inputs=torch.zeros(3, 5))],
            BadSourceError,
            "samples differ: inputs are (5,) float32 from sample 6 on, (2,) float32 before",
        ),
        ([make(range(6)), make(range(5, 8))], BadSourceError, "1 ids come twice; the first: 5 (train) and 5 (test)"),
        ([make(["a", "b", "a"])], BadSourceError, "1 ids come twice; the first: a (train) and a (test)"),
        (
            [make(targets=["x"] * 6, classes=("a", "b"))],
            BadTargetError,
            "sample 0 has the label 'x', none of the classes: a, b",
        ),
        (
            [make(targets=torch.tensor([0, 1, 0, 1, 2, -1]), classes=("a", "b"))],
            BadTargetError,
            "1 samples of the valid split have no class: sample 4 has the target 2, and there are 2 classes, 0 … 1",
        ),
    ],
)
def test_writing_is_refused_when(tmp_path: Path, parts: list[Samples], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        write(tmp_path, *parts)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("first", "second"),
    [(range(6), range(5, 9)), ([5, 3, 4], range(5, 9)), (range(6), range(6, 9)), (range(3, 6), range(3))],
)
def test_ids_that_come_twice_are_found_after_a_resume_too(tmp_path: Path, first: Any, second: Any) -> None:
    states = PartStates(tmp_path / "parts.json", period_s=0)
    (folder := tmp_path / "data").mkdir()
    with DatasetWriter.resume(folder, states) as writer:
        writer.add(make(first), find_keys(make(first).ids), torch.zeros(len(first), dtype=torch.long))
        writer.end_part(len(first))  # and no more, as if it were killed
    with DatasetWriter.resume(folder, PartStates(tmp_path / "parts.json")) as writer:
        assert writer.num_parts == 1
        writer.add(make(second), find_keys(make(second).ids), torch.zeros(len(second), dtype=torch.long))
        again = set(first) & set(second)
        with pytest.raises(BadSourceError, match="1 ids come twice") if again else nullcontext():
            writer.finish("a test", "nobody", lambda: ())


def test_names_of_columns_are_in_the_metadata_where_inputs_are_columns(tmp_path: Path) -> None:
    for name, names, wanted in (("a", ("x", "y"), ("x", "y")), ("b", ("x", "y", "z"), ()), ("c", (), ())):
        (tmp_path / name).mkdir()
        assert write(tmp_path / name, make(input_names=names)).metadata.input_names == wanted


def test_columns_in_another_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSourceError, match="samples differ: the inputs are y, x from sample 6 on, x, y before"):
        write(tmp_path, make(input_names=("x", "y")), make(range(6, 9), input_names=("y", "x")))


def test_what_samples_were_read_from_is_described_whatever_the_parts(tmp_path: Path) -> None:
    whole, *parts = (make(range(*ends), digests=[f"{i}" for i in range(*ends)]) for ends in ((9,), (4,), (4, 9)))
    found = []
    for name, samples in (("a", [whole]), ("b", parts)):
        (tmp_path / name).mkdir()
        found.append(write(tmp_path / name, *samples).metadata.sources)
    assert found[0] == found[1]
    assert found[0][0]["name"] == "the samples"
