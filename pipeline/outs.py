"""Where outs of stages are: in the workspace, in DVC's cache, or among what jobs handed on for the report."""

import hashlib
import json
import re
import shutil
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from pipeline.dvccache import DvcCache
from pipeline.ownership import Ownership
from pipeline.planning import Planner
from pipeline.project import Project
from pipeline.tensorfiles import TensorPlace, read_tensor_places

HISTORY = "outputs/train/history.jsonl"
PREDICTIONS = "outputs/evaluate/predictions.safetensors"
PERFORMANCE = "outputs/evaluate/performance.json"
CONFUSION = "outputs/evaluate/confusion.csv"
REPORTED = {HISTORY: "train", PREDICTIONS: "evaluate", PERFORMANCE: "evaluate", CONFUSION: "evaluate"}

_HASH = re.compile(r"[0-9a-f]{32}")
_MAX_BYTES = 2**24  # of a file that is handed on


class OutFinder:
    """Finds outs that dvc.lock records in one checkout, by their hashes.

    `handed_on` has files of jobs by the hash of the out that each stands for.
    """

    def __init__(
        self,
        project: Project,
        ownership: Ownership,
        planner: Planner,
        cache: DvcCache,
        handed_on: Mapping[str, Path] | None = None,
    ) -> None:
        self._root = project.root
        self._index = project.index
        self._ownership = ownership
        self._planner = planner
        self._cache = cache
        self._handed_on = handed_on or {}

    def find(self, experiment: str, out: str) -> Path | None:
        """Return where an out is that an experiment uses, its own or an inherited one; None where it is not here."""
        stage = self._ownership.effective(experiment, REPORTED[out])
        md5 = self._planner.recorded_outs(stage).get(out)
        if not md5:
            return None
        path = f"{stage.folder}/{out}"
        if self._index.exists(path) and self._index.md5(path) == md5:
            return self._root / path
        return self._cache.object_path(md5) if self._cache.has(md5) else self._find_handed_on(md5, out)

    def _find_handed_on(self, md5: str, out: str) -> Path | None:
        """Return what a job handed on; what it gives whole has to be what the hash says."""
        path = self._handed_on.get(md5)
        return path if path and (out == PREDICTIONS or _hash_file(path) == md5) else None

    def list_hashes(self, experiments: Iterable[str]) -> list[str]:
        """Return the hashes of all outs of some experiments."""
        hashes = (self.hash(experiment, out) for experiment in experiments for out in REPORTED)
        return [md5 for md5 in hashes if md5]

    def hash(self, experiment: str, out: str) -> str | None:
        """Return the hash that dvc.lock records of an out; None where it records none."""
        return self._planner.recorded_outs(self._ownership.effective(experiment, REPORTED[out])).get(out)


def hand_on(finder: OutFinder, experiments: Iterable[str], folder: Path) -> None:
    """Copy into `folder` what a report reads of experiments besides their results, each file by its out's hash."""
    for experiment in experiments:
        for out in REPORTED:
            path, md5 = finder.find(experiment, out), finder.hash(experiment, out)
            if path and md5:
                hand_on_file(path, folder / md5, is_scores=out == PREDICTIONS)


def hand_on_file(path: Path, target: Path, *, is_scores: bool) -> None:
    """Copy a file, of predictions only the scores; one that is too long, or damaged, is left out."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError, ValueError):
        if is_scores:
            _copy_scores(path, target)
        elif path.stat().st_size <= _MAX_BYTES:
            shutil.copyfile(path, target)


def carry_on(handed_on: Mapping[str, Path], hashes: Iterable[str], folder: Path) -> None:
    """Copy into `folder` what was handed on of these outs, for reports of later runs."""
    for md5 in hashes:
        if md5 in handed_on:
            (target := folder / "carried" / "outs" / md5).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(handed_on[md5], target)


def read_handed_on(folder: Path) -> dict[str, Path]:
    """Return hash → file of what jobs left below `folder`."""
    files = (path for path in sorted(folder.glob("*/outs/*")) if _HASH.fullmatch(path.name) and not path.is_symlink())
    return {path.name: path for path in files if path.is_file() and path.stat().st_size <= 2 * _MAX_BYTES}


def _hash_file(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _copy_scores(path: Path, target: Path) -> None:
    """Write the ids and scores of a predictions.safetensors as a file of their own."""
    places = [place for place in read_tensor_places(path) if place.name == "ids" or "scores." in place.name]
    if sum(place.end - place.start for place in places) > _MAX_BYTES:
        return
    header, parts, end = {}, [], 0
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        for place in places:
            file.seek(start + place.start)
            parts.append(file.read(place.end - place.start))
            header[place.name] = _describe(place, end, end := end + len(parts[-1]))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    target.write_bytes(b"".join([struct.pack("<Q", len(text)), text, *parts]))


def _describe(place: TensorPlace, start: int, end: int) -> dict[str, object]:
    return {"dtype": place.dtype, "shape": list(place.shape), "data_offsets": [start, end]}
