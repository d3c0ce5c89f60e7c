"""What a person sees of a training on a terminal, and that none of it gets into the log."""

import os
import pty
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.installing import suggest_install
from tests.checkouts import Checkout
from tests.flows.commands import ENVIRONMENT, force, make_training_long

pytestmark = pytest.mark.slow

EPOCHS = 20
BAR = re.compile(r"━+ +\d+%  epoch \d+/20  loss \S+  valid accuracy \S+  [\d,]+ samples/s")
LINE = re.compile(r"^epoch \d+/20  train loss ", re.MULTILINE)


def run_on_terminal(args: Sequence[str], cwd: Path) -> str:
    """Run a program to its end on a terminal of its own; return all that it wrote there."""
    ours, theirs = pty.openpty()
    person = {name: value for name, value in ENVIRONMENT.items() if name != "CI"}  # there, nobody watches
    environment = {**person, "TERM": "xterm", "COLUMNS": "150", "LINES": "50"}
    process = subprocess.Popen(
        args, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    written = b""
    with suppress(OSError):  # how Linux says that nobody has the terminal open any more
        while chunk := os.read(ours, 65536):
            written += chunk
    os.close(ours)
    assert process.wait() == 0, written.decode()
    return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", written.decode()).replace("\r\n", "\n").replace("\r", "\n")


@pytest.fixture
def prepared(built: Checkout) -> Checkout:
    """A checkout whose common training is to run, for some seconds."""
    make_training_long(built, EPOCHS)
    assert force(built, "sync").returncode == 0
    return built


def read_log(checkout: Checkout) -> str:
    return (checkout.root / "common/outputs/train/train.log").read_text()


@pytest.mark.parametrize("args", [["force", "stage", "train"], ["dvc", "repro", "--single-item", "../dvc.yaml:train"]])
def test_bar_is_on_the_terminal_but_not_in_the_log(prepared: Checkout, args: list[str]) -> None:
    screen = run_on_terminal(args, prepared.root / "common")
    assert BAR.search(screen)
    assert len(LINE.findall(screen)) == EPOCHS
    log = read_log(prepared)
    assert len(LINE.findall(log)) == EPOCHS
    assert "━" not in log
    assert "\x1b" not in log


def test_bar_is_in_the_row_of_the_stage_when_it_is_run_with_others(prepared: Checkout) -> None:
    screen = run_on_terminal(["force", "run", "common:train"], prepared.root)
    assert re.search(rf"common +train +running +\d+ s +{BAR.pattern}", screen)
    assert "━" not in read_log(prepared)


def test_there_are_the_lines_of_epochs_alone_when_output_is_no_terminal(prepared: Checkout) -> None:
    done = force(prepared, "stage", "train", at="common")
    assert LINE.findall(done.stdout)
    assert len(done.stdout.splitlines()) == EPOCHS
    assert done.stderr == ""


def test_missing_package_is_named_with_its_hint_when_a_run_needs_it(prepared: Checkout) -> None:
    params = prepared.root / "params.yaml"
    params.write_text(params.read_text().replace("loggers: []", "loggers: [wandb]"))
    done = force(prepared, "run", "common:train")
    assert done.stderr == f"error: Weights & Biases is not installed\nhint: {suggest_install('wandb')}\n"
    assert done.returncode == 6
