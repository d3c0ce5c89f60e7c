"""Read DVC's cache: hashes of outs, which objects are there and whole, and which earlier runs could be reused.

Only reads; writing the cache is DVC's. Layout and hashes as of DVC 3 (`dvc_data.hashfile`, `dvc.stage.cache`).
"""

import configparser
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.index import FileIndex


@dataclass(frozen=True)
class Damage:
    """An object of the cache whose bytes are not those that its name promises."""

    md5: str
    path: Path


class DvcCache:
    """The cache of one checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        config = _read_config(root)
        # Relative paths in DVC's config count from the folder of the config.
        self.folder = (root / ".dvc" / config.get("cache", {}).get("dir", "cache")).resolve()
        self.remote_name = config.get("core", {}).get("remote", "")
        self.remote_url = config.get(f'remote "{self.remote_name}"', {}).get("url", "")

    @property
    def remote_folder(self) -> Path | None:
        """The default remote's folder, or None where the remote is none or not a folder."""
        if not self.remote_url or "://" in self.remote_url:
            return None
        return (self.root / ".dvc" / self.remote_url).resolve()

    def may_fetch(self) -> bool:
        """Say whether the default remote could have objects: a folder that does not exist has none."""
        return bool(self.remote_url) and (self.remote_folder is None or self.remote_folder.is_dir())

    def object_path(self, md5: str) -> Path:
        """Return where the object with this hash is kept."""
        return self.folder / "files" / "md5" / md5[:2] / md5[2:]

    def has(self, md5: str) -> bool:
        """Say whether an object is in the cache, for a folder with everything in it."""
        try:
            return all(os.path.exists(self.object_path(part)) for part in self._parts(md5))
        except (OSError, ValueError, TypeError, KeyError):  # the list of a folder may be damaged in any way
            return False

    def find_damage(self, md5: str) -> list[Damage]:
        """Return the objects of an out whose bytes do not hash to their name; what is absent is not damaged."""
        path = self.object_path(md5)
        if not path.exists():
            return []
        if _hash_file(path) != md5.removesuffix(".dir"):
            return [Damage(md5, path)]
        if not md5.endswith(".dir"):
            return []
        return [damage for part in self._parts(md5) if part != md5 for damage in self.find_damage(part)]

    def find_run(self, key: str) -> dict[str, str] | None:
        """Return the outs, path → md5, of an earlier run with the same inputs, whose objects are all here."""
        folder = self.folder / "runs" / key[:2] / key
        with suppress(OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
            newest = max(folder.iterdir(), key=lambda path: path.stat().st_mtime)
            outs = {out["path"]: out["md5"] for out in yaml.load(newest.read_bytes(), yaml.CSafeLoader)["outs"]}
            if all(self.has(md5) for md5 in outs.values()):
                return outs
        return None

    def _parts(self, md5: str) -> Iterator[str]:
        yield md5
        if md5.endswith(".dir"):
            for entry in json.loads(self.object_path(md5).read_bytes()):
                yield entry["md5"]


def run_key(cmd: str, deps: Mapping[str, str], params: Mapping[str, Mapping[str, Any]], outs: list[str]) -> str:
    """Return the key of DVC's run-cache for a stage; all paths as its dvc.yaml writes them."""
    entry: dict[str, Any] = {
        "cmd": cmd,
        "deps": [{"path": path, "hash": "md5", "md5": deps[path]} for path in sorted(deps)],
        "outs": sorted(outs),
    }
    if params:
        entry["params"] = params
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()


def hash_out(root: Path, path: str, index: FileIndex) -> str | None:
    """Return the hash of a file or folder as DVC records it, or None where there is none."""
    md5 = index.md5(path)
    if md5 is not None or not (root / path).is_dir():
        return md5
    entries = []
    for name in _list_files(f"{root}/{path}"):
        entries.append({"md5": index.md5(f"{path}/{name}"), "relpath": name})
    entries.sort(key=lambda entry: entry["relpath"] or "")
    text = json.dumps(entries, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _list_files(folder: str, prefix: str = "") -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _list_files(entry.path, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _read_config(root: Path) -> dict[str, dict[str, str]]:
    """Return DVC's repository config, laid over by config.local, as DVC itself does."""
    parser = configparser.ConfigParser(interpolation=None)
    with suppress(configparser.Error):
        parser.read([root / ".dvc" / "config", root / ".dvc" / "config.local"])
    return {
        name.strip("'"): {key: value.strip("'\"") for key, value in parser[name].items()} for name in parser.sections()
    }
