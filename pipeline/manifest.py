"""Put together what a job hands on as an artifact, with a manifest of every file's size and sha256."""

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.workspace import write_json

FILE_NAME = "manifest.json"
VERSION = 1


def copy_tree(source: Path, target: Path, leave_out: Iterable[str] = (), *, follow_links: bool = True) -> None:
    """Copy the files of a folder, if it is there, without the entries named in `leave_out`.

    DVC links files to its cache. Elsewhere links are not to be followed, but left out: they may lead anywhere.
    """
    ignore = shutil.ignore_patterns(*leave_out)

    def find_ignored(folder: str, names: list[str]) -> set[str]:
        links = () if follow_links else (name for name in names if os.path.islink(os.path.join(folder, name)))
        return {*ignore(folder, names), *links}

    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=find_ignored)


def write_manifest(folder: Path) -> dict[str, Any]:
    """List every file of `folder` in its manifest.json, and return it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / FILE_NAME)
    files = [
        {"path": path.relative_to(folder).as_posix(), "size": path.stat().st_size, "sha256": _hash_file(path)}
        for path in paths
    ]
    manifest = {"version": VERSION, "files": files}
    write_json(folder / FILE_NAME, manifest)
    return manifest


def find_damage(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Return the paths of a manifest that are missing in `folder`, or not what it says."""
    return [
        file["path"]
        for file in manifest["files"]
        if not (folder / file["path"]).is_file() or _hash_file(folder / file["path"]) != file["sha256"]
    ]


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
