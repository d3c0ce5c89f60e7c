"""Pictures of what a data set holds, drawn with Pillow: samples as images or lines, columns as histograms.

Which samples are drawn depends on the data alone: evenly spaced ones of the first split that has any.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from common.dataset import SPLITS, Dataset, read_names
from common.drift import space_evenly, take_numbers
from common.measures import find_channel_axis, find_unit, is_tokens, iterate_blocks, name_channels
from common.summary import Summary, find_target_kind

_NUM_A_CLASS = 8
_MAX_CLASSES = 20  # that are drawn, the first in the order of the metadata
_MAX_COLUMNS = 24
_NUM_BINS = 40
_TILE = 88  # pixels, of one sample
_PLOT = (220, 120)
_LINE_PLOT = (176, 64)
_MAX_POINTS = 1024  # of a line, evenly spaced
_MAX_LINES = 4  # channels of a sequence
_GAP = 8
_CAPTION = 14  # pixels, of a line of text
_LEFT = 112  # of the names of classes
_INK, _PAPER, _DIM, _STRANGE = (32, 32, 32), (255, 255, 255), (120, 120, 120), (255, 0, 255)
# Okabe and Ito (2008): told apart by people of any colour vision.
_COLOURS = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (86, 180, 233), (120, 120, 0))
_SMALLEST_IMAGE = 8  # pixels a side of what has two dimensions and is drawn as an image, not as lines


@dataclass(frozen=True)
class Row:
    """Samples that are drawn side by side."""

    title: str
    colour: tuple[int, int, int]
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
        tiles = draw_samples(dataset, split, rows)
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


def draw_samples(dataset: Dataset, split: str, rows: Sequence[Row]) -> list[list[Image.Image]]:
    """Return a picture of each sample."""
    inputs, targets, _ = dataset.split(split).tensors
    unit = find_unit(dataset.metadata)
    chosen = {row: inputs[row].double().numpy() * unit for part in rows for row in part.rows}
    low, high = find_range(chosen.values())
    if is_sequence(dataset.metadata.input_shape):
        axis = find_channel_axis(dataset.metadata)
        lines = {row: values if axis == 1 else values.T for row, values in chosen.items()}
        return [[draw_lines(lines[row], low, high, part.colour) for row in part.rows] for part in rows]
    has_maps = find_target_kind(dataset.metadata) == "class maps"
    return [
        [
            _join([draw_image(chosen[row], low, high), *([draw_map(targets[row].numpy())] if has_maps else [])])
            for row in part.rows
        ]
        for part in rows
    ]


def is_sequence(shape: Sequence[int]) -> bool:
    """Say whether inputs of this shape are drawn as lines, and not as images."""
    return len(shape) == 2 and min(shape) < _SMALLEST_IMAGE


def find_range(samples: Iterable[Any]) -> tuple[float, float]:
    """Return what is drawn black and white: 0 and 1 where all numbers are between these, else smallest and largest."""
    finite = [values[np.isfinite(values)] for values in samples]
    low = min((float(values.min()) for values in finite if values.size), default=0.0)
    high = max((float(values.max()) for values in finite if values.size), default=1.0)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def draw_image(values: Any, low: float, high: float) -> Image.Image:
    """Return (channels, height, width) or (height, width) as a picture; of volumes, the slice in the middle.

    1 channel is grey, 3 are red, green and blue, of 4 the last is how opaque it is; of others the first is drawn. What
    is not finite is magenta.
    """
    while values.ndim > 3:
        values = values[:, values.shape[1] // 2]
    channels = values if values.ndim == 3 else values[None]
    if len(channels) not in (3, 4):
        channels = channels[:1]
    is_strange = ~np.isfinite(channels).all(axis=0)
    shown = np.nan_to_num((channels - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    if len(shown) == 4:
        shown = shown[:3] * shown[3] + (1 - shown[3])  # on white paper
    pixels = np.broadcast_to(np.moveaxis(shown, 0, -1), (*shown.shape[1:], 3)) * 255
    pixels = pixels.round().astype(np.uint8)
    pixels[is_strange] = _STRANGE
    return _fit(Image.fromarray(pixels))


def draw_map(values: Any) -> Image.Image:
    """Return classes (height, width), perhaps below dimensions of one, in colours; what is no class is white."""
    while values.ndim > 2:
        values = values[0]
    palette = np.array([*_COLOURS, _PAPER], dtype=np.uint8)
    places = np.where(values < 0, len(_COLOURS), values.astype(np.int64) % len(_COLOURS))
    return _fit(Image.fromarray(palette[np.atleast_2d(places)]))


def _fit(image: Image.Image) -> Image.Image:
    """Return a picture as large as a tile: enlarged by a whole number, its pixels sharp, or made smaller."""
    longest = max(image.size)
    if longest <= _TILE:
        factor = _TILE // longest
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    size = (max(1, image.width * _TILE // longest), max(1, image.height * _TILE // longest))
    return image.resize(size, Image.Resampling.BOX)


def _join(parts: Sequence[Image.Image]) -> Image.Image:
    """Return pictures side by side."""
    joined = Image.new("RGB", (sum(part.width for part in parts) + 2 * (len(parts) - 1), parts[0].height), _PAPER)
    left = 0
    for part in parts:
        joined.paste(part, (left, 0))
        left += part.width + 2
    return joined


def draw_lines(values: Any, low: float, high: float, colour: tuple[int, int, int]) -> Image.Image:
    """Return the first channels of (channels, length) as lines, from `low` at the bottom to `high` at the top."""
    width, height = _LINE_PLOT
    picture = Image.new("RGB", _LINE_PLOT, (244, 244, 244))
    draw = ImageDraw.Draw(picture)
    places = space_evenly(values.shape[1], _MAX_POINTS).numpy()
    for number, channel in enumerate(values[:_MAX_LINES]):
        across = places / max(1, values.shape[1] - 1) * (width - 1)
        up = (1 - (channel[places] - low) / (high - low)) * (height - 1)
        is_fine = np.isfinite(up)
        ink = colour if len(values) == 1 else _COLOURS[number % len(_COLOURS)]
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
            _write(draw, (_GAP, top + line * _CAPTION), text, left - 2 * _GAP, _DIM if line else row.colour)
        for place, tile in enumerate(part):
            corner = (left + place * width, top)
            sheet.paste(tile, corner)
            _write(draw, (corner[0], top + tile.height), next(remaining), width - _GAP, _DIM)
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
    """Return (samples,) which line each sample counts for, and the names of the lines; -1 counts for none."""
    metadata, targets = dataset.metadata, dataset.train.tensors[1]
    if find_target_kind(metadata) != "classes":
        return np.zeros(num_samples, dtype=np.int64), ["all"]
    labels = targets[space_evenly(len(targets), num_samples)].numpy()
    drawn = [index for index in range(len(metadata.classes)) if (labels == index).any()][: len(_COLOURS)]
    places = np.full(max(len(metadata.classes), int(labels.max()) + 1), -1)
    places[drawn] = np.arange(len(drawn))
    names = [metadata.classes[index] for index in drawn]
    left_out = len(metadata.classes) - len(drawn)
    return places[labels], names + ([f"({left_out:,} more classes are not drawn)"] if left_out else [])


def _write_legend(draw: ImageDraw.ImageDraw, names: Sequence[str], width: int) -> None:
    left = _GAP
    for place, name in enumerate(names):
        colour = _COLOURS[place] if place < len(_COLOURS) else _DIM
        left += _write(draw, (left, _GAP + _CAPTION), name, min(160, width - left), colour) + 2 * _GAP


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
    edges = np.linspace(low, high, _NUM_BINS + 1) if high > low else np.linspace(low - 0.5, low + 0.5, _NUM_BINS + 1)
    shares = []
    for label in range(int(labels.max()) + 1):
        counts, _ = np.histogram(numbers[is_finite & (labels == label)], edges)
        shares.append(counts / max(1, counts.sum()))
    highest = max(float(share.max()) for share in shares) or 1.0
    for label, share in enumerate(shares):
        across = np.repeat(np.linspace(left, left + width, _NUM_BINS + 1), 2)[1:-1]
        up = np.repeat(top + height - share / highest * (height - 4), 2)
        draw.line(list(zip(across.tolist(), up.tolist(), strict=True)), fill=_COLOURS[label])
    _write(draw, (left, top + height), f"{low:.4g}", width // 2, _DIM)
    text = f"{high:.4g}"
    _write(draw, (int(left + width - _font().getlength(text)), top + height), text, width // 2, _DIM)


def _write(draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, width: int, colour: Any) -> int:
    """Write as much of a text as fits, on one line, and return how wide it is."""
    line = "".join(character if character.isprintable() else "?" for character in text[:200])
    font = _font()
    if font.getlength(line) > width:
        while line and font.getlength(f"{line}…") > width:
            line = line[:-1]
        line += "…"
    draw.text(corner, line, fill=colour, font=font)
    return int(font.getlength(line))


def _font() -> Any:
    return ImageFont.load_default(11)
