"""What the trainer costs beside a loop that is written by hand, and beside other trainers where they are installed."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
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
from common.dataset import Batch
from common.loader import Loader
from common.loggers import History, Loggers
from common.trainer import Config, Trainer

TITLE = "training, CPU, one thread"
_NUM_EPOCHS, _NUM_EPOCHS_OF_PEERS = 41, 11  # a ratio of one epoch is good to 2 %, the median of so many to 0.4 %
_SGD = {"name": "SGD", "lr": 0.01}


def measure(folder: Path) -> list[Figure]:
    """Return the figures; histories are written below `folder`."""
    torch.set_num_threads(1)
    engine.keep_freed_memory()  # all of them run as a training does
    with engine.leave_uninitialised():
        return _measure(folder)


def _measure(folder: Path) -> list[Figure]:
    samples = make_samples(400 * 128, (64,))
    figures = _compare("MLP 64-128-10, batch 128", build_mlp, samples, 128, folder, 1.05)
    images = make_samples(48 * 32, (3, 32, 32))
    network = partial(ResNet, 8, 1)
    return figures + _compare("ResNet of 9 layers, 32 × 32, batch 32", network, images, 32, folder, 1.01)


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
    folder: Path,
    target: float,
) -> list[Figure]:
    epochs = [train_in_turns(build, samples, batch_size, folder) for _ in range(_NUM_EPOCHS + 1)][1:]
    by_hand, ours = (statistics.median(seconds) for seconds in zip(*epochs, strict=True))
    ratio = statistics.median(ours / by_hand for by_hand, ours in epochs)
    loops = {peer: partial(loop, build, samples, batch_size) for peer, loop in peers.find_installed().items()}
    others = time_side_by_side(
        {"": partial(_train_alone, build, samples, batch_size), **loops}, repeats=_NUM_EPOCHS_OF_PEERS
    )
    alone = others.pop("")
    steps = {"a loop by hand": by_hand, "Force Build": ours, **others}
    num_steps = len(samples) / batch_size
    return [
        *(Figure(f"{name}: {loop}", 1e6 * seconds / num_steps, "µs a step") for loop, seconds in steps.items()),
        Figure(f"{name}: Force Build against it", ratio, "×", target),
        *(Figure(f"{name}: {loop} against it", seconds / alone, "×") for loop, seconds in others.items()),
    ]


def train_in_turns(
    build: Callable[[], nn.Module], samples: TensorDataset, batch_size: int, folder: Path
) -> tuple[float, float]:
    """Train an epoch by hand and one with the trainer, its history and progress written: a step of each in turn.

    Returns the seconds of both. The machine's speed changes within seconds, but seldom between two steps.
    """
    trainer = Trainer(Config(epochs=1, optimizer=_SGD, scheduler=None), engine.Config(device="cpu"))
    config = loader.Config(batch_size)
    batches = _Alternating(samples, config, training=True, seed=0)
    batches.by_hand = train_by_hand(build, samples, batch_size)
    next(batches.by_hand)
    no_batches = Loader(TensorDataset(*(tensor[:0] for tensor in samples.tensors)), config, training=False, seed=0)
    model = build()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        trainer.loggers = Loggers([History(Path(place))])
        started = time.perf_counter()
        trainer.fit(model, batches, no_batches)
        seconds = time.perf_counter() - started
    return batches.seconds_by_hand, seconds - batches.seconds_by_hand


def _train_alone(build: Callable[[], nn.Module], samples: TensorDataset, batch_size: int) -> float:
    """Train an epoch by hand, in turns with whole epochs of the peers; return the seconds."""
    steps = train_by_hand(build, samples, batch_size)
    next(steps)
    started = time.perf_counter()
    for _ in steps:
        pass
    return time.perf_counter() - started


class _Alternating(Loader):
    """Has a loop by hand take its step before each batch, and times it."""

    by_hand: Iterator[None]
    seconds_by_hand = 0.0

    def epoch(self, epoch: int, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        for batch in super().epoch(epoch, start, stop):
            started = time.perf_counter()
            next(self.by_hand)
            self.seconds_by_hand += time.perf_counter() - started
            yield batch


def train_by_hand(build: Callable[[], nn.Module], samples: TensorDataset, batch_size: int) -> Iterator[None]:
    """Train an epoch as one would write it; yield when all is there, and after each step."""
    torch.manual_seed(0)
    inputs, targets, _ = samples.tensors
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    total = 0.0
    yield
    for rows in torch.randperm(len(inputs)).split(batch_size):
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(inputs.index_select(0, rows)), targets.index_select(0, rows))
        loss.backward()
        optimizer.step()
        total += loss.item()
        yield
