"""`force ui` as a process, and what it says when it cannot start."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest

from pipeline.commands import ui
from pipeline.pages.server import PageServer
from tests.checkouts import ROOT, Checkout, Ended
from tests.reported import make_reported

Force = Callable[..., Ended]


class Served:
    """`force ui` in a checkout, and where it serves."""

    def __init__(self, checkout: Checkout, temporary: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline", "ui", "--port", "0"],
            cwd=checkout.root,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.line = self.process.stdout.readline()

    def get(self, path: str) -> str:
        """Return what is served there."""
        with build_opener(ProxyHandler({})).open(self.line.split()[0] + path, timeout=60) as answer:
            return str(answer.read().decode())


@pytest.fixture
def served(checkout: Checkout, tmp_path: Path) -> Iterator[Served]:
    """`force ui` of a checkout with results; it is ended in the end."""
    make_reported(checkout)
    (tmp_path / "temporary").mkdir()
    served = Served(checkout, tmp_path / "temporary")
    yield served
    served.process.kill()
    served.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_pages_are_served_until_it_is_ended(served: Served, tmp_path: Path, number: signal.Signals) -> None:
    assert served.line.endswith("/ shows the report, and what runs; Ctrl-C ends it\n")
    assert ">x</a>" in served.get("")
    assert "<h1>x</h1>" in served.get("experiments/x.html")
    assert json.loads(served.get("live.json")) == {"version": 1, "faults": [], "running": [], "ended": []}
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    served.process.send_signal(number)
    out, err = served.process.communicate(timeout=60)
    assert (served.process.returncode, out, err.strip()) == (0, "", "")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_it_says_which_port_is_in_use(checkout: Checkout, force: Force) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = force("ui", "--port", str(port))
    assert ended.status == 2
    assert ended.err == (
        f"error: nothing can be served on 127.0.0.1 port {port}: address already in use\n"
        "hint: --port takes another one, --port 0 any that is free\n"
    )


class OpenServer(PageServer):
    """A server that others seem to reach, and that ends at once."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.is_local = False

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve nothing."""


@pytest.mark.parametrize(("server", "is_warned"), [(OpenServer, True), (PageServer, False)])
def test_it_warns_when_others_can_reach_it(
    checkout: Checkout, force: Force, monkeypatch: pytest.MonkeyPatch, server: type[PageServer], is_warned: bool
) -> None:
    monkeypatch.setattr(PageServer, "serve_forever", OpenServer.serve_forever)
    monkeypatch.setattr(ui, "PageServer", server)
    before = signal.getsignal(signal.SIGTERM)
    ended = force("ui", "--port", "0")
    signal.signal(signal.SIGTERM, before)
    assert ended.status == 0
    assert ended.err == ("warning: whoever reaches this address reads metrics, params and logs\n" if is_warned else "")


def test_it_does_not_start_with_params_that_cannot_be_read(checkout: Checkout, tmp_path: Path) -> None:
    checkout.write("params.yaml", "{")
    process = Served(checkout, tmp_path).process
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 3
    assert err.startswith("error: params.yaml:")
    assert not list(tmp_path.glob("force-ui-*"))


def test_it_does_not_start_outside_of_a_checkout(checkout: Checkout, force: Force) -> None:
    assert force("ui", at="..").status == 2
