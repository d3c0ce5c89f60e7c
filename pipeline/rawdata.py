"""The files and folders that sources read: params name them, stages depend on them, git or a .dvc file tracks them."""

import posixpath
from pathlib import Path

from pipeline.documents import parse_yaml
from pipeline.dvccache import hash_out
from pipeline.errors import ConfigError
from pipeline.index import FileIndex


def find_fault(path: str, index: FileIndex) -> str:
    """Return what is wrong with the path of data that params give, nothing where it can be a dependency."""
    if posixpath.isabs(path) or path != posixpath.normpath(path) or path.startswith("../"):
        return f"'{path}' is no plain path inside the checkout, relative to its root"
    if path == "." or path.split("/")[0] in (".git", ".dvc", ".force"):
        return f"'{path}' is no folder of data"
    if not (index.exists(path) or index.is_folder(path) or index.exists(f"{path}.dvc")):
        return f"there is no '{path}', and no '{path}.dvc'"
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
