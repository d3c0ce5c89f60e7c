"""Samples that look alike."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from common.likeness import find_alike, find_likenesses

GENERATOR = torch.Generator().manual_seed(0)


def draw(num: int) -> Tensor:
    """Return images with soft spots."""
    spots = 255 * torch.rand(num, 3, 6, 6, generator=GENERATOR)
    return functional.interpolate(spots, (64, 64), mode="bicubic").clamp(0, 255).to(torch.uint8)


def compress(image: Tensor) -> Tensor:
    """Return an image as JPEG leaves it."""
    stream = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(stream, "JPEG", quality=60)
    return torch.from_numpy(np.asarray(Image.open(stream)).copy()).permute(2, 0, 1)


def find_pairs(first: Tensor, second: Tensor) -> list[list[int]]:
    """Return the pairs of a sample of the first and one of the second."""
    likenesses = torch.cat([first, second])
    groups = torch.arange(2).repeat_interleave(torch.tensor([len(first), len(second)]))
    return find_alike(likenesses, groups, torch.arange(len(likenesses))).tolist()  # type: ignore[no-any-return]


def test_images_are_alike_when_one_is_the_other_compressed_or_brighter() -> None:
    images = draw(100)
    changed = torch.stack([compress(image) for image in images])
    changed[50:] = (0.9 * images[50:].float()).to(torch.uint8)
    found = find_pairs(*map(_hash, (images, changed)))
    assert len([pair for pair in found if pair[1] - pair[0] == 100]) >= 98
    assert not [pair for pair in found if pair[1] - pair[0] != 100]


def _hash(inputs: object) -> Tensor:
    found = find_likenesses(inputs)
    assert found is not None
    return found


def test_type_of_an_image_does_not_matter() -> None:
    images = draw(20)
    assert len(find_pairs(_hash(images), _hash(images.float() / 255))) == 20


def test_texts_are_alike_when_their_words_are_the_same() -> None:
    texts = ["A cat, sat.", "a cat sat", "a cat sits", "", "?!"]
    found = _hash(texts)
    assert found[0] == found[1] != found[2]
    assert found[3:].tolist() == [0, 0]


def test_what_has_no_contours_is_like_nothing() -> None:
    assert find_pairs(_hash(torch.zeros(3, 1, 20, 20)), _hash(torch.ones(3, 1, 20, 20))) == []


@pytest.mark.parametrize(
    "inputs", [torch.zeros(2, 5), torch.zeros(2, 1, 8, 8), torch.zeros(2, 20, 20), torch.zeros(2, 1, 20, 20).long()]
)
def test_other_inputs_have_no_likeness(inputs: Tensor) -> None:
    assert find_likenesses(inputs) is None


def test_rows_of_one_group_and_the_same_rows_are_no_pairs() -> None:
    likenesses = torch.tensor([5, 5, 4, 7 << 40])
    assert find_alike(likenesses, torch.zeros(4), torch.arange(4)).tolist() == []
    assert find_alike(likenesses, torch.arange(4), torch.tensor([1, 1, 2, 3])).tolist() == [[0, 2], [1, 2]]


@pytest.mark.parametrize(("num_bits", "is_found"), [(3, True), (4, False)])
def test_up_to_three_bits_may_differ_wherever_they_are(num_bits: int, is_found: bool) -> None:
    generator = np.random.default_rng(0)
    first = torch.from_numpy(generator.integers(-(2**62), 2**62, 200))
    flips = [sum(1 << int(place) for place in generator.choice(62, num_bits, replace=False)) for _ in range(200)]
    found = find_pairs(first, first ^ torch.tensor(flips))
    assert len(found) == (200 if is_found else 0)
