"""What `force model convert` does where torch is: write a model, and compare what was written with it."""

import dataclasses
import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from common.conversion import TARGETS, convert
from common.dataset import Metadata, read_metadata, tensor_path
from common.saved_model import find_seeds
from pipeline.stages.model_loading import find_metadata, load_subject
from pipeline.stages.task import Task

RESULT = "result.json"
_NUM_SAMPLES = 16


def run(task: Task) -> dict[str, float]:
    """Convert the model; leave how far the outputs are apart, on what inputs, and what is lost."""
    metadata = find_metadata(task)
    assert metadata is not None
    inputs, described = _find_inputs(task, metadata)
    to, path = task.request["to"], Path(task.request["path"])
    comparison = convert(load_subject(task, metadata), to, path, inputs)
    lost = TARGETS[to].lost
    if (built := task.inputs.get("train")) and (seeds := find_seeds(Path(built))):
        lost += f"{'; ' if lost else ''}the models of {len(seeds)} further seeds"
    result = {**dataclasses.asdict(comparison), "inputs": described, "lost": lost}
    (task.target_dir / RESULT).write_text(json.dumps(result))
    return {}


def _find_inputs(task: Task, metadata: Metadata) -> tuple[Tensor, str]:
    """Return a batch of inputs as the model gets them, and what they are: samples of the data, or random."""
    if folder := task.inputs.get("prepare"):
        data = read_metadata(Path(folder))
        split = next((name for name in ("test", "valid", "train") if data.num_samples.get(name, 0) >= 2), None)
        if split and (data.input_shape, data.input_dtype) == (metadata.input_shape, metadata.input_dtype):
            inputs = _read_inputs(Path(folder) / tensor_path(split, "inputs"))
            return inputs, f"{len(inputs)} samples of the {split} split"
    return _draw_inputs(metadata), f"{_NUM_SAMPLES} random inputs, as no prepared data of its shape is here"


def _read_inputs(path: Path) -> Tensor:
    """Return the first samples, as loaders give them; no others are read."""
    with safe_open(path, "pt") as file:
        inputs: Tensor = file.get_slice("inputs")[:_NUM_SAMPLES]
    return inputs.float().div_(255) if inputs.dtype is torch.uint8 else inputs


def _draw_inputs(metadata: Metadata) -> Tensor:
    """Return the same random inputs each time: of the mean and deviation of the data, or 0 and 1 of whole numbers."""
    generator, shape = torch.Generator().manual_seed(0), (_NUM_SAMPLES, *metadata.input_shape)
    dtype = getattr(torch, metadata.input_dtype)
    if not (dtype.is_floating_point or dtype is torch.uint8):
        return torch.randint(2, shape, generator=generator).to(dtype)
    mean, std = metadata.statistics.get("mean", 0.0), metadata.statistics.get("std", 1.0)
    drawn = torch.randn(shape, generator=generator) * std + mean
    return drawn if dtype is torch.uint8 else drawn.to(dtype)
