"""Datasets on disk."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from common import dataset as module
from common.dataset import (
    SPLITS,
    Batch,
    CorruptDatasetError,
    open_dataset,
    read_dataset,
    read_metadata,
    tensor_path,
    write_metadata,
)
from tests.datasets import make_dataset, write_dataset

FILES = {tensor_path(split, field) for split in SPLITS for field in Batch._fields}


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
    assert (read.name, read.input_shape, read.input_dtype) == ("Dots", (1, 4, 4), "float32")
    assert (read.classes, read.sources) == (original.classes, original.sources)
    assert (read.num_samples, read.statistics) == (original.num_samples, original.statistics)
    assert (read.target_shape, read.target_dtype) == ((), "int64")
    assert set(read.files) == FILES


def test_bytes_are_equal_when_the_data_is(written: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    again = tmp_path_factory.mktemp("again")
    write_dataset(make_dataset(), again)
    names = {path.relative_to(again).as_posix() for path in again.rglob("*") if path.is_file()}
    assert names == {*FILES, "metadata.json"}
    for name in names:
        assert (written / name).read_bytes() == (again / name).read_bytes()


@pytest.mark.parametrize("file", sorted(FILES))
def test_reading_fails_when_one_bit_flipped(written: Path, file: str) -> None:
    _flip_a_bit(written / file)
    with pytest.raises(CorruptDatasetError, match=f"{file} does not have the sha256"):
        read_dataset(written)


def test_large_dataset_is_there_at_once_and_its_damage_is_found_in_the_end(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_NUM_BYTES_CHECKED_FIRST", 0)
    _flip_a_bit(written / "train/inputs.safetensors")
    with pytest.raises(CorruptDatasetError, match="sha256"), open_dataset(written) as dataset:
        used = len(dataset.train)
    assert used


@pytest.mark.parametrize("size", [0, 7, 4000, -1])
def test_reading_fails_when_a_file_is_truncated(written: Path, size: int) -> None:
    path = written / "valid/targets.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorruptDatasetError, match=r"valid/targets\.safetensors cannot be read"):
        read_dataset(written)


def test_metadata_are_read_when_they_are_of_a_time_without_names_of_columns(written: Path) -> None:
    fields = json.loads((written / "metadata.json").read_text())
    del fields["input_names"]
    (written / "metadata.json").write_text(json.dumps(fields))
    assert read_metadata(written).input_names == ()


def test_reading_fails_when_a_file_is_gone(written: Path) -> None:
    (written / "test/ids.safetensors").unlink()
    with pytest.raises(CorruptDatasetError, match=r"test/ids\.safetensors cannot be read"):
        read_dataset(written)


@pytest.mark.parametrize("change", [{"input_shape": (4, 4)}, {"input_dtype": "float64"}, {"stored_dtype": "uint8"}])
def test_reading_fails_when_tensors_are_of_another_shape(written: Path, change: dict[str, Any]) -> None:
    write_metadata(dataclasses.replace(read_metadata(written), **change), written)
    with pytest.raises(CorruptDatasetError, match=r"the train split in .* is not of the shapes"):
        read_dataset(written)


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
