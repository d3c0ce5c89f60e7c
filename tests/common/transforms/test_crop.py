"""The centre of images."""

import pytest
import torch
from torch import Tensor

from common.samples import BadSourceError, Samples
from common.transforms.crop import Crop


def crop(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Return the centres of the images."""
    inputs: Tensor = Crop(size)(Samples(images, torch.zeros(len(images)), torch.arange(len(images)))).inputs
    return inputs


def test_centre_is_what_is_left() -> None:
    images = torch.arange(20, dtype=torch.uint8).view(1, 1, 4, 5)
    assert crop(images, 2).tolist() == [[[[6, 7], [11, 12]]]]
    assert crop(images, (2, 1)).tolist() == [[[[7], [12]]]]
    assert torch.equal(crop(images, (4, 5)), images)


def test_images_are_refused_when_they_are_smaller() -> None:
    for size in (5, (4, 6)):
        with pytest.raises(BadSourceError, match=r"'crop' wants . × . pixels, and images are 4 × 5"):
            crop(torch.zeros(1, 1, 4, 5), size)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(BadSourceError, match="'crop' wants images"):
        crop(torch.zeros(2, 8, 8), 4)


def test_masks_are_cropped_as_their_images_are() -> None:
    numbers = torch.arange(16).view(1, 4, 4)
    found = Crop(2)(Samples(numbers[:, None].float(), numbers, torch.zeros(1)))
    assert torch.equal(found.inputs[:, 0].long(), found.targets)  # type: ignore[arg-type]
    assert found.targets.tolist() == [[[5, 6], [9, 10]]]  # type: ignore[union-attr]
