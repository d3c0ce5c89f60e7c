"""The numbers of each test sample that an evaluation left, for statistics on pairs."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.tensorfiles import TensorPlace, read_tensor_places

# What a metric's value is the mean of, where it has no scores of its own name.
CORRECT = "correct"
_MEANS_OF_CORRECT = re.compile(r'(Multiclass|Binary)?Accuracy\((?!.*average="(macro|weighted|none)")')
_NAME = re.compile(r"(?:seed_(-?\d+)\.)?scores\.(.+)")


@dataclass(frozen=True)
class SampleScores:
    """Numbers of each test sample, in the order of its ids."""

    ids: np.ndarray  # (samples,) int64
    by_seed: Mapping[int, Mapping[str, np.ndarray]]  # seed → name → (samples,) float64

    def of(self, metric: str, definition: str) -> dict[int, np.ndarray]:
        """Return seed → (samples,) whose mean a metric is, as its name or its definition says; where there are any."""
        named = {seed: scores[metric] for seed, scores in self.by_seed.items() if metric in scores}
        if named or not _MEANS_OF_CORRECT.match(definition):
            return named
        return {seed: scores[CORRECT] for seed, scores in self.by_seed.items() if CORRECT in scores}


def read_scores(path: Path, seed: int) -> SampleScores:
    """Return the scores in a predictions.safetensors, the first of which are those of `seed`.

    Raises ValueError, in one line, and OSError where it cannot be read.
    """
    places = {place.name: place for place in read_tensor_places(path)}
    if "ids" not in places:
        raise ValueError("it has no 'ids'")
    with path.open("rb") as file:
        start = file.seek(-max(place.end for place in places.values()), os.SEEK_END)
        return _read_scores(file, start, places, seed)


def _read_scores(file: BinaryIO, start: int, places: Mapping[str, TensorPlace], seed: int) -> SampleScores:
    """Return the scores at these places, of which those of the first seed have no number."""
    ids = _read(file, start, places["ids"], "I64")
    if ids.ndim != 1 or not ids.size:
        raise ValueError(f"'ids' has the shape {list(ids.shape)}, wanted one a sample")
    by_seed: dict[int, dict[str, np.ndarray]] = {}
    for name, place in places.items():
        if not (match := _NAME.fullmatch(name)):
            continue
        scores = _read(file, start, place, "F64")
        if scores.shape != ids.shape:
            raise ValueError(f"'{name}' has the shape {list(scores.shape)}, wanted {list(ids.shape)}: one a sample")
        if not np.isfinite(scores).all():
            raise ValueError(f"'{name}' has numbers that are not finite")
        by_seed.setdefault(int(match[1]) if match[1] else seed, {})[match[2]] = scores
    return SampleScores(ids, by_seed)


def _read(file: BinaryIO, start: int, place: TensorPlace, dtype: str) -> np.ndarray:
    if place.dtype != dtype:
        raise ValueError(f"'{place.name}' is {place.dtype}, wanted {dtype}")
    kind = np.dtype({"I64": "<i8", "F64": "<f8"}[dtype])
    count = (place.end - place.start) // kind.itemsize
    file.seek(start + place.start)
    return np.fromfile(file, kind, count).reshape(place.shape)
