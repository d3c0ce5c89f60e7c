"""Remember what was read from files, so that an unchanged file is not read twice.

An entry holds as long as the file's size, inode, modification and change time are the same; the change time cannot be
set by hand, so an edit that restores the modification time is still seen. What is remembered is derived: the
index may be deleted at any time.
"""

import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

# A file that changed this recently may change again within the clock tick of its file system: not remembered.
_RACY_NS = 50_000_000


class FileIndex:
    """Facts about files below `root`, by path relative to it; kept in one JSON file."""

    def __init__(self, root: str | Path, store: Path) -> None:
        self._prefix = f"{root}/"
        self._store = store
        self._version = _describe_code()
        self._entries: dict[str, list[Any]] = {}
        self._dirty = False
        with suppress(OSError, ValueError, TypeError, KeyError):
            stored = orjson.loads(store.read_bytes())
            if stored["version"] == self._version:
                self._entries = stored["entries"]
        self._seen: dict[str, list[Any] | None] = {}
        self._listed: dict[str, frozenset[str]] = {}
        self._unsaved: dict[tuple[str, str], Any] = {}  # facts that JSON cannot hold, as .inf, kept while we run

    def exists(self, path: str) -> bool:
        """Say whether `path` is a regular file."""
        return self._entry(path) is not None

    def is_folder(self, path: str) -> bool:
        """Say whether `path` is a folder."""
        parent, _, name = path.rpartition("/")
        return name in self.list_folder(parent) and os.path.isdir(self._prefix + path)

    def list_folder(self, folder: str) -> frozenset[str]:
        """Return the names of all that stands in a folder, none where it is no folder; "" is the root."""
        if folder not in self._listed:
            parent, _, name = folder.rpartition("/")
            names: frozenset[str] = frozenset()
            if not folder or name in self.list_folder(parent):
                with suppress(FileNotFoundError, NotADirectoryError):
                    names = frozenset(os.listdir(self._prefix + folder))
            self._listed[folder] = names
        return self._listed[folder]

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
        """Return what `derive` makes of the bytes of an existing file; not to be changed.

        `kind` names the derivation. An exception of `derive` passes through, and is not remembered.
        """
        return self.remember(path, kind, lambda: derive(Path(self._prefix + path).read_bytes()))

    def remember(self, path: str, kind: str, derive: Callable[[], Any]) -> Any:
        """Return what `derive` finds out of an existing file, as `fact` does, of one that need not fit into memory."""
        entry = self._entry(path)
        if entry is None:
            raise FileNotFoundError(path)
        facts = entry[2]
        if kind not in facts and (path, kind) not in self._unsaved:
            value = derive()
            if not _survives(value):
                self._unsaved[path, kind] = value
                return value
            facts[kind] = value
            self._dirty = True
        return facts[kind] if kind in facts else self._unsaved[path, kind]

    def confirm(self, path: str, kind: str, check: Callable[[], None]) -> None:
        """Call `check`, unless it returned before for this kind and state of the file. What it raises passes on."""

        def derive() -> bool:
            check()
            return True

        self.remember(path, kind, derive)

    def forget(self, path: str = "") -> None:
        """Look again at `path` and all below it at the next question; "" is everything."""
        for seen in [seen for seen in self._seen if seen == path or seen.startswith(f"{path}/") or not path]:
            del self._seen[seen]
        self._listed.clear()
        self._unsaved.clear()

    def save(self) -> None:
        """Write the index, all of it or nothing; a folder that cannot be written to is no error."""
        if not self._dirty:
            return
        settled = time.time_ns() - _RACY_NS
        entries = {p: e for p, e in self._entries.items() if e[0][0] < settled and e[0][1] < settled}
        with suppress(OSError):
            self._store.parent.mkdir(exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._store.parent, delete=False) as stream:
                stream.write(orjson.dumps({"version": self._version, "entries": entries}))
            os.replace(stream.name, self._store)
            self._dirty = False

    def _entry(self, path: str) -> list[Any] | None:
        if path in self._seen:
            return self._seen[path]
        entry = None
        folder, _, name = path.rpartition("/")
        if name in self.list_folder(
            folder
        ):  # most questions are for files that are not there: a listing answers them all
            with suppress(FileNotFoundError):
                entry = self._check(path, os.stat(self._prefix + path))
        self._seen[path] = entry
        return entry

    def _check(self, path: str, status: os.stat_result) -> list[Any] | None:
        """Return the entry of a file with this status, a new one where it changed; None where it is no regular file."""
        if not stat.S_ISREG(status.st_mode):
            return None
        signature = [status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino]
        entry = self._entries.get(path)
        if entry is None or entry[0] != signature:
            entry = self._entries[path] = [signature, None, {}]
        return entry


def _survives(value: Any) -> bool:
    """Say whether JSON brings a value back unchanged; infinity and numbers over 64 bits it does not."""
    try:
        return bool(orjson.loads(orjson.dumps(value)) == value)
    except TypeError:
        return False


def _describe_code() -> list[Any]:
    """Return what changes whenever this package does: facts that other code derived are worth nothing."""
    entries = sorted(os.scandir(Path(__file__).parent), key=lambda entry: entry.name)
    return [[e.name, e.stat().st_mtime_ns, e.stat().st_size] for e in entries if e.name.endswith((".py", ".json"))]
