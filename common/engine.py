"""What training and evaluation share: device, precision, seeding, threads, and the one loop over batches.

Trainer and Evaluator extend `Engine` separately, so that a custom evaluation goes with standard training and the
other way round.
"""

import ctypes
import logging
import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from common.config import PositiveInt
from common.dataset import Batch
from common.loader import Loader
from common.meter import Meter, Values
from common.parallel import find_processes

log = logging.getLogger("force")

Precision = Literal["fp32", "bf16", "fp16"]
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_MMAP_FROM = 2**25  # bytes, the most that every glibc takes
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Config:
    """Params of the section `runtime`."""

    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_threads: PositiveInt = 1
    deterministic: bool = True


class Engine:
    """Runs a model over batches on one device."""

    def __init__(self, runtime: Config) -> None:
        self.runtime = runtime
        self.device = choose_device(runtime.device)
        self.processes = find_processes()
        seed_everything(runtime)

    def autocast(self, precision: Precision) -> AbstractContextManager[Any]:
        """Return the context in which a forward pass computes in this precision; the weights stay as they are."""
        if precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_DTYPES[precision])

    def run_epoch(
        self,
        loader: Loader,
        step: Callable[[Batch], Values],
        epoch: int = 0,
        start: int = 0,
        stop: int | None = None,
        meter: Meter | None = None,
    ) -> Meter:
        """Call `step` for the batches `start` to `stop` of an epoch; return the means of what it returns."""
        meter = meter or Meter()
        for index, batch in enumerate(loader.epoch(epoch, start, stop), start):
            meter.add(step(batch), loader.share(index))
        return meter

    @contextmanager
    def explain_memory(self, loader: Loader, advice: str = "") -> Iterator[None]:
        """Raise MemoryError, which says the size of the batches and what to do, where the device has too little."""
        try:
            yield
        except RuntimeError as error:
            if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
                raise
            size = loader.config.batch_size
            raise MemoryError(
                f"{self.device.type} memory is too small for batches of {size}: lower loader.batch_size{advice}"
            ) from error

    def batches(self, loader: Loader, epoch: int = 0) -> Iterator[Batch]:
        """Return the batches of an epoch on this engine's device."""
        if loader.device != self.device:
            loader.place(self.device)
        return loader.epoch(epoch)

    @torch.no_grad()
    def predict(self, model: nn.Module, loader: Loader) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (samples, classes), targets (samples,) and ids (samples,) of a split, on the CPU.

        Raises MemoryError where the device has too little memory.
        """
        model.eval()
        with self.explain_memory(loader):
            outputs = [(model(batch.inputs), batch.targets, batch.ids) for batch in self.batches(loader)]
        logits, targets, ids = (torch.cat(column).cpu() for column in zip(*outputs, strict=True))
        return logits, targets, ids


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is a GPU where there is one. Raises ValueError for one that is not."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("runtime.device is cuda, and torch finds no GPU here: set it to auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def keep_freed_memory() -> None:
    """Have memory of tensors up to 32 MiB stay with the process when they are gone, where the C library is glibc.

    It would else return to the system after a step, and come back in the next, zeroed and page by page. What the
    environment says of it holds.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    is_set = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if mallopt is not None and not is_set and mallopt(_MMAP_THRESHOLD, _MMAP_FROM):
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def leave_uninitialised() -> Iterator[None]:
    """Leave memory that is about to be written as it is, though torch is to be deterministic.

    Torch would fill it, which shows what a model forgot to initialise; in a loop it is 2 to 4 % of a step.
    """
    settings: Any = torch.utils.deterministic
    before = settings.fill_uninitialized_memory
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = before


def seed_everything(runtime: Config) -> None:
    """Seed every generator that training may draw from, and fix what else changes the bits of a result."""
    if runtime.deterministic:  # read by cuBLAS when it starts, and by the compiler when it is imported
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
    random.seed(runtime.seed)
    np.random.seed(runtime.seed % 2**32)
    torch.manual_seed(runtime.seed)
    torch.set_num_threads(runtime.num_threads)
    # As torch.use_deterministic_algorithms does, which imports the compiler for it: two seconds of every evaluation.
    torch.set_deterministic_debug_mode("warn" if runtime.deterministic else "default")
