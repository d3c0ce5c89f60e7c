"""Where a stage's files stand while it runs, and how they become its outs: all of them at once, or none.

A stage writes into `outputs/<stage>.partial`. Only when it is done does that folder become `outputs/<stage>`.
"""

import errno
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

OUTCOME = "outcome.json"
PROGRESS = "progress.json"  # where a stage is; gone when it is done
TASK = "task.json"  # what the process of a stage is told; gone when it is done
LOCK = "running.lock"  # held as long as somebody works in a partial folder; gone when the stage is done


class Workspace:
    """The output folders of one stage of one experiment."""

    def __init__(self, folder: Path, stage: str) -> None:
        self.stage = stage
        self.final = folder / "outputs" / stage
        self.partial = folder / "outputs" / f"{stage}.partial"
        self._previous = folder / "outputs" / f"{stage}.previous"

    @property
    def log_path(self) -> Path:
        """The log, as long as the stage runs."""
        return self.partial / f"{self.stage}.log"

    @property
    def progress_path(self) -> Path:
        """The file by which a stage says where it is, as long as it runs."""
        return self.partial / PROGRESS

    @property
    def failed_log_path(self) -> Path:
        """Where the log of a failed run stays."""
        return self.final / "failed.log"

    def start(self) -> None:
        """Make an empty partial folder."""
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Show that somebody works in the partial folder: by a lock of the kernel's, which goes with the process.

        Where the file system has no locks, nothing is shown.
        """
        descriptor = None
        with suppress(OSError):
            descriptor = os.open(self.partial / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def is_held(self) -> bool:
        """Say whether somebody works in the partial folder."""
        try:
            descriptor = os.open(self.partial / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:  # where it may not be opened, nobody can tell
            return error.errno in (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # held; or there are no locks here, and nobody can tell
            return True
        finally:
            os.close(descriptor)
        return False

    def publish(self) -> None:
        """Make the partial folder the final one."""
        aside = self.final.with_suffix(".old")
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(FileNotFoundError):
            self.failed_log_path.unlink()
        with suppress(FileNotFoundError):
            os.rename(self.final, aside)
        os.rename(self.partial, self.final)
        _move_missing(aside, self.final)

    def discard(self) -> None:
        """Drop what a failed run wrote, but for its log; a disk that is full has room again before the log moves."""
        for entry in list(self.partial.iterdir()) if self.partial.exists() else []:
            if entry not in (self.log_path, self.partial / LOCK):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.final.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            os.replace(self.log_path, self.failed_log_path)
        shutil.rmtree(self.partial, ignore_errors=True)

    def drop_strange(self) -> list[str]:
        """Delete what a stage left that is neither file nor folder, and return its paths.

        Whoever follows a link reads, or overwrites, what the stage itself could not see.
        """
        found = [path for path in self.partial.rglob("*") if path.is_symlink() or not (path.is_file() or path.is_dir())]
        for path in found:
            path.unlink()
        return sorted(path.relative_to(self.partial).as_posix() for path in found)

    def set_aside(self) -> None:
        """Keep the current outs while DVC runs the stage: it deletes them before it starts."""
        self.bring_back()
        with suppress(FileNotFoundError):
            os.rename(self.final, self._previous)

    def bring_back(self) -> None:
        """Put back what was set aside, wherever nothing newer stands; without a newer result, all of it."""
        if self._previous.exists():
            self.final.mkdir(parents=True, exist_ok=True)
            _move_missing(self._previous, self.final)

    def has_previous(self) -> bool:
        """Say whether outs are set aside."""
        return self._previous.exists()

    def drop_previous(self) -> None:
        """Forget the outs that were set aside: the stage has new ones. Files that are not the stage's own stay."""
        with suppress(FileNotFoundError):
            (self._previous / self.failed_log_path.name).unlink()
        self.bring_back()


def _move_missing(source: Path, target: Path) -> None:
    """Move into `target` what `source` has and `target` has not, and delete the rest of `source`."""
    for entry in list(source.iterdir()) if source.exists() else ():
        if not (target / entry.name).exists():
            os.rename(entry, target / entry.name)
    shutil.rmtree(source, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, all of it or nothing, in a folder that need not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, all of it or nothing; where a link leads to, if it is one."""
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """Read a JSON file; None where it is missing or no JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def open_regular(path: Path) -> BinaryIO:
    """Open a file that code of an experiment wrote, to read it. Raises OSError where it is anything but a file.

    No link is followed, and no pipe waited for.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_end(path: Path, max_bytes: int) -> bytes | None:
    """Return the last bytes of a file that code of an experiment wrote; None where there is none."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - max_bytes))
            return file.read(max_bytes)
    except OSError:
        return None
