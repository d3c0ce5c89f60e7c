"""Images of another size."""

import pytest
import torch
from torch import Tensor

from common.samples import BadSourceError, Samples
from common.transforms.resize import Resize


def resize(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Return the images of that size."""
    inputs: Tensor = Resize(size)(Samples(images, torch.zeros(len(images)), torch.arange(len(images)))).inputs
    return inputs


def test_images_get_height_and_width() -> None:
    images = torch.zeros(2, 7, 8, 10, dtype=torch.uint8)
    assert resize(images, 4).shape == (2, 7, 4, 4)
    assert resize(images, (5, 20)).shape == (2, 7, 5, 20)


def test_images_keep_their_dtype_and_mean() -> None:
    columns = torch.tensor([0, 200], dtype=torch.uint8).repeat(4)  # every second one is bright
    images = columns.expand(1, 1, 8, 8)
    found = resize(images, 2)
    assert found.dtype == torch.uint8
    assert found.float().mean().item() == pytest.approx(100, abs=1)
    assert torch.equal(resize(images.float(), 8), images.float())


@pytest.mark.parametrize(
    "inputs", [torch.zeros(2, 8, 8), torch.zeros(2, 3, 8, 8).long(), torch.zeros(2, 3, 8, 8).bool(), ["a", "b"]]
)
def test_what_is_no_image_is_refused(inputs: Tensor) -> None:
    with pytest.raises(BadSourceError, match="'resize' wants images"):
        resize(inputs, 4)


def test_masks_have_the_nearest_number_of_their_image() -> None:
    mask = torch.tensor([[[0, 7], [-100, 3]]])
    found = Resize(4)(Samples(torch.zeros(1, 3, 2, 2), mask, torch.zeros(1))).targets
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.int64
    assert found[0, :2].tolist() == [[0, 0, 7, 7], [0, 0, 7, 7]]
    assert found[0, 3].tolist() == [-100, -100, 3, 3]
