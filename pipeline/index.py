"""Remember what was read from files, so that an unchanged file is not read twice.

An entry holds as long as the file's size, inode, modification and change time are the same; the change time cannot be
set by hand, so an edit that restores the modification time is still seen. What is remembered is derived: the
index may be deleted at any time.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

VERSION = 1
# A file that changed this recently may change again within the clock tick of its file system: not remembered.
_RACY_NS = 50_000_000


class FileIndex:
    """Facts about files below `root`, by path relative to it; kept in one JSON file."""

    def __init__(self, root: str | Path, store: Path) -> None:
        self._prefix = f"{root}/"
        self._store = store
        self._entries: dict[str, list[Any]] = {}
        self._dirty = False
        with suppress(OSError, ValueError, TypeError, KeyError):
            stored = json.loads(store.read_bytes())
            if stored["version"] == VERSION:
                self._entries = stored["entries"]
        self._seen: dict[str, list[Any] | None] = {}

    def exists(self, path: str) -> bool:
        """Say whether `path` is a regular file."""
        return self._entry(path) is not None

    def md5(self, path: str) -> str | None:
        """Return the md5 of a file's bytes, as DVC records it, or None where there is no such file."""
        entry = self._entry(path)
        if entry is None:
            return None
        if entry[1] is None:
            with open(self._prefix + path, "rb") as stream:
                entry[1] = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            self._dirty = True
        md5: str = entry[1]
        return md5

    def fact(self, path: str, kind: str, derive: Callable[[bytes], Any]) -> Any:
        """Return what `derive` makes of the bytes of an existing file: a value that JSON can hold, not to be changed.

        `kind` names the derivation. An exception of `derive` passes through, and is not remembered.
        """
        entry = self._entry(path)
        if entry is None:
            raise FileNotFoundError(path)
        facts = entry[2]
        if kind not in facts:
            facts[kind] = derive(Path(self._prefix + path).read_bytes())
            self._dirty = True
        return facts[kind]

    def forget(self, path: str = "") -> None:
        """Look again at `path` and all below it at the next question; "" is everything."""
        for seen in [seen for seen in self._seen if seen == path or seen.startswith(f"{path}/") or not path]:
            del self._seen[seen]

    def save(self) -> None:
        """Write the index, all of it or nothing; a folder that cannot be written to is no error."""
        if not self._dirty:
            return
        settled = time.time_ns() - _RACY_NS
        entries = {p: e for p, e in self._entries.items() if e[0][0] < settled and e[0][1] < settled}
        with suppress(OSError):
            self._store.parent.mkdir(exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._store.parent, delete=False) as stream:
                json.dump({"version": VERSION, "entries": entries}, stream, separators=(",", ":"))
            os.replace(stream.name, self._store)
            self._dirty = False

    def _entry(self, path: str) -> list[Any] | None:
        if path in self._seen:
            return self._seen[path]
        try:
            stat = os.stat(self._prefix + path)
        except (FileNotFoundError, NotADirectoryError):
            entry = None
        else:
            signature = [stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino]
            entry = self._entries.get(path)
            if stat.st_mode & 0o170000 != 0o100000:
                entry = None
            elif entry is None or entry[0] != signature:
                entry = self._entries[path] = [signature, None, {}]
        self._seen[path] = entry
        return entry
