"""The fixtures that every test may use."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from pipeline import cli, modules
from tests.checkouts import Checkout, Ended, make_checkout
from tests.flows.commands import ENVIRONMENT

# Before torch is imported: the tests run side by side, and threads of several that wait for each other slow all down.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _outside_of_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test see that it runs in a job of GitHub Actions, or get hold of that job's token and files."""
    for name in os.environ:
        if name in ("CI", "ACT") or name.startswith(("GITHUB_", "RUNNER_", "FORCE_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def _parse_once() -> None:
    """Parse what is the same in a thousand checkouts once; the facts of a source are not to be changed anyway."""
    modules.parse_source = cache(modules.parse_source)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout without experiments; its folder has a parent of its own, for the default DVC remote."""
    root = tmp_path / "checkout"
    root.mkdir()
    return make_checkout(root)


@pytest.fixture
def force(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Call `force` in this process, in the checkout or the folder `at` in it."""

    def call(*args: str, at: str = ".") -> Ended:
        monkeypatch.chdir(checkout.root / at)
        monkeypatch.setattr(sys, "argv", ["force", *args])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def s3_url() -> Iterator[str]:
    """The address of a real S3 API on loopback."""
    server = subprocess.Popen(
        ["moto_server", "--host", "127.0.0.1", "--port", "0"],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    address = next(line.split()[-1] for line in server.stderr if "Running on http" in line)
    yield address
    server.terminate()
    server.communicate(timeout=30)
