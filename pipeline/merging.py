"""Decide which results to bring to a branch that moved after they were made: never an older one over a newer."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.experiments import COMMON
from pipeline.ownership import dvc_file_of, folder_of


def choose_files(
    files: Mapping[str, Path], moved: set[str], tree: Path, count_stale: Callable[[str], int]
) -> tuple[dict[str, Path], list[str]]:
    """Return the files to write over a branch's tip, checked out in `tree`, and the paths of those that are not to be.

    `moved` are the paths that the branch changed since the results were made. An experiment's results go together. They
    are taken where no fewer stages agree with the branch's files under ours than under its own; where the branch has
    changed the results, others came first, and ours have to be better. An experiment that is gone gets none.
    """
    taken: dict[str, Path] = {}
    dropped: list[str] = []
    for experiment, paths in _group(files).items():
        ours = {path: files[path] for path in paths}
        folder = tree / folder_of(experiment)
        if experiment != COMMON and not folder.is_dir():
            dropped += paths
        elif not moved or _is_there(ours, tree):
            taken |= ours
        elif _fits(experiment, ours, moved, tree, count_stale):
            # A dvc.yaml that the branch changed says what its files are now.
            taken |= {path: file for path, file in ours.items() if path not in moved or path != dvc_file_of(experiment)}
        else:
            dropped += paths
    return taken, dropped


def experiment_of(path: str) -> str:
    """Return the experiment that a result file belongs to.

    >>> [experiment_of(path) for path in ("experiments/wide/dvc.lock", "dvc.lock", "common/outputs/costs.json")]
    ['wide', 'common', 'common']
    """
    return path.split("/")[1] if path.startswith("experiments/") else COMMON


def _group(files: Mapping[str, Path]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for path in files:
        groups.setdefault(experiment_of(path), []).append(path)
    return groups


def _is_there(ours: Mapping[str, Path], tree: Path) -> bool:
    """Say whether the tree has our files already, as after a job that is run again."""
    return all((tree / path).is_file() and (tree / path).read_bytes() == ours[path].read_bytes() for path in ours)


def _fits(
    experiment: str, ours: Mapping[str, Path], moved: set[str], tree: Path, count_stale: Callable[[str], int]
) -> bool:
    """Say whether our files fit the tree, as well as its own or better; the tree is left as it was."""
    theirs = count_stale(experiment)
    saved = {path: (tree / path).read_bytes() if (tree / path).exists() else None for path in ours}
    try:
        for path, source in ours.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, tree / path)
        return count_stale(experiment) < theirs + (0 if moved & set(ours) else 1)
    finally:
        for path, content in saved.items():
            (tree / path).unlink()
            if content is not None:
                (tree / path).write_bytes(content)
