"""Datasets on disk."""

from pathlib import Path

import pytest
import torch

from common.dataset import SPLITS, BadTargetError, CorruptDatasetError, read_dataset, read_metadata, write_dataset
from tests.datasets import make_dataset

FILES = ("train.safetensors", "valid.safetensors", "test.safetensors", "metadata.json")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The folder of a written dataset."""
    write_dataset(make_dataset(), tmp_path)
    return tmp_path


def test_dataset_comes_back_as_it_was_written(written: Path) -> None:
    original, read = make_dataset(), read_dataset(written)
    for name in SPLITS:
        for ours, theirs in zip(original.split(name).tensors, read.split(name).tensors, strict=True):
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours, theirs)


def test_metadata_comes_back_with_its_types(written: Path) -> None:
    original, read = make_dataset().metadata, read_metadata(written)
    assert (read.name, read.input_shape, read.input_dtype) == ("dots", (1, 4, 4), "float32")
    assert (read.classes, read.sources) == (original.classes, original.sources)
    assert (read.num_samples, read.statistics) == (original.num_samples, original.statistics)
    assert set(read.files) == set(FILES) - {"metadata.json"}


def test_bytes_are_equal_when_the_data_is(written: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    again = tmp_path_factory.mktemp("again")
    write_dataset(make_dataset(), again)
    assert sorted(path.name for path in again.iterdir()) == sorted(FILES)
    for name in FILES:
        assert (written / name).read_bytes() == (again / name).read_bytes()


@pytest.mark.parametrize("target", [-1, 3])
def test_writing_fails_when_a_target_is_no_class(tmp_path: Path, target: int) -> None:
    dataset = make_dataset()
    assert len(dataset.metadata.classes) == 3
    _, targets, ids = dataset.train.tensors
    targets[2] = target
    with pytest.raises(BadTargetError) as caught:
        write_dataset(dataset, tmp_path)
    wanted = f"1 samples of the train split have no class: sample {ids[2]} has the target {target}, "
    assert str(caught.value) == wanted + "and there are 3 classes, 0 … 2"


@pytest.mark.parametrize("split", SPLITS)
def test_reading_fails_when_one_bit_flipped(written: Path, split: str) -> None:
    path = written / f"{split}.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptDatasetError, match=path.name):
        read_dataset(written)
