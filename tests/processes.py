"""Processes that have torch as soon as they start, to be killed."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["sklearn.datasets", "torch", "torch._dynamo"])  # what takes seconds


class Child:
    """A process in a group of its own. It calls `target` with a function that says it has begun, and `args`."""

    def __init__(self, target: Callable[..., None], *args: Any) -> None:
        self._begun = _CONTEXT.Event()
        self._process = _CONTEXT.Process(target=_run, args=(target, self._begun, *args))
        self._process.start()

    def wait_until_begun(self) -> None:
        """Wait until it says so."""
        assert self._begun.wait(120)

    def kill_after(self, seconds: float | None) -> bool:
        """Kill its group, unless it ends before; say whether it was killed. None: wait until it ends."""
        self._process.join(seconds)
        if self._process.is_alive():
            assert self._process.pid
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.join()
        assert self._process.exitcode in (0, -signal.SIGKILL)
        return self._process.exitcode != 0


def _run(target: Callable[..., None], begun: Any, *args: Any) -> None:
    os.setsid()
    target(begun.set, *args)
