"""How far a preparation is, on disk, so that one that was killed goes on there.

What it has written by then is brought to the disk first, by a thread of its own; only then does the file say so. The
file is JSON, and its sha256 in a second line: one that is truncated, damaged or of other packages is never used.
"""

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

log = logging.getLogger("force")

PERIOD_S = 5.0  # a preparation that takes less has no such file
_MAX_SHARE = 0.02  # of the time of the preparation, that states may take
_VERSION = 2


class UnusableStateError(RuntimeError):
    """The file is no state of this preparation, or what was written does not fit it."""


class PartStates:
    """The state of one preparation at `path`, which belongs to exactly these inputs.

    A state is a mapping that JSON has. It is valid as long as what it speaks of is only appended to.
    """

    def __init__(self, path: Path, period_s: float = PERIOD_S) -> None:
        self.path = path
        self.newest: Mapping[str, Any] | None = None  # that is on disk
        self._period_s = period_s
        self._due = time.perf_counter() + period_s
        self._writer: threading.Thread | None = None
        self._error: OSError | None = None  # of the thread

    def read(self) -> Mapping[str, Any] | None:
        """Return the state, None where there is none. Raises UnusableStateError."""
        try:
            text, _, digest = self.path.read_bytes().rstrip(b"\n").rpartition(b"\n")
        except FileNotFoundError:
            return None
        if hashlib.sha256(text).hexdigest().encode() != digest:
            raise UnusableStateError("it is truncated or damaged")
        state: dict[str, Any] = json.loads(text)
        if state["version"] != _VERSION or state["packages"] != _hash_packages():
            raise UnusableStateError("other packages wrote it")
        self.newest = state
        return state

    def is_due(self) -> bool:
        """Say whether it is time for a state. Raises OSError where what was written did not reach the disk."""
        if self._writer and not self._writer.is_alive():
            self.wait()
        return self._writer is None and time.perf_counter() >= self._due

    def write(self, state: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Begin to bring the files behind `descriptors`, which stay open, to the disk, and then to write the state.

        A preparation never fails by the state's own file: the log says so where that cannot be written.
        """
        self.wait()
        started = time.perf_counter()
        text = json.dumps({**state, "version": _VERSION, "packages": _hash_packages()}).encode()
        self._writer = threading.Thread(target=self._write, args=(state, text, descriptors), name="state")
        self._writer.start()
        ended = time.perf_counter()
        self._due = ended + max(self._period_s, (ended - started) / _MAX_SHARE)

    def wait(self) -> None:
        """Wait until everything is written. Raises OSError where something else than the state could not be."""
        if self._writer:
            self._writer.join()
            self._writer = None
        if self._error:
            raise self._error

    def drop(self) -> None:
        """Delete the state: what it speaks of is about to change, or gone."""
        self.newest = None
        self.path.unlink(missing_ok=True)
        _sync_folder(self.path.parent)

    def _write(self, state: Mapping[str, Any], text: bytes, descriptors: Sequence[int]) -> None:
        try:
            for descriptor in descriptors:
                os.fsync(descriptor)
        except OSError as error:  # the system says so once: whoever asks again hears that all is well
            self._error = error
            return
        try:
            _replace(self.path, text + b"\n" + hashlib.sha256(text).hexdigest().encode() + b"\n")
        except OSError as error:
            log.warning("%d parts are done, but this is not kept: %s", state["num_parts"], error)
            return
        self.newest = state


def _replace(path: Path, content: bytes) -> None:
    """Write a file, all of it or nothing."""
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk: what was replaced in it does not come back when power fails."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@cache
def _hash_packages() -> str:
    """Return what stands for all packages that are installed: other versions may read other numbers."""
    found = sorted(f"{each.name} {each.version}" for each in distributions())
    return hashlib.sha256("\n".join(found).encode()).hexdigest()
