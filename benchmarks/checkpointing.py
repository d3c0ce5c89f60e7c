"""What a checkpoint after every epoch costs a training of 50 million parameters."""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.data import TensorDataset

from benchmarks.measuring import Figure
from benchmarks.models import build_wide_mlp
from benchmarks.training import make_samples
from common import engine, loader
from common.checkpoint import Checkpoints
from common.loader import Loader
from common.trainer import Config, Trainer

TITLE = "checkpoints, 50 million parameters, AdamW"
_BATCH = 64
_SECTION = 12  # steps after each of which a checkpoint is written, or not, in turns
_NUM_SECTIONS = 25
_EPOCH = 40  # steps of the epoch that the cost is a part of: 2,560 samples


def measure(folder: Path) -> list[Figure]:
    """Return the figures; checkpoints are written below `folder`."""
    samples = make_samples(_SECTION * _BATCH, (64,))
    batches = Loader(samples, loader.Config(_BATCH), training=True, seed=0)
    none = Loader(TensorDataset(*(t[:0] for t in samples.tensors)), loader.Config(_BATCH), training=False, seed=0)
    trainer = Trainer(Config(epochs=_NUM_SECTIONS, scheduler=None), engine.Config(device="cpu"))
    trainer.checkpoints = checkpoints = _EverySecond(folder / "checkpoints")
    model = build_wide_mlp()
    trainer.fit(model, batches, none)
    started = time.perf_counter()
    checkpoints.finish()
    wait = time.perf_counter() - started
    seconds = {written: statistics.median(checkpoints.list_seconds(written=written)) for written in (True, False)}
    cost, epoch = seconds[True] - seconds[False], seconds[False] / _SECTION * _EPOCH
    return [
        Figure("parameters", sum(parameter.numel() for parameter in model.parameters()) / 1e6, "million"),
        Figure("a checkpoint", max(path.stat().st_size for path in checkpoints.folder.iterdir()) / 2**20, "MiB"),
        Figure("a checkpoint, what it takes from training", cost, "s"),
        Figure("the wait for the last one, once", wait, "s"),
        Figure(f"an epoch of {_EPOCH} steps without one", epoch, "s"),
        Figure("a checkpoint against such an epoch", 100 * cost / epoch, "%", target=3.0),
    ]


class _EverySecond(Checkpoints):
    """Writes every second checkpoint, and says what each section of training took, from one to the next."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        self._begun: list[float] = []

    def write(self, step: int, parts: Mapping[str, Any], own: Mapping[str, Any] | None = None) -> None:
        self._begun.append(time.perf_counter())
        if len(self._begun) % 2:
            super().write(step, parts, own)

    def list_seconds(self, *, written: bool) -> list[float]:
        """Return the seconds of the sections that began with a checkpoint, or of those that did not."""
        sections = [end - begin for begin, end in zip(self._begun, self._begun[1:], strict=False)]
        return sections[0 if written else 1 :: 2]
