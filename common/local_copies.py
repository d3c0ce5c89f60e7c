"""What paths of data in params lead to, as paths of this machine: fetched and unpacked, for as long as it is needed."""

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common.addresses import Address, check_sha256, fetch, parse_address
from common.dataset import hash_file
from common.samples import BadSourceError
from common.unpacking import find_ending, unpack

log = logging.getLogger("force")

_PREFIX = "copies-"


class LocalCopies:
    """Copies of what is elsewhere, or packed, in a scratch folder that is gone when `beside` ends."""

    def __init__(self) -> None:
        self._parent: Path | None = None
        self._scratch: TemporaryDirectory[str] | None = None
        self._found: dict[str, str] = {}  # what params say → path of this machine
        self._names: dict[str, str] = {}  # path of a copy → what to call it
        self._sources: list[dict[str, str]] = []

    @contextmanager
    def beside(self, folder: Path) -> Iterator[None]:
        """Keep copies on the disk of a folder, and remove them in the end; errors name what was copied."""
        self._parent = folder.parent
        try:
            yield
        except BadSourceError as error:
            if (text := self._rename(str(error))) == str(error):
                raise
            raise BadSourceError(text) from error
        finally:
            self._clear()

    @staticmethod
    def remove_stale(folder: Path) -> None:
        """Remove copies beside a folder, of a process that was killed; nobody else may be at work there."""
        for scratch in folder.parent.glob(f"{_PREFIX}*"):
            shutil.rmtree(scratch, ignore_errors=True)

    def find(self, text: str) -> str:
        """Return the path of what params name; of an archive, that of the one file or folder in it, or of all.

        Raises BadSourceError where it cannot be fetched or unpacked, or does not have the sha256 that params say.
        """
        if text not in self._found:
            self._found[text] = self._bring(parse_address(text))
        return self._found[text]

    def describe(self, sources: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
        """Return name and sha256 of what was fetched or unpacked, and of what sources read of it."""
        renamed = [{**source, "name": self._rename(str(source["name"]))} for source in sources]
        known = {source["name"] for source in renamed}
        return (*(source for source in self._sources if source["name"] not in known), *renamed)

    def _bring(self, address: Address) -> str:
        path = Path(address.place)
        is_packed = bool(find_ending(address.name if address.scheme else path.name))
        if address.scheme:
            path = self._make_folder() / address.name
            log.info("fetching %s", address.shown)
            self._names[str(path)] = address.shown
            found = fetch(address, path)
        elif path.is_file() and (is_packed or address.sha256):
            found = hash_file(path)
        elif address.sha256:
            raise BadSourceError(f"there is no file '{address.place}': only files have a sha256")
        else:
            return address.place
        check_sha256(address, found)
        self._sources.append({"name": address.shown, "sha256": found})
        return self._unpack(address, path) if is_packed else str(path)

    def _unpack(self, address: Address, path: Path) -> str:
        stem = path.name[: -len(find_ending(path.name))] or "data"
        folder = self._make_folder() / stem
        log.info("unpacking %s", address.shown)
        self._names[str(folder)] = address.shown
        unpacked = unpack(path, folder)
        if address.scheme:
            path.unlink()
        return str(unpacked)

    def _make_folder(self) -> Path:
        """Return a new folder, so that names are kept as they are."""
        if self._scratch is None:
            self._scratch = TemporaryDirectory(prefix=_PREFIX, dir=self._parent)
        folder = Path(self._scratch.name, str(len(self._names)))
        folder.mkdir()
        return folder

    def _rename(self, text: str) -> str:
        for path, name in self._names.items():
            text = text.replace(path, name)
        return text

    def _clear(self) -> None:
        scratch, self._scratch = self._scratch, None
        for facts in (self._found, self._names, self._sources):
            facts.clear()
        if scratch is not None:
            scratch.cleanup()
