"""What the trainer costs beside a loop that is written by hand, and beside other trainers where they are installed."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from benchmarks import peers
from benchmarks.measuring import Figure, time_side_by_side
from benchmarks.models import ResNet, build_mlp
from common import engine, loader
from common.loader import Loader
from common.loggers import History, Loggers
from common.trainer import Config, Trainer

TITLE = "training, CPU, one thread"
_SGD = {"name": "SGD", "lr": 0.01}


def measure(folder: Path) -> list[Figure]:
    """Return the figures; histories are written below `folder`."""
    torch.set_num_threads(1)
    samples = make_samples(400 * 128, (64,))
    figures = _compare("MLP 64-128-10, batch 128", build_mlp, samples, 128, 21, folder, 1.05)
    images = make_samples(12 * 32, (3, 32, 32))
    network = partial(ResNet, 8, 1)
    return figures + _compare("ResNet of 9 layers, 32 × 32, batch 32", network, images, 32, 9, folder, 1.01)


def make_samples(num_samples: int, shape: tuple[int, ...]) -> TensorDataset:
    """Return noise with labels of ten classes."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(num_samples, *shape, generator=generator)
    return TensorDataset(inputs, torch.randint(0, 10, (num_samples,), generator=generator), torch.arange(num_samples))


def _compare(
    name: str,
    build: Callable[[], nn.Module],
    samples: TensorDataset,
    batch_size: int,
    repeats: int,
    folder: Path,
    target: float,
) -> list[Figure]:
    loops = {
        "a loop by hand": partial(train_by_hand, build, samples, batch_size),
        "Force Build": partial(train, build, samples, batch_size, folder),
        **{peer: partial(loop, build, samples, batch_size) for peer, loop in peers.find_installed().items()},
    }
    seconds = time_side_by_side(loops, repeats=repeats)
    num_steps = len(samples) / batch_size
    figures = [Figure(f"{name}: {loop}", 1e6 * value / num_steps, "µs a step") for loop, value in seconds.items()]
    bare = seconds.pop("a loop by hand")
    ratios = [
        Figure(f"{name}: {loop} against it", value / bare, "×", target if loop == "Force Build" else None)
        for loop, value in seconds.items()
    ]
    return figures + ratios


def train_by_hand(build: Callable[[], nn.Module], samples: TensorDataset, batch_size: int) -> float:
    """Train an epoch as one would write it; return the seconds."""
    torch.manual_seed(0)
    inputs, targets, _ = samples.tensors
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    started = time.perf_counter()
    total = 0.0
    for rows in torch.randperm(len(inputs)).split(batch_size):
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(inputs.index_select(0, rows)), targets.index_select(0, rows))
        loss.backward()
        optimizer.step()
        total += loss.item()
    return time.perf_counter() - started


def train(build: Callable[[], nn.Module], samples: TensorDataset, batch_size: int, folder: Path) -> float:
    """Train an epoch with the trainer, with history and progress written; return the seconds."""
    trainer = Trainer(Config(epochs=1, optimizer=_SGD, scheduler=None), engine.Config(device="cpu"))
    config = loader.Config(batch_size)
    batches = Loader(samples, config, training=True, seed=0)
    no_batches = Loader(TensorDataset(*(tensor[:0] for tensor in samples.tensors)), config, training=False, seed=0)
    model = build()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        trainer.loggers = Loggers([History(Path(place))])
        started = time.perf_counter()
        trainer.fit(model, batches, no_batches)
        return time.perf_counter() - started
