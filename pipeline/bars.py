"""Draw how far a training or a preparation is, from the file in which it says so.

Whatever that file holds, nothing here fails by it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.validation import find_faults
from pipeline.workspace import read_end

_WIDTH = 20
_MAX_BYTES = 2**16
REFRESH_PER_S = 4


def read_progress(path: Path) -> dict[str, Any] | None:
    """Return what a stage says of itself; None where the file is missing, damaged, or no file of ours."""
    try:
        progress: dict[str, Any] = orjson.loads(read_end(path, _MAX_BYTES) or b"")
    except ValueError:
        return None
    return None if find_faults("progress", progress) else progress


def render_progress(progress: dict[str, Any]) -> RenderableType:
    """Return a bar, where it is known how long it is, and beside it what `describe_progress` says."""
    if progress["fraction"] is None:
        return Text(describe_progress(progress))
    row = Table.grid(padding=(0, 1))
    row.add_column(no_wrap=True)
    row.add_column(overflow="fold")
    row.add_row(ProgressBar(total=1.0, completed=progress["fraction"], width=_WIDTH), describe_progress(progress))
    return row


def describe_progress(progress: dict[str, Any]) -> str:
    """Return what is known of fraction, samples, epoch, loss, the first metric of the validation, speed and time left.

    >>> metrics = {"train_loss": 0.03121, "valid_loss": 0.1, "valid_accuracy": 0.98, "samples_per_s": 12345.6}
    >>> describe_progress({"fraction": 0.45, "epoch": 9, "num_epochs": 20, "seconds_left": 3725.5, "metrics": metrics})
    '45%  epoch 9/20  loss 0.0312  valid accuracy 0.98  12,346 samples/s  1:02:05 left'
    >>> describe_progress({"fraction": 0, "metrics": {"train_loss": None}})
    '0%'
    >>> describe_progress({"fraction": None, "num_read": 12000, "metrics": {}})
    '12,000 samples'
    """
    known = {name: value for name, value in progress["metrics"].items() if value is not None}
    names = sorted((name for name in known if name.startswith("valid")), key=lambda name: name == "valid_loss")
    valid = names[0] if names else ""  # the loss only where there is nothing else
    parts = [f"{progress['fraction']:.0%}"] if progress["fraction"] is not None else []
    if progress.get("num_read") is not None:
        total = f"/{progress['num_samples']:,}" if progress.get("num_samples") else ""
        parts.append(f"{progress['num_read']:,}{total} samples")
    if progress.get("epoch") is not None:
        total = f"/{progress['num_epochs']}" if progress.get("num_epochs") else ""
        parts.append(f"epoch {progress['epoch']:g}{total}")
    if "train_loss" in known:
        parts.append(f"loss {known['train_loss']:.3g}")
    if valid:
        parts.append(f"{valid.replace('_', ' ')} {known[valid]:.3g}")
    if "samples_per_s" in known:
        parts.append(f"{known['samples_per_s']:,.0f} samples/s")
    if progress.get("seconds_left"):
        parts.append(f"{timedelta(seconds=int(progress['seconds_left']))} left")
    return "  ".join(parts)


@contextmanager
def show_progress(path: Path) -> Iterator[Callable[[str], None]]:
    """Draw the bar of the file at `path` below what is printed, on the first output that is a terminal.

    Yields what prints a line.
    """
    stream = next(stream for stream in (sys.stdout, sys.stderr) if stream.isatty())
    console = Console(file=stream, highlight=False)

    def render() -> RenderableType:
        progress = read_progress(path)
        return render_progress(progress) if progress else Group()

    def say(line: str) -> None:
        if stream is sys.stdout:
            console.print(line, markup=False, soft_wrap=True)
        else:
            print(line, flush=True)

    with Live(get_renderable=render, console=console, refresh_per_second=REFRESH_PER_S, transient=True):
        yield say
