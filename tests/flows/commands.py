"""Start `force`, `dvc` and git as a user would, and wait for what they do."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.checkouts import Checkout

BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}
TIMEOUT_S = 900  # of what hangs: a busy machine may be many times slower than a quiet one


def force(checkout: Checkout, *args: str, at: str = ".") -> subprocess.CompletedProcess[str]:
    """Run `force` to its end."""
    return run(checkout, "force", *args, at=at)


def dvc(checkout: Checkout, *args: str, at: str = ".") -> subprocess.CompletedProcess[str]:
    """Run `dvc` to its end."""
    return run(checkout, "dvc", *args, at=at)


def run(checkout: Checkout, *args: str, at: str = ".") -> subprocess.CompletedProcess[str]:
    """Run a program in the checkout, or a folder of it."""
    return subprocess.run(
        args, cwd=checkout.root / at, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_S
    )


def start_force(checkout: Checkout, *args: str) -> subprocess.Popen[str]:
    """Start `force` without waiting, its output in one pipe."""
    return subprocess.Popen(
        ["force", *args],
        cwd=checkout.root,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return as soon as a condition holds; fail after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within a minute"
        time.sleep(0.02)


def is_training(checkout: Checkout, experiment: str = "common") -> bool:
    """Say whether a training has written its first epoch."""
    folder = "common" if experiment == "common" else f"experiments/{experiment}"
    history = checkout.root / folder / "outputs" / "train.partial" / "history.jsonl"
    return history.exists() and bool(history.read_text())


def make_training_long(checkout: Checkout, epochs: int = 1000) -> None:
    """Let every training take minutes."""
    params = checkout.root / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 2\n", f"epochs: {epochs}\n"))


def make_training_short(checkout: Checkout, epochs: int = 1000) -> None:
    """Undo `make_training_long`."""
    params = checkout.root / "params.yaml"
    params.write_text(params.read_text().replace(f"epochs: {epochs}\n", "epochs: 2\n"))


def list_processes(checkout: Checkout) -> list[str]:
    """Return the command lines of all processes that work below the checkout."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                where = os.readlink(folder / "cwd")
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if line and where.startswith(str(checkout.root)):
                found.append(line)
    return found


def read_all(checkout: Checkout, pattern: str) -> dict[str, bytes]:
    """Return the contents of the files that match."""
    return {str(path.relative_to(checkout.root)): path.read_bytes() for path in checkout.root.glob(pattern)}
