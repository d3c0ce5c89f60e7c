"""Pictures of what a data set holds, drawn with Pillow: samples as images or lines, columns as histograms.

Which samples are drawn depends on the data alone: evenly spaced ones of the first split that has any.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from common.dataset import SPLITS, Dataset, read_names
from common.excerpts import space_evenly, take_numbers
from common.measures import Measures, find_channel_axis, find_unit, is_tokens, iterate_blocks, name_channels
from common.summary import Summary, find_target_kind

_NUM_A_CLASS = 8
_MAX_CLASSES = 20  # that are drawn, the first in the order of the metadata
_MAX_COLUMNS = 24
_MIN_BINS, _MAX_BINS = 8, 40
_TILE = 88  # pixels, of one sample
_PLOT = (220, 120)
_LINE_PLOT = (176, 64)
_MAX_POINTS = 1024  # of a line, evenly spaced
_MAX_LINES = 4  # channels of a sequence
_GAP = 8
_LONGEST_TEXT = 200  # characters
_CAPTION = 14  # pixels, of a line of text
_LEFT = 112  # of the names of classes
_INK, _PAPER, _DIM, _STRANGE = (32, 32, 32), (255, 255, 255), (120, 120, 120), (255, 0, 255)
# Okabe and Ito (2008): told apart by people of any colour vision.
_COLOURS = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (86, 180, 233), (120, 120, 0))
_SMALLEST_SIDE = 8  # pixels of a tile
_SMALLEST_IMAGE = 8  # pixels a side of what has two dimensions and is drawn as an image, not as lines


@dataclass(frozen=True)
class Row:
    """Samples that are drawn side by side."""

    title: str
    colour: tuple[int, int, int]  # of lines
    rows: Sequence[int]  # in the split


def draw_pictures(dataset: Dataset, summary: Summary, data_dir: Path, folder: Path) -> list[Path]:
    """Draw what there is to see of the dataset in `data_dir` into `folder`, which must exist; return the files.

    Tokens, and splits without samples, give no picture.
    """
    split = next((name for name in SPLITS if summary.splits[name].num_samples), None)
    shape = dataset.metadata.input_shape
    if split is None or is_tokens(dataset.metadata) or 0 in shape:
        return []
    if len(shape) < 2:
        picture, path = draw_histograms(dataset, summary), folder / "columns.png"
    else:
        rows = choose_rows(dataset, summary, split)
        tiles = draw_samples(dataset, summary, split, rows)
        names = read_names(data_dir, split, [row for part in rows for row in part.rows])
        picture, path = arrange(tiles, rows, names, f"{dataset.metadata.name}, {split}"), folder / "samples.png"
    if picture is None:
        return []
    picture.save(path)
    return [path]


def choose_rows(dataset: Dataset, summary: Summary, split: str) -> list[Row]:
    """Return a few samples of each class, evenly spaced; of targets that are no classes, of all samples."""
    metadata, targets = dataset.metadata, dataset.split(split).tensors[1]
    if find_target_kind(metadata) != "classes":
        places = space_evenly(summary.splits[split].num_samples, 4 * _NUM_A_CLASS).tolist()
        return [Row("", _INK, places[start : start + _NUM_A_CLASS]) for start in range(0, len(places), _NUM_A_CLASS)]
    counts = summary.splits[split].class_counts.tolist()
    drawn = [index for index, count in enumerate(counts) if count][:_MAX_CLASSES]
    wanted = {index: set(space_evenly(counts[index], _NUM_A_CLASS).tolist()) for index in drawn}
    found = _find_members(targets, wanted)
    return [
        Row(f"{metadata.classes[index]}\n{counts[index]:,}", _COLOURS[place % len(_COLOURS)], found[index])
        for place, index in enumerate(drawn)
    ]


def _find_members(targets: Tensor, wanted: dict[int, set[int]]) -> dict[int, list[int]]:
    """Return class → rows of those of its members that are wanted, which count from 0 in each class."""
    found: dict[int, list[int]] = {index: [] for index in wanted}
    seen = dict.fromkeys(wanted, 0)
    for first, block in iterate_blocks(targets):
        for index, places in wanted.items():
            members = (block == index).nonzero().flatten() if len(found[index]) < len(places) else torch.empty(0)
            inside = [place - seen[index] for place in sorted(places) if 0 <= place - seen[index] < len(members)]
            found[index] += [first + int(members[place]) for place in inside]
            seen[index] += len(members)
    return found


def draw_samples(dataset: Dataset, summary: Summary, split: str, rows: Sequence[Row]) -> list[list[Image.Image]]:
    """Return a picture of each sample; beside images whose targets are maps of classes, those."""
    inputs, targets, _ = dataset.split(split).tensors
    low, high = (bound / find_unit(dataset.metadata) for bound in find_range(summary.inputs))
    if is_sequence(dataset.metadata.input_shape):
        turned = inputs if find_channel_axis(dataset.metadata) == 1 else inputs.movedim(2, 1)
        return [[draw_lines(turned[row], low, high, part.colour) for row in part.rows] for part in rows]
    has_maps = find_target_kind(dataset.metadata) == "class maps"
    return [
        [
            _join([draw_image(inputs[row], low, high), *([draw_map(targets[row])] if has_maps else [])])
            for row in part.rows
        ]
        for part in rows
    ]


def is_sequence(shape: Sequence[int]) -> bool:
    """Say whether inputs of this shape are drawn as lines, and not as images."""
    return len(shape) == 2 and min(shape) < _SMALLEST_IMAGE


def find_range(inputs: Measures) -> tuple[float, float]:
    """Return what is drawn black and white: 0 and 1 where all numbers are between these.

    Else the smallest and the largest number, but none beyond four standard deviations from the mean of all channels.
    """
    if not int(inputs.num.sum()):
        return 0.0, 1.0
    low, high = float(inputs.low.min()), float(inputs.high.max())
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    low = max(low, float((inputs.mean - 4 * inputs.std).min()))
    high = min(high, float((inputs.mean + 4 * inputs.std).max()))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def draw_image(sample: Tensor, low: float, high: float) -> Image.Image:
    """Return (channels, height, width) or (height, width) as a picture; of volumes, the slice in the middle.

    1 channel is grey, 3 are red, green and blue, of 4 the last is how opaque it is; of others the first is drawn. What
    is not finite is magenta.
    """
    while sample.ndim > 3:
        sample = sample[:, sample.shape[1] // 2]
    sample = sample if sample.ndim == 3 else sample[None]
    channels = (sample if len(sample) in (3, 4) else sample[:1]).double().numpy()
    is_strange = ~np.isfinite(channels).all(axis=0)
    shown = np.nan_to_num((channels - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    if len(shown) == 4:
        shown = shown[:3] * shown[3] + (1 - shown[3])  # on white paper
    pixels = np.broadcast_to(np.moveaxis(shown, 0, -1), (*shown.shape[1:], 3)) * 255
    pixels = pixels.round().astype(np.uint8)
    pixels[is_strange] = _STRANGE
    return _fit(Image.fromarray(pixels))


def draw_map(target: Tensor) -> Image.Image:
    """Return classes (…, height, width) in colours, of volumes the slice in the middle; what is no class is white."""
    while target.ndim > 2:
        target = target[len(target) // 2]
    values = target.numpy()
    palette = np.array([*_COLOURS, _PAPER], dtype=np.uint8)
    places = np.where(values < 0, len(_COLOURS), values.astype(np.int64) % len(_COLOURS))
    return _fit(Image.fromarray(palette[np.atleast_2d(places)]))


def _fit(image: Image.Image) -> Image.Image:
    """Return a picture as large as a tile: enlarged by a whole number, its pixels sharp, or made smaller."""
    longest = max(image.size)
    if longest <= _TILE:
        factor = _TILE // longest
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    size = (max(_SMALLEST_SIDE, image.width * _TILE // longest), max(_SMALLEST_SIDE, image.height * _TILE // longest))
    return image.resize(size, Image.Resampling.BOX)


def _join(parts: Sequence[Image.Image]) -> Image.Image:
    """Return pictures side by side."""
    joined = Image.new("RGB", (sum(part.width for part in parts) + 2 * (len(parts) - 1), parts[0].height), _PAPER)
    left = 0
    for part in parts:
        joined.paste(part, (left, 0))
        left += part.width + 2
    return joined


def draw_lines(sample: Tensor, low: float, high: float, colour: tuple[int, int, int]) -> Image.Image:
    """Return the first channels of (channels, length) as lines, from `low` at the bottom to `high` at the top."""
    width, height = _LINE_PLOT
    picture = Image.new("RGB", _LINE_PLOT, (244, 244, 244))
    draw = ImageDraw.Draw(picture)
    places = space_evenly(sample.shape[1], _MAX_POINTS)
    across = places.numpy() / max(1, sample.shape[1] - 1) * (width - 1)
    for number, channel in enumerate(sample[:_MAX_LINES, places].double().numpy()):
        up = (1 - (channel - low) / (high - low)) * (height - 1)
        is_fine = np.isfinite(up)
        ink = colour if len(sample) == 1 else _COLOURS[number % len(_COLOURS)]
        if is_fine.any():
            draw.line(list(zip(across[is_fine].tolist(), up[is_fine].tolist(), strict=True)), fill=ink)
    return picture


def arrange(
    tiles: Sequence[Sequence[Image.Image]], rows: Sequence[Row], names: Sequence[str], title: str
) -> Image.Image:
    """Return one sheet: a line of tiles for each row, its title at the left, the name of a sample below each."""
    width = max(tile.width for part in tiles for tile in part) + _GAP
    heights = [max(tile.height for tile in part) + _CAPTION + _GAP for part in tiles]
    left = _LEFT if any(row.title for row in rows) else _GAP
    size = (left + width * max(map(len, tiles)) + _GAP, sum(heights) + _CAPTION + 2 * _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw, top, remaining = ImageDraw.Draw(sheet), _CAPTION + 2 * _GAP, iter(names)
    _write(draw, (_GAP, _GAP), title, size[0] - 2 * _GAP, _INK)
    for part, row, height in zip(tiles, rows, heights, strict=True):
        for line, text in enumerate(row.title.rsplit("\n", 1)):
            _write(draw, (_GAP, top + line * _CAPTION), text, left - 2 * _GAP, _DIM if line else _INK)
        for place, tile in enumerate(part):
            corner = (left + place * width, top)
            sheet.paste(tile, corner)
            _write(draw, (corner[0], top + tile.height), next(remaining), width - _GAP, _DIM, keeps_end=True)
        top += height
    return sheet


def draw_histograms(dataset: Dataset, summary: Summary) -> Image.Image | None:
    """Return a histogram of each of the first columns, of evenly spaced train samples, a line for each class.

    Every line has the same area, so that classes of different size compare. None where there are no numbers.
    """
    values, num_samples = take_numbers(dataset, "inputs")
    if not num_samples:
        return None
    labels, names = _read_labels(dataset, num_samples)
    columns = name_channels(dataset.metadata)[:_MAX_COLUMNS]
    num_across = min(4, len(columns))
    width, height = _PLOT[0] + 2 * _GAP, _PLOT[1] + 2 * _CAPTION + 2 * _GAP
    top = 2 * _CAPTION + 2 * _GAP
    size = (max(480, num_across * width + _GAP), top + -(-len(columns) // num_across) * height)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    more = len(values) - len(columns)
    count = f"{dataset.metadata.name}: {num_samples:,} of {summary.splits['train'].num_samples:,} train samples"
    _write(draw, (_GAP, _GAP), count + (f"; {more:,} more columns" if more else ""), size[0], _INK)
    _write_legend(draw, names, size[0])
    for place, (column, numbers) in enumerate(zip(columns, values, strict=False)):
        corner = (_GAP + place % num_across * width, top + place // num_across * height)
        _draw_histogram(draw, corner, column, numbers, labels)
    return sheet


def _read_labels(dataset: Dataset, num_samples: int) -> tuple[Any, list[str]]:
    """Return (samples,) which line each sample counts for, and the names of the lines: one, of many classes."""
    metadata, targets = dataset.metadata, dataset.train.tensors[1]
    if find_target_kind(metadata) != "classes":
        return np.zeros(num_samples, dtype=np.int64), ["all"]
    labels = targets[space_evenly(len(targets), num_samples)].numpy()
    drawn, places = np.unique(labels, return_inverse=True)
    if len(drawn) > len(_COLOURS):
        return np.zeros(num_samples, dtype=np.int64), [f"all of {len(metadata.classes):,} classes"]
    return places, [metadata.classes[index] for index in drawn]


def _write_legend(draw: ImageDraw.ImageDraw, names: Sequence[str], width: int) -> None:
    left = _GAP
    for place, name in enumerate(names):
        left += _write(draw, (left, _GAP + _CAPTION), name, min(160, width - left), _COLOURS[place]) + 2 * _GAP


def _draw_histogram(draw: ImageDraw.ImageDraw, corner: tuple[int, int], title: str, numbers: Any, labels: Any) -> None:
    left, top = corner
    width, height = _PLOT
    _write(draw, (left, top), title, width, _INK)
    top += _CAPTION
    draw.rectangle((left, top, left + width, top + height), outline=(210, 210, 210))
    is_finite = np.isfinite(numbers)
    if not is_finite.any():
        return
    low, high = float(numbers[is_finite].min()), float(numbers[is_finite].max())
    num_bins = min(_MAX_BINS, max(_MIN_BINS, math.isqrt(len(numbers))))
    edges = np.linspace(low, high, num_bins + 1) if high > low else np.linspace(low - 0.5, low + 0.5, num_bins + 1)
    shares = []
    for label in range(int(labels.max()) + 1):
        counts, _ = np.histogram(numbers[is_finite & (labels == label)], edges)
        shares.append(counts / max(1, counts.sum()))
    highest = max(float(share.max()) for share in shares) or 1.0
    for label, share in enumerate(shares):
        across = np.repeat(np.linspace(left, left + width, num_bins + 1), 2)[1:-1]
        up = np.repeat(top + height - share / highest * (height - 4), 2)
        draw.line(list(zip(across.tolist(), up.tolist(), strict=True)), fill=_COLOURS[label])
    _write(draw, (left, top + height), f"{low:.4g}", width // 2, _DIM)
    text = f"{high:.4g}"
    _write(draw, (int(left + width - _font().getlength(text)), top + height), text, width // 2, _DIM)


def _write(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, width: int, colour: Any, *, keeps_end: bool = False
) -> int:
    """Write as much of a text as fits, on one line, and return how wide it is. Of a path the end tells more."""
    text = text[-_LONGEST_TEXT:] if keeps_end else text[:_LONGEST_TEXT]
    line = "".join(character if character.isprintable() else "?" for character in text)
    font, dots = _font(), ""
    while line and font.getlength(f"{line}{dots}") > width:
        line, dots = line[1:] if keeps_end else line[:-1], "…"
    line = f"{dots}{line}" if keeps_end else f"{line}{dots}"
    draw.text(corner, line, fill=colour, font=font)
    return int(font.getlength(line))


def _font() -> Any:
    return ImageFont.load_default(11)
