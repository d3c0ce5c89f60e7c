"""Pictures of a data set, read back pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from common import measures, pictures
from common.dataset import Dataset
from common.pictures import choose_rows, draw_image, draw_lines, draw_map, draw_pictures, find_range
from common.samples import Samples
from common.summary import summarise
from tests.datasets import write_samples

HOSTILE = ("\x1b[31mred", "[bold]b[/bold]", "x" * 5000, "a\nb", "日本", "")


def draw(folder: Path, samples: Samples, splits: str = "") -> tuple[Dataset, list[Path]]:
    """Write samples as a dataset and draw it."""
    dataset = write_samples(folder / "data", samples, splits)
    return dataset, draw_pictures(dataset, summarise(dataset), folder / "data", folder)


def read_corner(image: Image.Image) -> tuple[int, ...]:
    """Return the colour at the top left."""
    colour = image.getpixel((0, 0))
    assert isinstance(colour, tuple)
    return colour


@pytest.mark.parametrize(
    ("pixel", "colour"),
    [
        ([0.5], (128, 128, 128)),
        ([1.0, 0.0, 0.2], (255, 0, 51)),
        ([1.0, 0.0, 0.0, 0.0], (255, 255, 255)),
        ([1.0, 0.0, 0.0, 1.0], (255, 0, 0)),
        ([0.2, 1.0], (51, 51, 51)),
        ([9.0], (255, 255, 255)),
        ([torch.inf, 0.0, 0.0], (255, 0, 255)),
        ([torch.nan], (255, 0, 255)),
    ],
)
def test_pixels_have_the_colours_of_their_channels(pixel: list[float], colour: tuple[int, ...]) -> None:
    assert read_corner(draw_image(torch.tensor(pixel).view(-1, 1, 1).expand(-1, 4, 4), 0.0, 1.0)) == colour


def test_bytes_and_signed_numbers_are_drawn_in_their_range() -> None:
    assert read_corner(draw_image(torch.full((1, 2, 2), 51, dtype=torch.uint8), 0.0, 255.0)) == (51, 51, 51)
    assert read_corner(draw_image(torch.zeros(1, 2, 2), -1.0, 1.0)) == (128, 128, 128)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 8, 8), (88, 88)),
        ((3, 200, 1000), (88, 17)),
        ((2, 5, 300), (88, 8)),
        ((16, 24), (72, 48)),
        ((1, 1, 1), (88, 88)),
    ],
)
def test_every_shape_becomes_a_tile(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    assert draw_image(torch.rand(shape), 0.0, 1.0).size == size


def test_slice_in_the_middle_of_a_volume_is_drawn() -> None:
    volume = torch.zeros(1, 5, 2, 2)
    volume[0, 2] = 1.0
    assert read_corner(draw_image(volume, 0.0, 1.0)) == (255, 255, 255)


def test_classes_of_a_map_have_colours_and_what_is_none_is_white() -> None:
    image = draw_map(torch.tensor([[-100, 0], [1, 7]]))
    corners = [image.getpixel((x, y)) for y in (0, 87) for x in (0, 87)]
    assert corners[0] == (255, 255, 255)
    assert corners[1] == corners[3] != corners[2]  # there are seven colours


def test_range_is_that_of_all_numbers_but_for_outliers() -> None:
    assert find_range(measures.measure(torch.rand(9, 2), 1)) == (0.0, 1.0)
    assert find_range(measures.measure(torch.tensor([[-1.0], [3.0]]), 1)) == (-1.0, 3.0)
    assert find_range(measures.measure(torch.full((3, 1), 7.0), 1)) == (6.5, 7.5)
    assert find_range(measures.measure(torch.full((3, 1), torch.nan), 1)) == (0.0, 1.0)
    numbers = torch.linspace(-1, 1, 10_000)[:, None]
    numbers[0] = 1e6
    low, high = find_range(measures.measure(numbers, 1))
    assert (low, high) == (pytest.approx(-1, abs=0.01), pytest.approx(40_000, rel=0.1))


@pytest.mark.parametrize("size", [3, 2**20])
def test_members_of_each_class_are_evenly_spaced_whatever_the_blocks(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "_NUM_AT_ONCE", size)
    monkeypatch.setattr(pictures, "_NUM_A_CLASS", 3)
    targets = torch.tensor([0, 0, 0, 0, 1, 0, 0, 1, 3])
    samples = Samples(torch.rand(9, 1, 2, 2), targets, torch.arange(9), ("a", "b", "c", "d"))
    dataset = write_samples(tmp_path / "data", samples)
    rows = choose_rows(dataset, summarise(dataset), "train")
    assert [(row.title, list(row.rows)) for row in rows] == [("a\n6", [0, 2, 6]), ("b\n2", [4, 7]), ("d\n1", [8])]


def test_sheet_shows_the_images_of_a_class_side_by_side(tmp_path: Path) -> None:
    shades = torch.tensor([0.0, 0.2, 0.4, 1.0]).view(4, 1, 1, 1).expand(-1, 1, 8, 8)
    _, (path,) = draw(tmp_path, Samples(shades, ["b", "a", "a", "b"], torch.arange(4)))
    with Image.open(path) as sheet:
        drawn = np.asarray(sheet.convert("L"))
    middles = [int(drawn[y + 44, 112 + x * 96 + 44]) for y in (30, 140) for x in (0, 1)]
    assert middles == [51, 102, 0, 255]


def test_equal_data_have_equal_pictures(tmp_path: Path) -> None:
    samples = Samples(torch.rand(30, 3, 9, 9), ["a", "b", "c"] * 10, torch.arange(30))
    pictures_drawn = [draw(tmp_path / name, samples)[1][0].read_bytes() for name in "ab"]
    assert pictures_drawn[0] == pictures_drawn[1]


@pytest.mark.parametrize("shape", [(4,), (1, 6, 6), (2, 50)])
def test_names_that_anybody_chose_are_drawn(tmp_path: Path, shape: tuple[int, ...]) -> None:
    count = len(HOSTILE)
    samples = Samples(torch.rand(count, *shape), torch.arange(count), list(HOSTILE), HOSTILE, input_names=HOSTILE[:4])
    _, (path,) = draw(tmp_path, samples)
    with Image.open(path) as sheet:
        assert max(sheet.size) < 1200


@pytest.mark.parametrize("shape", [(4,), (1, 6, 6), (1, 50)])
def test_ten_thousand_classes_make_no_large_picture(tmp_path: Path, shape: tuple[int, ...]) -> None:
    classes = tuple(f"class {place}" for place in range(10_000))
    samples = Samples(torch.rand(10_000, *shape), torch.arange(10_000), torch.arange(10_000), classes)
    _, (path,) = draw(tmp_path, samples)
    with Image.open(path) as sheet:
        assert max(sheet.size) < 2500


@pytest.mark.parametrize(
    "inputs",
    [
        torch.rand(5),
        torch.ones(5, 2),
        torch.full((5, 2), torch.nan),
        torch.rand(5, 60) > 0.5,
        torch.rand(5, 1, 4, 4).bfloat16(),
        torch.full((5, 1, 4, 4), torch.nan),
        torch.full((5, 1, 20), torch.inf),
        torch.rand(5, 30, 2),
        torch.rand(5, 1),
    ],
)
def test_odd_inputs_are_drawn(tmp_path: Path, inputs: Tensor) -> None:
    _, (path,) = draw(tmp_path, Samples(inputs, torch.rand(5), torch.arange(5)))
    with Image.open(path) as picture:
        picture.load()


@pytest.mark.parametrize(
    "targets", [torch.zeros(3, 4, 4, dtype=torch.int64), torch.zeros(3, 1, 4, 4, dtype=torch.uint8)]
)
def test_maps_stand_beside_their_images(tmp_path: Path, targets: Tensor) -> None:
    _, (path,) = draw(tmp_path, Samples(torch.rand(3, 3, 4, 4), targets, torch.arange(3), ("a", "b")))
    with Image.open(path) as sheet:
        assert sheet.width == 3 * (88 + 2 + 88 + 8) + 16


def test_first_split_with_samples_is_drawn(tmp_path: Path) -> None:
    _, paths = draw(tmp_path, Samples(torch.rand(2, 1, 4, 4), ["a", "b"], torch.arange(2)), "ss")
    assert [path.name for path in paths] == ["samples.png"]


def test_tokens_and_columns_without_train_samples_have_no_picture(tmp_path: Path) -> None:
    assert draw(tmp_path / "a", Samples(torch.ones(2, 5, dtype=torch.int64), ["a", "b"], torch.arange(2)))[1] == []
    assert draw(tmp_path / "b", Samples(torch.rand(2, 5), ["a", "b"], torch.arange(2)), "vs")[1] == []


def test_line_goes_up_where_numbers_do() -> None:
    drawn = np.asarray(draw_lines(torch.linspace(-1, 1, 5000)[None], -1.0, 1.0, (255, 0, 0)))
    is_line = (drawn == (255, 0, 0)).all(axis=2)
    assert (is_line[-1, 0], is_line[0, -1], is_line[0, 0]) == (True, True, False)
