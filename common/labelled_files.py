"""Files in a folder per class, below folders of splits or not."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from common.dataset import SPLITS
from common.samples import BadSourceError


def list_labelled_files(root: Path, endings: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield path below `root`, class and split, or no split, of each file that ends so, in alphabetical order.

    Folders train, valid and test, alone, are splits; the class is the first folder below. Raises BadSourceError where
    there is no such folder.
    """
    if not root.is_dir():
        raise BadSourceError(f"there is no folder '{root}'")
    splits = sorted(folder.name for folder in _list_visible_folders(root))
    if splits and set(splits) <= set(SPLITS):
        for split in splits:
            for name, label in _list_classes(root / split, endings):
                yield f"{split}/{name}", label, split
    else:
        for name, label in _list_classes(root, endings):
            yield name, label, ""


def open_inside(root: Path, name: str) -> BinaryIO:
    """Open a file below a folder. Raises BadSourceError where it is elsewhere, or cannot be opened."""
    if name.startswith("/") or ".." in name.split("/"):
        raise BadSourceError(f"'{name}' leads out of '{root}'")
    try:
        return (root / name).open("rb")
    except OSError as error:
        raise BadSourceError(f"'{name}' cannot be read: {error.strerror}") from error


def _list_visible_folders(root: Path) -> Iterator[Path]:
    return (entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _list_classes(root: Path, endings: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield path below `root` and class of each file."""
    for folder in sorted(_list_visible_folders(root)):
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in endings:
                yield path.relative_to(root).as_posix(), folder.name
