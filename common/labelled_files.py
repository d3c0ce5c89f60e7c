"""Files in a folder, perhaps one per class, below folders of splits or not."""

import errno
import os
import re
from collections.abc import Iterator
from functools import cache
from typing import BinaryIO

from common.dataset import SPLITS
from common.samples import BadSourceError

_KEPT_BY_DVC = re.compile(r"/[0-9a-f]{2}/[0-9a-f]{30}$")  # of any version


def list_labelled_files(root: str, endings: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Yield path below `root`, class and split, or no split, of each file that ends so, in alphabetical order.

    Folders train, valid and test, alone, are splits; the class is the first folder below. Raises BadSourceError where
    there is no such folder.
    """
    splits = _list_splits(root)
    for split in splits:
        yield from ((f"{split}/{name}", label, split) for name, label in _list_classes(f"{root}/{split}", endings))
    if not splits:
        yield from ((name, label, "") for name, label in _list_classes(root, endings))


def list_files(root: str, endings: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield path below `root` and split, or no split, of each file that ends so, in alphabetical order.

    Raises BadSourceError where there is no such folder.
    """
    for split in _list_splits(root) or [""]:
        names = sorted(_list_files(root, f"{split}/" if split else "", endings))
        yield from ((name, split) for name in names)


def open_inside(root: str, name: str) -> BinaryIO:
    """Open a file below a folder. Raises BadSourceError where it is elsewhere, or cannot be opened.

    A link counts where it leads; those by which DVC puts what it keeps into the folder may lead out.
    """
    if name.startswith("/") or ".." in name.split("/"):
        raise BadSourceError(f"'{name}' leads out of '{root}'")
    path = f"{root}/{name}"
    check_link(root, os.path.dirname(path))
    try:
        return open(path, "rb", opener=_open_no_link)  # whoever asks closes it
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise BadSourceError(f"'{name}' cannot be read: {error.strerror}") from error
    check_link(root, path)
    try:
        return open(path, "rb")
    except OSError as error:
        raise BadSourceError(f"'{name}' cannot be read: {error.strerror}") from error


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


@cache
def check_link(root: str, path: str) -> None:
    """Raise BadSourceError where a path below `root` is a link that leads out of it, and not to what DVC keeps."""
    target, folder = os.path.realpath(path), os.path.realpath(root)
    if target != folder and not target.startswith(f"{folder}/") and not _KEPT_BY_DVC.search(target):
        raise BadSourceError(f"'{os.path.relpath(path, root)}' is a link that leads out of '{root}'")


def _list_splits(root: str) -> list[str]:
    """Return the folders of splits, none where there are others. Raises BadSourceError where there is no folder."""
    if not os.path.isdir(root):
        raise BadSourceError(f"there is no folder '{root}'")
    folders = _list_folders(root)
    return folders if set(folders) <= set(SPLITS) else []


def _list_folders(root: str) -> list[str]:
    """Return the names of the folders in `root`, in alphabetical order."""
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def _list_classes(root: str, endings: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield path below `root` and class of each file."""
    for label in _list_folders(root):
        yield from ((name, label) for name in sorted(_list_files(root, f"{label}/", endings)))


def _list_files(root: str, prefix: str, endings: tuple[str, ...]) -> Iterator[str]:
    for entry in os.scandir(f"{root}/{prefix}"):  # a tenth of the time that `Path.rglob` takes
        if entry.is_dir(follow_symlinks=False):
            yield from _list_files(root, f"{prefix}{entry.name}/", endings)
        elif entry.name.lower().endswith(endings):
            yield prefix + entry.name
