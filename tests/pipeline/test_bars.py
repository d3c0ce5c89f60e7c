"""Bars: what they say of a training, and that nothing that stands in the file's place does any harm."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.bars import describe_progress, read_progress, render_progress
from pipeline.workspace import write_json

PROGRESS: dict[str, Any] = {
    "version": 1,
    "experiment": "x",
    "status": "running",
    "started_at": "2026-01-05T10:00:00+00:00",
    "updated_at": "2026-01-05T10:01:00+00:00",
    "step": 90,
    "num_steps": 200,
    "epoch": 9,
    "num_epochs": 20,
    "fraction": 0.45,
    "seconds_left": 32.9,
    "metrics": {"train_loss": 0.03121, "valid_accuracy": 0.98, "samples_per_s": 12345.6},
}
TEXT = "45%  epoch 9/20  loss 0.0312  valid accuracy 0.98  12,346 samples/s  0:00:32 left"


def render(progress: dict[str, Any]) -> str:
    console = Console(width=120, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(render_progress(progress))
    return capture.get().rstrip()


@pytest.mark.parametrize(("fraction", "num_whole"), [(0.0, 0), (0.45, 9), (1.0, 20)])
def test_bar_is_as_long_as_the_fraction_says(fraction: float, num_whole: int) -> None:
    line = render({**PROGRESS, "fraction": fraction})
    assert line.count("━") == num_whole
    assert line[20:].strip() == TEXT.replace("45%", f"{fraction:.0%}")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, TEXT),
        ({"num_epochs": None, "seconds_left": None, "metrics": {}}, "45%  epoch 9"),
        ({"epoch": None, "seconds_left": 3600, "metrics": {}}, "45%  1:00:00 left"),
        ({"metrics": {"train_loss": None, "valid_loss": 2.0, "valid_accuracy": 0.5}, "seconds_left": 0},
         "45%  epoch 9/20  valid accuracy 0.5"),
    ],
)  # fmt: skip
def test_text_says_what_is_known(changes: dict[str, Any], text: str) -> None:
    assert describe_progress({**PROGRESS, **changes}) == text


def test_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_json(tmp_path / "progress.json", PROGRESS)
    assert read_progress(tmp_path / "progress.json") == PROGRESS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 60_000,
        "\xff\xfe",
        json.dumps({**PROGRESS, "fraction": 1.5}),
        json.dumps({**PROGRESS, "fraction": "half"}),
        json.dumps({**PROGRESS, "metrics": {"valid\x1b[2J": 1.0}}),
        json.dumps({**PROGRESS, "metrics": {"train_loss": "low"}}),
        json.dumps({**PROGRESS, "seconds_left": 1e300}),
        json.dumps({**PROGRESS, "seconds_left": float("nan")}),
        json.dumps({**PROGRESS, "epoch": float("inf")}),
        json.dumps({**PROGRESS, "num_epochs": 10**400}),
        json.dumps({**PROGRESS, "epoch": 10**400}),
        json.dumps({**PROGRESS, "metrics": {"train_loss": 10**400}}),
        json.dumps({name: value for name, value in PROGRESS.items() if name != "fraction"}),
        json.dumps({**PROGRESS, "experiment": "x" * 100_000}),
    ],
)
def test_there_is_no_bar_when_the_file_is_damaged(tmp_path: Path, text: str) -> None:
    path = tmp_path / "progress.json"
    path.write_text(text, errors="surrogateescape")
    assert read_progress(path) is None


@pytest.mark.parametrize(
    "put",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: os.mkfifo(path),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path.with_name("secret")),
    ],
    ids=["nothing", "folder", "pipe", "device", "link"],
)
def test_there_is_no_bar_when_something_else_is_in_the_place_of_the_file(
    tmp_path: Path, put: Callable[[Path], None]
) -> None:
    write_json(tmp_path / "secret", PROGRESS)
    put(tmp_path / "progress.json")
    assert read_progress(tmp_path / "progress.json") is None
