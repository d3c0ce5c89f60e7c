"""The files and folders that sources read: params name them, stages depend on them, git or a .dvc file tracks them.

What params name may end in `#sha256=` and the sha256 to expect. A URL is no dependency: only the stage itself asks.
"""

import posixpath
import re
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.documents import parse_yaml
from pipeline.dvccache import hash_out
from pipeline.errors import ConfigError, suggest
from pipeline.index import FileIndex

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SECRET = re.compile(r"[?&][^=&]*(?:signature|token|passw|secret|credential|api_?key)[^=&]*=|[?&]sig=", re.IGNORECASE)
_HASH = re.compile(r"#([a-z0-9]+)=.*", re.IGNORECASE)
_PIN = re.compile(r"#sha256=[0-9a-f]{64}", re.IGNORECASE)


def find_path(place: str) -> str:
    """Return the file or folder of the checkout that params name, nothing for a URL.

    >>> find_path("data/x.csv#sha256=0123"), find_path("https://host/x.csv")
    ('data/x.csv', '')
    """
    return "" if _URL.match(place) else place.partition("#sha256=")[0]


def find_fault(place: str, index: FileIndex) -> str:
    """Return what is wrong with what params say of data, nothing where it can be read or be a dependency."""
    is_url = bool(_URL.match(place))
    found = _HASH.search(place)
    if found and (is_url or found[1] == "sha256") and not _PIN.fullmatch(found[0]):
        return f"'{found[0]}' is no sha256 to expect: wanted #sha256= and 64 digits from 0 to f"
    return _find_url_fault(place) if is_url else _find_path_fault(find_path(place), index)


def _find_url_fault(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return f"the URL is none: {error}"
    if "@" in parts.netloc or _SECRET.search(url):
        return "the URL holds a user or a secret, which the environment or ~/.netrc is for"
    if parts.scheme in ("file", "local"):
        return f"'{url}' is of this machine alone: wanted a path inside the checkout, relative to its root"
    if "::" in url:
        return f"'{url}' is a chain of URLs: wanted the URL of one file"
    return "" if parts.netloc or parts.path.strip("/") else f"'{url}' names no file"


def _find_path_fault(path: str, index: FileIndex) -> str:
    if posixpath.isabs(path) or path != posixpath.normpath(path) or path.startswith("../"):
        return f"'{path}' is no plain path inside the checkout, relative to its root"
    if path == "." or path.split("/")[0] in (".git", ".dvc", ".force"):
        return f"'{path}' is no folder of data"
    if not (index.exists(path) or index.is_folder(path) or index.exists(f"{path}.dvc")):
        folder, _, name = path.rpartition("/")
        return f"there is no '{path}', and no '{path}.dvc'{suggest(name, sorted(index.list_folder(folder)))}"
    return ""


def hash_data(root: Path, path: str, index: FileIndex) -> str | None:
    """Return the hash of data as DVC records it; of what is not here, that in its .dvc file, and None without one."""
    return hash_out(root, path, index) or _read_tracked(path, index)


def find_missing(root: Path, paths: tuple[str, ...]) -> list[str]:
    """Return the .dvc files of the data that are not here."""
    return [f"{path}.dvc" for path in paths if not (root / path).exists() and (root / f"{path}.dvc").exists()]


def _read_tracked(path: str, index: FileIndex) -> str | None:
    tracking = f"{path}.dvc"
    if not index.exists(tracking):
        return None
    try:
        document = index.fact(tracking, "yaml", lambda text: parse_yaml(text, tracking))
        (out,) = [out for out in document["outs"] if out["path"] == posixpath.basename(path)]
        return str(out["md5"])
    except (ConfigError, ValueError, KeyError, TypeError):
        return None
