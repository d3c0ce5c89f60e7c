"""What training and evaluation share: device, seeding, threads, the loop over batches, and the log.

Trainer and Evaluator extend `Engine` separately, so that a custom evaluation goes with standard training and the
other way round.
"""

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from common.dataset import Batch
from common.loader import Loader

log = logging.getLogger("force")


@dataclass(frozen=True)
class Config:
    """Params of the section `runtime`."""

    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_threads: int = 1
    deterministic: bool = True


class Engine:
    """Runs a model over batches on one device."""

    def __init__(self, runtime: Config) -> None:
        self.runtime = runtime
        self.device = choose_device(runtime.device)
        seed_everything(runtime)

    def batches(self, loader: Loader, epoch: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch on this engine's device."""
        for batch in loader.epoch(epoch):
            yield batch.to(self.device)

    @torch.no_grad()
    def predict(self, model: nn.Module, loader: Loader) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (samples, classes), targets (samples,) and ids (samples,) of a split, on the CPU."""
        model.eval()
        outputs = [(model(batch.inputs), batch.targets, batch.ids) for batch in self.batches(loader)]
        logits, targets, ids = (torch.cat(column).cpu() for column in zip(*outputs, strict=True))
        return logits, targets, ids


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is a GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def seed_everything(runtime: Config) -> None:
    """Seed every generator that training may draw from, and fix what else changes the bits of a result."""
    random.seed(runtime.seed)
    np.random.seed(runtime.seed % 2**32)
    torch.manual_seed(runtime.seed)
    torch.set_num_threads(runtime.num_threads)
    torch.use_deterministic_algorithms(runtime.deterministic, warn_only=True)
