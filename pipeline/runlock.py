"""Let one `force run` at a time work in a checkout.

The lock is the kernel's (flock): it goes with the process that holds it and the DVC processes that it started,
however they end. The file's text only says who holds it.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pipeline.errors import ToolError


@contextmanager
def hold_run_lock(path: Path, command: str, *, wait: bool, say: Callable[[str], None]) -> Iterator[int]:
    """Hold the lock at `path`; yield its file descriptor, for children that are to hold it too.

    Waits for another holder and says who it is; raises ToolError instead if not to `wait`.
    """
    path.parent.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_holder(path)
            if not wait:
                raise ToolError(f"this checkout is in use by {holder}", "wait for it, or work in a clone") from None
            say(f"waiting for {holder}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        now = datetime.now().strftime("%H:%M:%S")
        os.pwrite(descriptor, f"'{command}' (process {os.getpid()}, since {now})".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _read_holder(path: Path) -> str:
    return path.read_text(errors="replace").strip() or "another force run"
