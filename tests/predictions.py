"""Predictions of evaluations, without an evaluation."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def write_predictions(path: Path, scores: Mapping[str, np.ndarray], ids: np.ndarray | None = None) -> Path:
    """Write a predictions.safetensors with scores of each sample by their full names."""
    count = len(next(iter(scores.values())))
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"ids": np.arange(count) if ids is None else ids, **scores}
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    return path
