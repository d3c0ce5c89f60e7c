"""What several seeds of a small model cost when they are trained at once, beside one of them by itself."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import TensorDataset

from benchmarks.measuring import Figure, time_side_by_side
from benchmarks.models import build_mlp
from benchmarks.training import make_samples
from common import engine, loader, vectorised
from common.loader import Loader
from common.trainer import Config, Trainer

TITLE = "8 seeds at once, MLP 64-128-10, batch 128"
NUM_SEEDS = 8
_NUM_STEPS = 400  # an epoch
_NUM_EPOCHS = 5
_OPTIMIZERS = ({"name": "SGD", "lr": 0.01}, {"name": "AdamW", "lr": 0.003})


def measure(_: Path) -> list[Figure]:
    """Return the figures; those of a GPU where there is one."""
    torch.set_num_threads(1)
    figures = _compare("cpu", "CPU, one thread", 2.5)
    return figures + _compare("cuda", "GPU", 1.5) if torch.cuda.is_available() else figures


def _compare(device: str, label: str, target: float) -> list[Figure]:
    figures = []
    for optimizer in _OPTIMIZERS:
        runs = {count: partial(train, count, device, optimizer) for count in (1, NUM_SEEDS)}
        seconds = time_side_by_side({str(count): run for count, run in runs.items()}, repeats=5)
        one, all_seeds = seconds["1"], seconds[str(NUM_SEEDS)]
        name, num_steps = f"{label}, {optimizer['name']}", _NUM_STEPS * _NUM_EPOCHS
        figures += [
            Figure(f"{name}: one seed", 1e6 * one / num_steps, "µs a step"),
            Figure(f"{name}: {NUM_SEEDS} seeds", 1e6 * all_seeds / num_steps, "µs a step"),
            Figure(f"{name}: {NUM_SEEDS} seeds against one", all_seeds / one, "×", target),
        ]
    return figures


def train(num_seeds: int, device: str, optimizer: dict[str, Any]) -> float:
    """Train so many seeds, one of them as everybody does; return the seconds."""
    samples = make_samples(_NUM_STEPS * 128, (64,))
    no_samples = TensorDataset(*(tensor[:0] for tensor in samples.tensors))
    config = Config(epochs=_NUM_EPOCHS, optimizer=optimizer, scheduler=None, vectorised_seeds=num_seeds)
    trainer = Trainer(config, engine.Config(device=device))
    trains = [Loader(samples, loader.Config(128), training=True, seed=seed) for seed in range(num_seeds)]
    valid = Loader(no_samples, loader.Config(128), training=False, seed=0)
    models = [build_mlp() for _ in range(num_seeds)]
    started = time.perf_counter()
    if num_seeds == 1:
        trainer.fit(models[0], trains[0], valid)
    else:
        vectorised.fit(trainer, models, trains, valid)
    return time.perf_counter() - started  # fetching the losses has waited for the device
