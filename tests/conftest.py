"""The fixtures that every test may use."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import cli
from tests.checkouts import Checkout, Ended, make_checkout


@pytest.fixture(autouse=True)
def _outside_of_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test see that it runs in a job of GitHub Actions, or get hold of that job's token and files."""
    for name in os.environ:
        if name in ("CI", "ACT") or name.startswith(("GITHUB_", "RUNNER_", "FORCE_")):
            monkeypatch.delenv(name)


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
