"""Images a second on a GPU: the trainer beside a loop tuned by hand, both compiled, in bf16 and channels_last."""

import statistics
import time
from pathlib import Path

import torch
from torch.nn import functional
from torch.utils.data import TensorDataset

from benchmarks.measuring import Figure
from benchmarks.models import ResNet
from benchmarks.training import make_samples
from common import engine, loader
from common.loader import Loader
from common.loggers import History, Loggers
from common.trainer import Config, Trainer

TITLE = "training, GPU"
_NUM_IMAGES = 50_176
_BATCH = 512
_EPOCHS = 6  # the first is a warm-up
_SGD = {"name": "SGD", "lr": 0.05, "momentum": 0.9, "fused": True}


def measure(folder: Path) -> list[Figure]:
    """Return the figures; none without a GPU."""
    if not torch.cuda.is_available():
        print("no GPU here: left out")
        return []
    torch.backends.cuda.matmul.allow_tf32 = True
    images = make_samples(_NUM_IMAGES, (3, 32, 32))
    speeds: dict[str, list[float]] = {"by hand": [], "Force Build": [], "Force Build, samples on the host": []}
    for turn in range(2):
        speeds["by hand"] += train_by_hand(images)
        speeds["Force Build"] += train(images, folder, "device")
        if turn:
            speeds["Force Build, samples on the host"] += train(images, folder, "host")
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    name = f"ResNet-18, 32 × 32, batch {_BATCH}, compiled, bf16, channels_last, on one {torch.cuda.get_device_name()}"
    return [
        *(Figure(f"{name}: {loop}", value, "images/s") for loop, value in medians.items()),
        Figure(f"{name}: against by hand", medians["Force Build"] / medians["by hand"], "×", at_least=0.98),
    ]


def train_by_hand(images: TensorDataset) -> list[float]:
    """Train as one would write it for speed; return images a second of each epoch but the first."""
    torch.compiler.reset()
    torch.manual_seed(0)
    inputs, targets = (tensor.to("cuda") for tensor in images.tensors[:2])
    model = ResNet(64, 2).to("cuda", memory_format=torch.channels_last)
    model.compile()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, fused=True)
    speeds = []
    for _ in range(_EPOCHS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        losses = []
        for rows in torch.randperm(len(inputs), device="cuda").split(_BATCH):
            batch = inputs.index_select(0, rows).contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cuda", torch.bfloat16):
                loss = functional.cross_entropy(model(batch), targets.index_select(0, rows))
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        torch.stack(losses).mean().item()
        speeds.append(len(inputs) / (time.perf_counter() - started))
    return speeds[1:]


def train(images: TensorDataset, folder: Path, placement: str) -> list[float]:
    """Train with the trainer; return images a second of each epoch but the first."""
    torch.compiler.reset()
    config = Config(
        epochs=_EPOCHS, optimizer=_SGD, scheduler=None, precision="bf16", compile="on", channels_last=True, keep="last"
    )
    trainer = Trainer(config, engine.Config(device="cuda", deterministic=False))
    batches = Loader(images, loader.Config(_BATCH, placement=placement), training=True, seed=0)
    none = Loader(TensorDataset(*(t[:0] for t in images.tensors)), loader.Config(_BATCH), training=False, seed=0)
    history = History(folder)
    trainer.loggers = Loggers([history])
    trainer.fit(ResNet(64, 2), batches, none)
    return [row["samples_per_s"] for row in history.rows[1:]]
