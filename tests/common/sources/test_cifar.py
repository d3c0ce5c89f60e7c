"""CIFAR's binary version as a source."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.samples import BadSourceError, Samples
from common.sources import cifar as module
from common.sources.cifar import Cifar

GENERATOR = np.random.default_rng(0)


def write(path: Path, *labels: tuple[int, ...]) -> np.ndarray:
    """Write images of random pixels with these labels; return the pixels."""
    pixels = GENERATOR.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    np.concatenate([np.array(labels, dtype=np.uint8), pixels], axis=1).tofile(path)
    return pixels.reshape(-1, 3, 32, 32)


def write_cifar_10(root: Path) -> np.ndarray:
    """Write CIFAR-10 of three images; return the pixels of the first."""
    pixels = write(root / "data_batch_1.bin", (1,))
    write(root / "data_batch_2.bin", (0,))
    write(root / "test_batch.bin", (2,))
    (root / "batches.meta.txt").write_text("airplane\nautomobile\nbird\n\n")
    return pixels


def read(source: Cifar) -> list[Samples]:
    """Return the samples of each part."""
    return [source.load(part) for part in source.parts()]


def test_cifar_10_has_batches_for_training_and_one_for_test(tmp_path: Path) -> None:
    pixels = write_cifar_10(tmp_path)
    parts = read(Cifar(str(tmp_path)))
    assert torch.equal(parts[0].inputs, torch.from_numpy(pixels))
    assert [part.ids for part in parts] == [["data_batch_1/0"], ["data_batch_2/0"], ["test_batch/0"]]
    assert [part.splits for part in parts] == [["train"], ["train"], ["test"]]
    assert [part.targets.tolist() for part in parts] == [[1], [0], [2]]  # type: ignore[union-attr]
    assert parts[0].classes == ("airplane", "automobile", "bird")
    assert len(Cifar(str(tmp_path)).describe()) == 4
    assert Cifar(str(tmp_path)).count() == 3


def test_cifar_100_has_coarse_and_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NUM_IMAGES", 1)
    pixels = write(tmp_path / "train.bin", (0, 2), (1, 0))
    write(tmp_path / "test.bin", (1, 1))
    (tmp_path / "coarse_label_names.txt").write_text("fish\nflowers\n")
    (tmp_path / "fine_label_names.txt").write_text("rose\nlily\nshark\n")
    for labels, wanted in (("fine", [[2], [0], [1]]), ("coarse", [[0], [1], [1]])):
        parts = read(Cifar(str(tmp_path), labels=labels))  # type: ignore[arg-type]
        assert [part.targets.tolist() for part in parts] == wanted  # type: ignore[union-attr]
        assert torch.equal(parts[1].inputs[0], torch.from_numpy(pixels[1]))
        assert (parts[1].ids, parts[2].ids) == (["train/1"], ["test/0"])
    assert parts[0].classes == ("fish", "flowers")


# What is refused


def refuse(source: Cifar) -> str:
    """Return what a source is refused for, which is one line."""
    with pytest.raises(BadSourceError) as caught:
        read(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_batch_is_refused_when_it_is_truncated(tmp_path: Path) -> None:
    write_cifar_10(tmp_path)
    path = tmp_path / "data_batch_2.bin"
    content = path.read_bytes() * 2
    for size in range(0, len(content), 101):
        path.write_bytes(content[:size])
        assert refuse(Cifar(str(tmp_path))) == f"{path} has {size} bytes, wanted 3073 for each image"


def test_label_is_refused_when_no_class_has_it(tmp_path: Path) -> None:
    write_cifar_10(tmp_path)
    path = tmp_path / "data_batch_2.bin"
    write(path, (1,), (3,))
    wanted = f"{path}: image 1 (from 0) has the label 3, and there are 3 classes"
    assert refuse(Cifar(str(tmp_path))) == wanted


@pytest.mark.parametrize("content", [b"", b"\n \n", b"cat\ncat\ndog\n", b"\xff\xfe", None])
def test_names_of_classes_are_refused_when_they_do_not_tell_them_apart(tmp_path: Path, content: bytes | None) -> None:
    write_cifar_10(tmp_path)
    path = tmp_path / "batches.meta.txt"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert str(path) in refuse(Cifar(str(tmp_path)))


def test_folder_is_refused_when_it_is_not_cifar(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        assert "is no folder of CIFAR's binary version" in refuse(Cifar(str(path)))
    write_cifar_10(tmp_path)
    assert "is CIFAR-10, and has no coarse labels" in refuse(Cifar(str(tmp_path), labels="coarse"))
    (tmp_path / "test_batch.bin").unlink()
    assert "has no 'test_batch.bin'" in refuse(Cifar(str(tmp_path)))
