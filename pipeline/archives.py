"""Open zip archives that nobody vouches for: their table of contents is checked before anything is read.

Nothing is ever extracted to disk.
"""

import os
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MAX_MEMBERS = 200_000
_MAX_GROWTH = 100  # times the file's own size; what torch and Keras write does not grow at all, but for code
_FREE_GROWTH = 64 * 1024**2  # bytes that any archive may grow to
_END_SIZE = 22  # bytes
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive for reading. Raises ValueError for a damaged or a hostile one, in here and in the block."""
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive, path.stat().st_size)
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OverflowError) as error:
        raise ValueError(f"the archive is damaged: {str(error) or type(error).__name__}") from error


def check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Check the table of contents of an archive of `size` bytes. Raises ValueError, in one line."""
    members = archive.infolist()
    # A cut archive ends with one that it holds, which other readers take for the whole.
    if not members or min(member.header_offset for member in members) != 0 or not _ends_with_directory(archive):
        raise ValueError("the archive is damaged: it does not fill its file")
    if len(members) > _MAX_MEMBERS:
        raise ValueError(f"the archive has {len(members)} members, more than {_MAX_MEMBERS}")
    for member in members:
        _check_member(member)
    twice = [name for name, count in Counter(member.filename for member in members).items() if count > 1]
    if twice:
        raise ValueError(f"the archive has '{twice[0]}' twice")
    if sum(member.compress_size for member in members) > size:
        raise ValueError("the members of the archive overlap")
    if sum(member.file_size for member in members) > max(_FREE_GROWTH, _MAX_GROWTH * size):
        raise ValueError(f"the archive would grow to more than {_MAX_GROWTH} times its size")


def _ends_with_directory(archive: zipfile.ZipFile) -> bool:
    """Say whether the file ends with the archive's last record, without a comment."""
    file = archive.fp
    if file is None:
        return False
    file.seek(-_END_SIZE, os.SEEK_END)
    return file.read(4) == b"PK\x05\x06"


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.orig_filename
    parts = name.split("/")
    if "\\" in name or "\0" in name or name.startswith("/") or ":" in parts[0] or ".." in parts:
        raise ValueError(f"the archive has a member that leaves it: '{name}'")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ValueError(f"the archive has a link: '{name}'")
    if member.flag_bits & 0x1:
        raise ValueError(f"the archive is encrypted: '{name}'")
    if member.compress_type not in _METHODS:
        raise ValueError(f"the archive is packed in a way that is not read here: '{name}'")
