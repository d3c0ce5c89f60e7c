"""The paths of data in params: on this machine, or an address that fsspec knows; perhaps with the sha256 to expect."""

import errno
import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import aiohttp
import fsspec

from common.samples import BadSourceError

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SECRET = re.compile(r"[?&][^=&]*(?:signature|token|passw|secret|credential|api_?key)[^=&]*=|[?&]sig=", re.IGNORECASE)
_PIN = "#sha256="
_CHUNK_BYTES = 2**20
_TIMEOUT_S = 60  # without a byte; a download may take as long as it takes
_HTTP = ("http", "https")
_EXTRAS = {"s3": "s3", "s3a": "s3"}
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class Address(NamedTuple):
    """Where data are."""

    place: str  # a path, or a URL
    sha256: str  # that it has to have; empty where the params do not say

    @property
    def scheme(self) -> str:
        """What a URL begins with, nothing of a path."""
        found = _SCHEME.match(self.place)
        return found[1].lower() if found else ""

    @property
    def shown(self) -> str:
        """What to call it in messages and metadata: without what may be a secret."""
        if not self.scheme:
            return self.place
        parts = urlsplit(self.place)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def name(self) -> str:
        """What to call a copy of it."""
        last = unquote(urlsplit(self.place).path).replace("\0", "").rstrip("/").rpartition("/")[2]
        return last if last not in ("", ".", "..") else "data"


def parse_address(text: str) -> Address:
    """Return the address that params give. Raises BadSourceError for a sha256 that is none, or a secret in a URL."""
    place, mark, pin = text.rpartition(_PIN)
    address = Address(place, pin.lower()) if mark else Address(text, "")
    if mark and not re.fullmatch("[0-9a-f]{64}", address.sha256):
        raise BadSourceError(f"'{address.shown}': '{pin}' is no sha256, which has 64 digits from 0 to f")
    if address.scheme and ("@" in urlsplit(address.place).netloc or _SECRET.search(address.place)):
        raise BadSourceError(f"'{address.shown}': the URL holds a user or a secret, which params must not")
    return address


def check_sha256(address: Address, found: str) -> None:
    """Raise BadSourceError where data do not have the sha256 that params say."""
    if address.sha256 not in ("", found):
        raise BadSourceError(f"'{address.shown}' has the sha256 {found}, wanted {address.sha256}")


def fetch(address: Address, path: Path) -> str:
    """Copy what is at a URL into a new file, a little at a time; return its sha256.

    Raises BadSourceError, in one line, for all that may go wrong elsewhere.
    """
    digest = hashlib.sha256()
    try:
        with fsspec.open(address.place, "rb", **_list_options(address)) as stream, path.open("xb") as copy:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                copy.write(chunk)
    except Exception as error:  # each of fsspec's packages has errors of its own
        if isinstance(error, OSError) and error.errno in _FULL_DISK:
            raise
        raise BadSourceError(_explain(address, error)) from error
    return digest.hexdigest()


def _list_options(address: Address) -> dict[str, Any]:
    """Return what fsspec is told: one request and no encoding on the way; proxies and ~/.netrc as others use them."""
    if address.scheme not in _HTTP:
        return {}
    headers = {"Accept-Encoding": "identity"}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_S, sock_read=_TIMEOUT_S)
    return {"block_size": 0, "headers": headers, "client_kwargs": {"trust_env": True, "timeout": timeout}}


def _explain(address: Address, error: BaseException) -> str:
    """Return one line about what went wrong."""
    if isinstance(error, ImportError):
        extra = _EXTRAS.get(address.scheme)
        wanted = f"make extras NAMES={extra}" if extra else " ".join(str(error).split())
        return f"'{address.shown}' wants a package that is not installed: {wanted}"
    if isinstance(error, FileNotFoundError):
        while address.scheme in _HTTP and error.__cause__:  # fsspec takes every failure of a server for this one
            error = error.__cause__
        if isinstance(error, FileNotFoundError) or getattr(error, "status", None) == 404:
            return f"there is no '{address.shown}'"
    found = " ".join(str(error).replace(address.place, address.shown).split())[:200]
    return f"'{address.shown}' cannot be read: {type(error).__name__}: {found}"
