"""Before a run: mend what a killed run left. Nothing of the user's is deleted: it is kept below `.force/kept`."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pipeline.dvccache import Damage
from pipeline.errors import ConfigError
from pipeline.ownership import Stage, lock_file_of
from pipeline.planning import Planner
from pipeline.workspace import Workspace


class Attic:
    """Where a run keeps what it takes out of the way: a folder named after the moment, made on first use."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / ".force" / "kept" / datetime.now().strftime("%Y%m%d-%H%M%S-%f")

    def keep(self, path: str) -> str:
        """Move a file or folder, given relative to the root, into the attic; return where it is now, relative too."""
        return self.keep_as(self._root / path, path)

    def keep_as(self, path: Path, name: str) -> str:
        """Move a file or folder from anywhere into the attic, under a name; return where it is now."""
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
        return target.relative_to(self._root).as_posix()


def bring_back_outs(root: Path, stages: Iterable[Stage]) -> None:
    """Put back the outs that a killed run had set aside."""
    for stage in stages:
        Workspace(root / stage.folder, stage.name).bring_back()


def set_broken_locks_aside(planner: Planner, experiments: Iterable[str], attic: Attic) -> list[str]:
    """Keep away dvc.lock files that cannot be read, as a process killed while writing leaves; return what to say."""
    notes = []
    for name in experiments:
        try:
            planner.recorded(name)
        except ConfigError:
            path = lock_file_of(name)
            notes.append(f"warning: {path} could not be read; it is kept as {attic.keep(path)}")
    return notes


def drop_broken_rwlock(root: Path) -> None:
    """Delete DVC's own lock table where it is no JSON: a process was killed while writing it, and DVC refuses it."""
    path = root / ".dvc" / "tmp" / "rwlock"
    if not path.exists():
        return
    guard = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with suppress(BlockingIOError):  # somebody is writing it right now
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                json.loads(path.read_text())
            except ValueError:
                path.unlink()
    finally:
        os.close(guard)


def quarantine(damage: Iterable[Damage], attic: Attic) -> list[str]:
    """Take damaged objects out of DVC's cache, so that nothing checks them out; return what to say."""
    notes = []
    for found in damage:
        kept = attic.keep_as(found.path, f"cache/{found.md5}")
        notes.append(f"warning: {found.path} in the DVC cache is damaged; it is kept as {kept}")
    return notes
