"""The test samples that a model was most wrong about, with their images."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.reports.scores import CORRECT, SampleScores
from pipeline.tensorfiles import read_tensor_places

_NUM = 12
_KINDS = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "U8": "u1", "I64": "<i8", "I32": "<i4"}
_LOSS = "cross_entropy"


@dataclass(frozen=True)
class Mistake:
    """A test sample that was taken for another class."""

    id: int
    actual: str
    predicted: str
    loss: float
    image: str  # as a data: URL


def find_mistakes(
    scores: SampleScores, predictions: Path, data: Path, metadata: Mapping[str, Any], seed: int
) -> list[Mistake]:
    """Return the mistakes of the greatest loss; none where inputs are no images, or something is not here.

    `predictions` is the file that `scores` are of, `data` the folder of the prepared data. Raises ValueError or OSError
    for damaged files.
    """
    shape, classes = metadata["input_shape"], metadata["classes"]
    of_seed = scores.by_seed.get(seed, {})
    is_image = len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) >= 4
    if not is_image or not classes or not {CORRECT, _LOSS} <= of_seed.keys():
        return []
    wrong = np.flatnonzero(of_seed[CORRECT] == 0)
    worst = wrong[np.argsort(-of_seed[_LOSS][wrong], kind="stable")][:_NUM]
    targets, logits = _map(predictions, "targets"), _map(predictions, "logits")
    inputs, ids = _map(data / "test/inputs.safetensors", "inputs"), _map(data / "test/ids.safetensors", "ids")
    places = {int(found): place for place, found in enumerate(ids)}
    return [
        Mistake(
            int(scores.ids[row]),
            str(classes[int(targets[row])]),
            str(classes[int(np.argmax(logits[row]))]),
            float(of_seed[_LOSS][row]),
            _encode(np.asarray(inputs[places[int(scores.ids[row])]])),
        )
        for row in worst.tolist()
        if int(scores.ids[row]) in places
    ]


def _map(path: Path, name: str) -> np.ndarray:
    """Return a tensor of a safetensors file, mapped into memory. Raises ValueError where there is none of this name."""
    places = list(read_tensor_places(path))
    end = max(place.end for place in places)
    found = next((place for place in places if place.name == name and place.dtype in _KINDS), None)
    if found is None:
        raise ValueError(f"{path} has no tensor '{name}' that is read here")
    start = path.stat().st_size - end + found.start
    mapped: np.ndarray = np.memmap(path, _KINDS[found.dtype], "r", start, found.shape)
    return mapped


def _encode(pixels: np.ndarray) -> str:
    """Return (channels, height, width) as a PNG, from its smallest number, black, to its greatest."""
    if pixels.dtype != np.uint8:
        values = np.nan_to_num(pixels.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        span = float(np.ptp(values)) or 1.0
        pixels = ((values - values.min()) / span * 255).astype(np.uint8)
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
