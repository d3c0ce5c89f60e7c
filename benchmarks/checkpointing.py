"""What a checkpoint after every epoch costs a training of 50 million parameters."""

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch.utils.data import TensorDataset

from benchmarks.measuring import Figure, time_side_by_side
from benchmarks.models import build_wide_mlp
from benchmarks.training import make_samples
from common import engine, loader
from common.checkpoint import Checkpoints
from common.loader import Loader
from common.trainer import Config, Trainer

TITLE = "checkpoints, 50 million parameters, AdamW"
_STEPS = 40  # an epoch
_BATCH = 64
_EPOCHS = 2


def measure(folder: Path) -> list[Figure]:
    """Return the figures; checkpoints are written below `folder`."""
    samples = make_samples(_STEPS * _BATCH, (64,))
    num_parameters = sum(parameter.numel() for parameter in build_wide_mlp().parameters())
    runs: dict[str, Callable[[], float]] = {
        "without": partial(train, samples, None),
        "after every epoch": partial(train, samples, folder / "checkpoints"),
    }
    seconds = time_side_by_side(runs, repeats=2, warm_up=False)
    size = max(path.stat().st_size for path in (folder / "checkpoints").iterdir())
    cost = 100 * (seconds["after every epoch"] / seconds["without"] - 1)
    return [
        Figure("parameters", num_parameters / 1e6, "million"),
        Figure("a checkpoint", size / 2**20, "MiB"),
        *(Figure(f"an epoch, checkpoints {name}", value, "s") for name, value in seconds.items()),
        Figure("what they cost", cost, "%", target=3.0),
    ]


def train(samples: TensorDataset, folder: Path | None) -> float:
    """Train; return the seconds of an epoch, the wait for the last checkpoint included."""
    trainer = Trainer(Config(epochs=_EPOCHS, scheduler=None), engine.Config(device="cpu"))
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
        trainer.checkpoints = Checkpoints(folder)
    batches = Loader(samples, loader.Config(_BATCH), training=True, seed=0)
    none = Loader(TensorDataset(*(t[:0] for t in samples.tensors)), loader.Config(_BATCH), training=False, seed=0)
    model = build_wide_mlp()
    started = time.perf_counter()
    trainer.fit(model, batches, none)
    if trainer.checkpoints:
        trainer.checkpoints.finish()
    return (time.perf_counter() - started) / _EPOCHS
