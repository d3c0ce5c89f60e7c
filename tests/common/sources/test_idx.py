"""Folders of IDX files as sources."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.samples import BadSourceError, Samples
from common.sources import idx as module
from common.sources.idx import Idx

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
LABELS = np.array([3, 1, 0, 3, 10], dtype=np.uint8)
CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def encode(array: np.ndarray) -> bytes:
    """Return an array as IDX."""
    kind = array.dtype.str[1:]
    header = bytes([0, 0, CODES[kind], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(f">{kind}").tobytes()


def write(root: Path, split: str = "train", ending: str = "", *, pixels: np.ndarray = PIXELS) -> Path:
    """Write images and labels; return the path of the images."""
    path = root / f"{split}-images-idx3-ubyte{ending}"
    pack = gzip.compress if ending else bytes
    path.write_bytes(pack(encode(pixels)))
    (root / f"{split}-labels-idx1-ubyte{ending}").write_bytes(pack(encode(LABELS)))
    return path


def read(source: Idx) -> list[Samples]:
    """Return the samples of each part."""
    return [source.load(part) for part in source.parts()]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_images_have_labels_ids_and_splits(tmp_path: Path, ending: str) -> None:
    write(tmp_path, "train", ending)
    write(tmp_path, "t10k", ending)
    train, test = read(Idx(str(tmp_path)))
    assert torch.equal(train.inputs, torch.from_numpy(PIXELS)[:, None])
    assert train.inputs.dtype == torch.uint8
    assert (train.targets, test.targets) == (["3", "1", "0", "3", "10"],) * 2
    assert (train.ids[0], test.ids[-1], test.splits) == ("train/0", "test/4", ["test"] * 5)
    assert len(Idx(str(tmp_path)).describe()) == 4


def test_train_images_alone_are_not_split(tmp_path: Path) -> None:
    write(tmp_path, "emnist-letters-train")
    (samples,) = read(Idx(str(tmp_path)))
    assert (samples.splits, len(samples.ids)) == (None, 5)


def test_labels_are_indices_when_classes_have_names(tmp_path: Path) -> None:
    write(tmp_path)
    (samples,) = read(Idx(str(tmp_path), classes=("a", "b")))
    assert samples.targets.tolist() == LABELS.tolist()  # type: ignore[union-attr]
    assert samples.classes == ("a", "b")


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_many_images_come_in_parts(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 25)
    write(tmp_path, "train", ending)
    parts = read(Idx(str(tmp_path)))
    assert [part.ids for part in parts] == [["train/0", "train/1"], ["train/2", "train/3"], ["train/4"]]
    assert torch.equal(torch.cat([part.inputs for part in parts])[:, 0], torch.from_numpy(PIXELS))


@pytest.mark.parametrize("kind", CODES)
def test_other_numbers_are_read(tmp_path: Path, kind: str) -> None:
    write(tmp_path, pixels=np.arange(5).astype(kind).reshape(5, 1))
    (samples,) = read(Idx(str(tmp_path)))
    assert samples.inputs.tolist() == [[0], [1], [2], [3], [4]]
    assert samples.inputs.dtype in (torch.uint8, torch.int64, torch.float32)


# What is refused


def refuse(path: Path) -> str:
    """Return what a folder is refused for, which is one line."""
    with pytest.raises(BadSourceError) as caught:
        read(Idx(str(path)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_file_is_refused_when_it_is_truncated(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path, "train", ending)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        assert str(path) in refuse(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x00\x08\x03" + b"\xff" * 12 + bytes(60), "images"),  # 4294967295³ pixels
        (b"\x00\x00\x0e\xff" + b"\xff" * 2000, "images"),
        (b"\x00\x00\x08\x03" + struct.pack(">3I", 5, 2**16, 2**16) + bytes(60), "is truncated: it ends "),
        (b"\x00\x00\x08\x03" + struct.pack(">3I", 5, 0, 3), "is of shape (5, 0, 3), and so empty"),
        (b"\x89PNG" + bytes(60), "begins with 89 50 4e 47, wanted as 00 00 08 03"),
        (b"\x00\x00\x07\x03" + bytes(60), "is no IDX file"),
        (b"\x00\x00\x08\x00" + bytes(60), "is no IDX file"),
        (encode(PIXELS[:4]), "labels-idx1-ubyte holds uint8 of shape (5,), wanted a whole number for each of 4 images"),
        (encode(PIXELS) + b"\0", "holds more than its header says"),
    ],
)
def test_images_are_refused_when_their_header_claims_nonsense(tmp_path: Path, content: bytes, message: str) -> None:
    write(tmp_path).write_bytes(content)
    assert message in refuse(tmp_path)


def test_labels_are_refused_when_they_are_fractions(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(encode(np.ones(5, np.float32)))
    assert "holds float32 of shape (5,), wanted a whole number for each" in refuse(tmp_path)


def test_folder_is_refused_when_files_are_missing_or_two(tmp_path: Path) -> None:
    assert "has no train images" in refuse(tmp_path)
    assert "has no train images" in refuse(tmp_path / "none")
    write(tmp_path)
    write(tmp_path, "train", ".gz")
    assert "has two files of train images" in refuse(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    for path in tmp_path.glob("*labels*"):
        path.unlink()
    assert "has 'train-images-idx3-ubyte', but no 'train-labels-idx1-ubyte'" in refuse(tmp_path)


@pytest.mark.parametrize("ending", ["", ".gz"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_file_is_refused_or_has_samples(tmp_path: Path, ending: str, data: st.DataObject) -> None:
    path = write(tmp_path, "train", ending)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        found = f"{tmp_path}: {len(read(Idx(str(tmp_path))))} parts"
    except BadSourceError as error:
        found = str(error)
    assert str(tmp_path) in found
    assert "\n" not in found
