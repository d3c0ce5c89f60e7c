"""Folders of images as sources."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.samples import BadSourceError, Samples
from common.sources import image_folder as module
from common.sources.image_folder import ImageFolder

GENERATOR = np.random.default_rng(0)


def draw(path: Path, height: int = 4, width: int = 6, mode: str = "RGB") -> np.ndarray:
    """Write an image of random pixels; return them."""
    pixels = GENERATOR.integers(0, 256, (height, width, 3) if mode == "RGB" else (height, width), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels, mode).save(path)
    return pixels


def load(source: ImageFolder) -> Samples:
    """Return all samples, which are one part."""
    (part,) = source.parts()
    return source.load(part)


def test_folder_is_the_class_and_the_path_the_id(tmp_path: Path) -> None:
    names = ["cat/a.png", "cat/deep/b.png", "dog/a.png"]
    pixels = [draw(tmp_path / name) for name in names]
    (tmp_path / "dog/notes.txt").touch()
    (tmp_path / ".hidden").mkdir()
    samples = load(ImageFolder(str(tmp_path)))
    assert (samples.ids, samples.targets, samples.splits) == (names, ["cat", "cat", "dog"], None)
    assert samples.inputs.dtype == torch.uint8
    assert np.array_equal(samples.inputs.numpy(), np.stack(pixels).transpose(0, 3, 1, 2))
    digests = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names]
    assert samples.digests == digests


def test_folders_that_are_splits_have_folders_of_classes(tmp_path: Path) -> None:
    for name in ("train/cat/a.png", "train/dog/b.png", "test/cat/a.png"):
        draw(tmp_path / name)
    samples = load(ImageFolder(str(tmp_path)))
    assert samples.ids == ["test/cat/a.png", "train/cat/a.png", "train/dog/b.png"]
    assert (samples.targets, samples.splits) == (["cat", "cat", "dog"], ["test", "train", "train"])


def test_table_says_the_labels_when_it_is_given(tmp_path: Path) -> None:
    draw(tmp_path / "images/b.png")
    draw(tmp_path / "images/deep/a.png")
    (tmp_path / "labels.csv").write_text("picture,kind,other\nb.png,3,1\ndeep/a.png,10,1\n")
    source = ImageFolder(str(tmp_path / "images"), labels=str(tmp_path / "labels.csv"), file="picture", label="kind")
    samples = load(source)
    assert (samples.ids, samples.targets) == (["b.png", "deep/a.png"], ["3", "10"])


def test_images_become_grey_and_of_one_size_when_params_say_so(tmp_path: Path) -> None:
    grey = draw(tmp_path / "a/a.png", 8, 8, "L")
    draw(tmp_path / "a/b.png", 5, 9)
    samples = load(ImageFolder(str(tmp_path), colours="grey", size=8))
    assert samples.inputs.shape == (2, 1, 8, 8)
    assert np.array_equal(samples.inputs[0, 0].numpy(), grey)


@pytest.mark.parametrize("ending", ["jpg", "bmp", "gif", "webp", "tif", "ppm"])
def test_images_of_other_kinds_are_read(tmp_path: Path, ending: str) -> None:
    Image.new("RGB", (6, 4), (200, 100, 50)).save(tmp_path / f"a.{ending}")
    (tmp_path / "red").mkdir()
    (tmp_path / f"a.{ending}").rename(tmp_path / f"red/a.{ending}")
    pixels = load(ImageFolder(str(tmp_path))).inputs[0].float().mean(dim=(1, 2))
    assert pixels.tolist() == pytest.approx([200, 100, 50], abs=3)


def test_many_images_come_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NUM_IMAGES", 2)
    for place in range(5):
        draw(tmp_path / f"a/{place}.png")
    source = ImageFolder(str(tmp_path))
    assert [source.load(part).ids for part in source.parts()] == [
        ["a/0.png", "a/1.png"],
        ["a/2.png", "a/3.png"],
        ["a/4.png"],
    ]
    assert source.count() == 5


# What is refused


def test_images_are_refused_when_their_sizes_differ(tmp_path: Path) -> None:
    draw(tmp_path / "a/a.png", 4, 6)
    draw(tmp_path / "a/b.png", 5, 6)
    with pytest.raises(BadSourceError) as caught:
        load(ImageFolder(str(tmp_path)))
    wanted = "images differ: 'a/a.png' is 4 × 6 and 'a/b.png' is 5 × 6; data.source.size resizes them"
    assert str(caught.value) == wanted


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"no image", b"GIF89a" + b"\xff" * 30])
def test_file_is_refused_when_it_is_no_image(tmp_path: Path, content: bytes) -> None:
    draw(tmp_path / "a/a.png")
    (tmp_path / "a/b.png").write_bytes(content)
    with pytest.raises(BadSourceError, match=r"'a/b\.png' is no image that can be read: "):
        load(ImageFolder(str(tmp_path)))


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp"])
def test_image_is_refused_when_it_is_truncated(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a/a.{ending}"
    draw(path, 32, 32)
    content = path.read_bytes()
    for size in range(0, len(content) - 100, len(content) // 20):
        path.write_bytes(content[:size])
        with pytest.raises(BadSourceError, match="is no image that can be read"):
            load(ImageFolder(str(tmp_path)))


def test_image_is_refused_when_it_has_far_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    draw(tmp_path / "a/a.png", 40, 40)
    with pytest.raises(BadSourceError, match="1600 pixels"):
        load(ImageFolder(str(tmp_path)))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "deep/../../secret.png"])
def test_label_is_refused_when_its_file_is_elsewhere(tmp_path: Path, name: str) -> None:
    draw(tmp_path / "secret.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "labels.csv").write_text(f"file,label\n{name},x\n")
    with pytest.raises(BadSourceError, match="leads out of"):
        load(ImageFolder(str(tmp_path / "images"), labels=str(tmp_path / "labels.csv")))


def test_label_is_refused_when_there_is_no_such_file(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\nnone.png,x\n")
    with pytest.raises(BadSourceError, match=r"'none\.png' cannot be read: No such file or directory"):
        load(ImageFolder(str(tmp_path), labels=str(tmp_path / "labels.csv")))


def test_folder_is_refused_when_it_is_empty_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadSourceError, match="has no images: wanted"):
        load(ImageFolder(str(tmp_path)))
    with pytest.raises(BadSourceError, match="there is no folder"):
        load(ImageFolder(str(tmp_path / "none")))


def test_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.symlink("nowhere", tmp_path / "a/a.png")
    with pytest.raises(BadSourceError, match=r"'a/a\.png' cannot be read"):
        load(ImageFolder(str(tmp_path)))


# Masks


def draw_mask(path: Path, numbers: list[list[int]], mode: str = "L") -> None:
    """Write a mask of these numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.array(numbers, dtype=np.uint8), "L")
    if mode == "P":
        image = Image.fromarray(np.array(numbers, dtype=np.uint8), "P")
        image.putpalette([10, 20, 30] * 256)
    image.convert(mode).save(path)


def masked(folder: Path, **options: object) -> ImageFolder:
    """Return the source of the images in a folder and their masks."""
    return ImageFolder(str(folder / "images"), masks=str(folder / "masks"), classes=("road", "sky"), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["L", "P"])
def test_masks_are_targets_for_each_pixel(tmp_path: Path, mode: str) -> None:
    for name in ("a", "deep/b"):
        draw(tmp_path / f"images/{name}.jpg", 2, 3)
    draw_mask(tmp_path / "masks/a.png", [[0, 1, 1], [255, 0, 0]], mode)
    draw_mask(tmp_path / "masks/deep/b.png", [[1, 1, 1], [0, 0, 0]], mode)
    samples = load(masked(tmp_path))
    assert samples.ids == ["a.jpg", "deep/b.jpg"]
    assert samples.classes == ("road", "sky")
    assert isinstance(samples.targets, torch.Tensor)
    assert samples.targets.tolist() == [[[0, 1, 1], [-100, 0, 0]], [[1, 1, 1], [0, 0, 0]]]


def test_masks_are_resized_without_new_numbers(tmp_path: Path) -> None:
    draw(tmp_path / "images/train/a.png", 4, 4)
    draw_mask(tmp_path / "masks/train/a.png", [[0, 0, 1, 1]] * 2 + [[255, 255, 0, 0]] * 2)
    samples = load(masked(tmp_path, size=2))
    assert samples.splits == ["train"]
    assert samples.targets.tolist() == [[[0, 1], [-100, 0]]]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("numbers", "mode", "message"),
    [
        ([[0, 1]], "L", "the mask 'a.png' is 1 × 2, and its image 2 × 2"),
        ([[0, 1], [2, 0]], "L", "the mask 'a.png' has the number 2, and there are 2 classes"),
        ([[0, 1], [1, 0]], "RGB", "the mask 'a.png' has 3 channels, wanted one number a pixel"),
    ],
)
def test_mask_is_refused_when(tmp_path: Path, numbers: list[list[int]], mode: str, message: str) -> None:
    draw(tmp_path / "images/a.png", 2, 2)
    draw_mask(tmp_path / "masks/a.png", numbers, mode)
    with pytest.raises(BadSourceError) as caught:
        load(masked(tmp_path))
    assert str(caught.value) == message


def test_image_without_a_mask_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "images/a.png", 2, 2)
    with pytest.raises(BadSourceError, match=r"'a\.png' cannot be read: No such file"):
        load(masked(tmp_path))
    with pytest.raises(BadSourceError, match=r"needs data\.source\.classes"):
        load(ImageFolder(str(tmp_path / "images"), masks=str(tmp_path)))


def test_digest_is_of_image_and_mask(tmp_path: Path) -> None:
    draw(tmp_path / "images/a.png", 2, 2)
    draw_mask(tmp_path / "masks/a.png", [[0, 1], [1, 0]])
    before = load(masked(tmp_path)).digests
    draw_mask(tmp_path / "masks/a.png", [[0, 1], [1, 1]])
    assert load(masked(tmp_path)).digests != before


def test_table_of_labels_is_described(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\n")
    source = ImageFolder(str(tmp_path), labels=str(tmp_path / "labels.csv"))
    assert source.describe() == ({"name": source.labels, "sha256": hashlib.sha256(b"file,label\n").hexdigest()},)


def test_image_of_more_than_8_bits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(np.arange(16, dtype=np.uint16).reshape(4, 4) * 4000).save(tmp_path / "a/a.png")
    with pytest.raises(BadSourceError, match=r"'a/a\.png' has more than 8 bits a channel \(I;16\)"):
        load(ImageFolder(str(tmp_path), colours="grey"))


def test_palette_with_transparency_is_an_image(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    image = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4), "P")
    image.putpalette(list(range(48)))
    image.save(tmp_path / "a/a.png", transparency=bytes(range(16)))
    assert load(ImageFolder(str(tmp_path))).inputs[0, :, 0, 1].tolist() == [3, 4, 5]
