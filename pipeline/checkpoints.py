"""Where stages keep their state while they run: outside their outs, a folder for each set of inputs.

The folders are below `.force/checkpoints`, or FORCE_CHECKPOINT_DIR: on a runner, a place that outlives a job. What is
in them is `common.checkpoint`'s for trainings, and `common.part_states`' for preparations, with all that these wrote.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DIR_VARIABLE = "FORCE_CHECKPOINT_DIR"
FINISHED = "finished"  # the name of the file by which `common.checkpoint` marks a training that is done

PREPARED = "data"  # the dataset of a preparation that is not done, in its folder


def find_checkpoint_dir(root: Path, experiment: str, key: str) -> Path:
    """Return the folder for a stage of an experiment whose inputs have the hash `key`."""
    return find_checkpoint_base(root) / experiment / key[:16]


def find_checkpoint_base(root: Path) -> Path:
    """Return where all checkpoints are, those of an experiment below its name."""
    return Path(os.environ.get(DIR_VARIABLE) or root / ".force" / "checkpoints").absolute()


@contextmanager
def hold_checkpoints(folder: Path | None) -> Iterator[Path | None]:
    """Make the folder and keep others off it; yield None where another run of the same stage holds it."""
    if folder is None:
        yield None
        return
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"note: no checkpoints are kept: another run of the same stage holds {folder}", flush=True)
            yield None
        else:
            _drop_others(folder)
            yield folder
    finally:
        os.close(descriptor)


def take_prepared(folder: Path, target: Path) -> None:
    """Move the dataset of a preparation that is done to `target`, and delete its folder, where there is one.

    It is copied where the two are on different disks.
    """
    if (folder / PREPARED).exists():
        shutil.move(folder / PREPARED, target)
        shutil.rmtree(folder)


def _drop_others(folder: Path) -> None:
    """Delete what is of no more use: what finished trainings of the same experiment left, and what fills the disk.

    That is each preparation of it that was killed and has other inputs now.
    """
    for marker in (*folder.parent.glob(f"*/{FINISHED}"), *folder.parent.glob(f"*/{PREPARED}")):
        other = marker.parent
        if other == folder:
            continue
        descriptor = os.open(other.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(BlockingIOError):  # somebody is at work there right now
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(other, ignore_errors=True)
        os.close(descriptor)
