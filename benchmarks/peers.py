"""Other trainers, each as its manual says, on the same work: an epoch of SGD over shuffled batches, one thread.

They are measured where they are installed: `pip install lightning skorch accelerate pytorch-ignite`.
"""

import importlib.util
import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

Loop = Callable[[Callable[[], nn.Module], TensorDataset, int], float]


def find_installed() -> dict[str, Loop]:
    """Return the peers that are here, by name."""
    loops: dict[str, tuple[str, Loop]] = {
        "a loop by hand over DataLoader": ("torch", train_with_dataloader),
        "Accelerate": ("accelerate", train_with_accelerate),
        "ignite": ("ignite", train_with_ignite),
        "skorch": ("skorch", train_with_skorch),
        "Lightning": ("lightning", train_with_lightning),
    }
    return {name: loop for name, (module, loop) in loops.items() if importlib.util.find_spec(module)}


def _load(samples: TensorDataset, batch_size: int) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*samples.tensors[:2]), batch_size, shuffle=True)


def train_with_dataloader(build: Callable[[], nn.Module], samples: TensorDataset, batch_size: int) -> float:
    """Train an epoch by hand over torch's DataLoader; return the seconds."""
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    batches = _load(samples, batch_size)
    started = time.perf_counter()
    for inputs, targets in batches:
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return time.perf_counter() - started


def train_with_accelerate(build: Callable[[], nn.Module], samples: TensorDataset, batch_size: int) -> float:
    """Train an epoch with Hugging Face Accelerate; return the seconds."""
    from accelerate import Accelerator  # noqa: PLC0415

    accelerator = Accelerator(cpu=True)
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model, optimizer, batches = accelerator.prepare(model, optimizer, _load(samples, batch_size))
    started = time.perf_counter()
    for inputs, targets in batches:
        optimizer.zero_grad()
        accelerator.backward(functional.cross_entropy(model(inputs), targets))
        optimizer.step()
    return time.perf_counter() - started


def train_with_ignite(build: Callable[[], nn.Module], samples: TensorDataset, batch_size: int) -> float:
    """Train an epoch with ignite over batches gathered from the tensors; return the seconds."""
    from ignite.engine import create_supervised_trainer  # noqa: PLC0415

    inputs, targets, _ = samples.tensors
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    trainer = create_supervised_trainer(model, optimizer, functional.cross_entropy)
    started = time.perf_counter()
    order = torch.randperm(len(inputs)).split(batch_size)
    batches = ((inputs.index_select(0, rows), targets.index_select(0, rows)) for rows in order)
    trainer.run(batches, max_epochs=1, epoch_length=len(order))
    return time.perf_counter() - started


def train_with_skorch(build: Callable[[], nn.Module], samples: TensorDataset, batch_size: int) -> float:
    """Train an epoch with skorch; return the seconds."""
    from skorch import NeuralNetClassifier  # noqa: PLC0415

    inputs, targets, _ = samples.tensors
    net = NeuralNetClassifier(
        build(), criterion=nn.CrossEntropyLoss, lr=0.01, max_epochs=1, batch_size=batch_size,
        train_split=None, verbose=0, iterator_train__shuffle=True,
    )  # fmt: skip
    started = time.perf_counter()
    net.fit(inputs, targets)
    return time.perf_counter() - started


def train_with_lightning(build: Callable[[], nn.Module], samples: TensorDataset, batch_size: int) -> float:
    """Train an epoch with Lightning, its progress bar off; return the seconds."""
    from lightning.pytorch import LightningModule, Trainer  # noqa: PLC0415

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = build()

        def training_step(self, batch: Any, _: int) -> Any:
            return functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        module, batches = Module(), _load(samples, batch_size)
        started = time.perf_counter()
        trainer.fit(module, batches)
        return time.perf_counter() - started
