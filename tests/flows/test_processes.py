"""A training by two processes under `force run`, ended in every way: nothing of it is left, the next run goes on."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.checkouts import Checkout
from tests.flows.commands import force, list_processes, make_training_long, start_force, wait_until

pytestmark = pytest.mark.slow


def _find_process(checkout: Checkout, *words: str) -> int:
    """Return the process that works below the checkout and whose command line has these words."""
    for folder in Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes().decode().split("\0") if folder.name.isdigit() else []
            where = os.readlink(folder / "cwd") if line else ""
        except OSError:
            continue
        if where.startswith(str(checkout.root)) and line[2:4] == list(words):
            return int(folder.name)
    raise AssertionError(f"no process {words}")


def _has_rows(checkout: Checkout, num_rows: int) -> bool:
    history = checkout.root / "common/outputs/train.partial/history.jsonl"
    return history.exists() and len(history.read_text().splitlines()) >= num_rows


def _read_model(checkout: Checkout) -> bytes:
    return (checkout.root / "common/outputs/train/model/weights.safetensors").read_bytes()


def test_training_by_two_processes_goes_on_however_it_was_ended(built: Checkout, tmp_path: Path) -> None:
    make_training_long(built, epochs=8)
    shutil.copytree(built.root, tmp_path / "other")
    whole = Checkout(tmp_path / "other")
    done = force(whole, "run", "common:train", "--processes", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    for num_rows, victim in ((1, "stage"), (3, "interrupt"), (5, "run")):
        process = start_force(built, "run", "common", "--processes", "2")
        wait_until(lambda rows=num_rows: _has_rows(built, rows), f"epoch {num_rows}")
        if victim == "stage":
            os.kill(_find_process(built, "stage", "train"), signal.SIGKILL)
        else:
            process.send_signal(signal.SIGINT if victim == "interrupt" else signal.SIGKILL)
        process.communicate(timeout=60)
        wait_until(lambda: not list_processes(built), f"the end of every process after the {victim}")
    done = force(built, "run", "common", "--processes", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resumed after step" in (built.root / "common/outputs/train/train.log").read_text()
    assert _read_model(built) == _read_model(whole)
    record = json.loads((built.root / "common/outputs/train/run.json").read_text())
    assert record["num_processes"] == 2
    assert record["doubts"] == ["computed by 2 processes: another number of them adds and draws otherwise"]
    assert json.loads((built.root / "common/outputs/evaluate/run.json").read_text())["doubts"] == []
