"""Unpack archives of data that nobody vouches for: files and folders alone, into one folder, within limits.

What the archive says of itself is not believed: bytes are counted as they are unpacked.
"""

import bz2
import errno
import gzip
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import IO, Any, cast

from common.samples import BadSourceError

_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".tar": lambda path: path.open("rb"),
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.xz": lzma.open,
    ".txz": lzma.open,
    ".tar.bz2": bz2.open,
    ".tbz2": bz2.open,
}
ENDINGS = (".zip", *_OPENERS)
_MAX_BYTES = 2**40  # that any archive may unpack to
_MAX_GROWTH = 200  # times the archive's own size, which zeros alone exceed
_FREE_GROWTH = 2**30  # bytes that any archive may unpack to, however small it is
_MEMBER_BYTES = 512  # that a member counts at least, so that a million empty ones count, too
_CHUNK_BYTES = 2**20
_MAX_HEADER_BYTES = 2**22
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,  # of zipfile, also for what it cannot unpack
    ValueError,
)


def find_ending(name: str) -> str:
    """Return what says that a file of this name is an archive, nothing where it is none.

    >>> find_ending("Photos.TAR.gz")
    '.TAR.gz'
    """
    found = max((ending for ending in ENDINGS if name.lower().endswith(ending)), key=len, default="")
    return name[len(name) - len(found) :]


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive into `folder`, which is made; return the path of the one thing in it, or of all.

    Raises BadSourceError, in one line, for one that is damaged, empty, encrypted or hostile; nothing is left then.
    """
    folder.mkdir()
    try:
        with _explain(archive):
            target = _Target(archive, folder)
            ending = find_ending(archive.name).lower()
            if ending == ".zip":
                _unpack_zip(archive, target)
            else:
                _unpack_tar(_OPENERS[ending](archive), target)
            return _find_only(archive, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


class _Target:
    """The folder that one archive is unpacked into."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self._archive = archive
        self._folder = folder
        self._limit = min(_MAX_BYTES, max(_FREE_GROWTH, _MAX_GROWTH * archive.stat().st_size))
        self._num_bytes = 0

    def add_folder(self, name: str) -> None:
        """Make a folder."""
        self._spend(_MEMBER_BYTES)
        with self._say_twice(name):
            self._find_place(name).mkdir(parents=True, exist_ok=True)

    def add_file(self, name: str, content: IO[bytes]) -> None:
        """Write a file. Raises BadSourceError where there is one already."""
        self._spend(_MEMBER_BYTES)
        path = self._find_place(name)
        with self._say_twice(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("xb")
        with file:
            while chunk := content.read(_CHUNK_BYTES):
                self._spend(len(chunk))
                file.write(chunk)

    def check(self, num_bytes: int) -> None:
        """Raise BadSourceError where so many bytes are too many."""
        if num_bytes > self._limit:
            limit = f"{self._limit / 2**30:.1f} GiB, which this one may"
            raise BadSourceError(f"'{self._archive}' unpacks to more than {limit}; unpack it, and dvc add the folder")

    def refuse(self, name: str, kind: str) -> BadSourceError:
        """Return what is wrong with a member that is neither file nor folder."""
        return BadSourceError(f"'{self._archive}' holds the {kind} '{name}': only files and folders are unpacked")

    def _spend(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        self.check(self._num_bytes)

    def _find_place(self, name: str) -> Path:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or "\\" in name or "\0" in name or ".." in parts or ":" in name.split("/")[0]:
            raise BadSourceError(f"'{self._archive}' holds {name!r}, which leads out of it")
        return self._folder.joinpath(*parts)

    @contextmanager
    def _say_twice(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise BadSourceError(f"'{self._archive}' holds '{name}' twice") from None


class _Stream(RawIOBase):
    """What a packed tar unpacks to, read once from front to end, and counted."""

    def __init__(self, content: IO[bytes], target: _Target) -> None:
        self._content = content
        self._target = target
        self._place = 0
        self.last = b""  # what was read last

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header says that it has {size} bytes")
        self.last = self._content.read(size)
        self._place += len(self.last)
        self._target.check(self._place)
        return self.last

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._place

    def seek(self, offset: int, whence: int = 0) -> int:
        """Read up to a place. Raises ReadError for one that is behind."""
        if whence or offset < self._place:
            raise tarfile.ReadError("its members are out of order")
        while self._place < offset and self.read(min(_CHUNK_BYTES, offset - self._place)):
            pass
        return self._place


def _unpack_tar(content: IO[bytes], target: _Target) -> None:
    with content:
        stream = _Stream(content, target)
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:", encoding="utf-8", errors="strict") as archive:
            for member in archive:
                if member.isdir():
                    target.add_folder(member.name)
                elif member.isreg():
                    target.add_file(member.name, cast(IO[bytes], archive.extractfile(member)))
                else:
                    raise target.refuse(member.name, "link" if member.issym() or member.islnk() else "device")
        if stream.last != bytes(tarfile.BLOCKSIZE):  # tarfile takes a damaged header, or none, for the end
            raise tarfile.ReadError("it does not end as a tar does")
        while stream.read(_CHUNK_BYTES):  # checksums stand at the very end
            pass


def _unpack_zip(archive: Path, target: _Target) -> None:
    with zipfile.ZipFile(archive) as content:
        members: list[zipfile.ZipInfo] = content.infolist()
        offsets: list[int] = [member.header_offset for member in members]
        if min(offsets, default=0):  # a cut one may end with one that it holds
            raise zipfile.BadZipFile("it does not begin as a zip does")
        for member in members:
            name = _read_name(archive, member)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.flag_bits & 1:
                raise BadSourceError(f"'{archive}' is encrypted: unpack it, and dvc add the folder")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise target.refuse(name, "link" if kind == stat.S_IFLNK else "device")
            if member.is_dir():
                target.add_folder(name)
            else:
                with content.open(member) as stream:
                    target.add_file(name, stream)


def _read_name(archive: Path, member: zipfile.ZipInfo) -> str:
    """Return the name of a member. Raises BadSourceError where it is not UTF-8, which many write without saying so."""
    if member.flag_bits & 0x800:
        return member.orig_filename
    raw = member.orig_filename.encode("cp437")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadSourceError(f"'{archive}' holds a name that is not UTF-8: {raw!r}") from None


def _find_only(archive: Path, folder: Path) -> Path:
    """Return the only file of a folder, else the only folder right in it, else the folder."""
    shutil.rmtree(folder / "__MACOSX", ignore_errors=True)  # what Finder adds
    files = (path for path in folder.rglob("*") if path.is_file())
    first, second = next(files, None), next(files, None)
    if first is None:
        raise BadSourceError(f"'{archive}' holds no files")
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    if second is None:
        return first
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


@contextmanager
def _explain(archive: Path) -> Iterator[None]:
    """Turn what is raised for a damaged archive into one line; a full disk is no damage."""
    try:
        yield
    except BadSourceError:
        raise
    except UnicodeDecodeError as error:
        raise BadSourceError(f"'{archive}' holds a name that is not UTF-8: {error.object[:100]!r}") from error
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno in _FULL_DISK:
            raise
        found = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadSourceError(f"'{archive}' is damaged: {found}") from error
