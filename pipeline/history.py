"""What evaluations said at earlier commits, made of what git knows of their files. Nothing here runs git."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from pipeline.results import parse_document

# The files that a history is made of, as git's pathspecs.
PATTERNS = tuple(
    f":(glob){folder}/outputs/evaluate/{name}.json"
    for folder in ("common", "experiments/*")
    for name in ("metrics", "certificate")
)
MAX_POINTS = 100  # of an experiment, the newest
_INFINITE = 1e300  # what no chart shows


@dataclass(frozen=True)
class Change:
    """What a commit did to some files."""

    commit: str
    date: str  # of the commit, as ISO 8601 says it
    subject: str
    contents: dict[str, str]  # path → what git calls its content, empty where the file went away


@dataclass(frozen=True)
class Point:
    """A result as a commit left it."""

    commit: str
    date: str
    subject: str
    metrics: Mapping[str, float]
    certificate: Mapping[str, Any] | None
    fault: str = ""  # why there is no certificate


@dataclass(frozen=True)
class History:
    """The results that commits of a branch changed, by the folder of the experiment, each folder's oldest first."""

    points: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    is_shallow: bool = False  # earlier commits are not here


@dataclass(frozen=True)
class _Version:
    """A change with the contents that one experiment then had."""

    change: Change
    metrics: str
    certificate: str


def build_history(
    changes: Iterable[Change], read_contents: Callable[[set[str]], Mapping[str, bytes]], is_shallow: bool = False
) -> History:
    """Return the history that `changes`, the oldest first, tell of; `read_contents` returns what git has of some.

    A result whose metrics cannot be read is left out.
    """
    versions = _trace(changes)
    wanted = {
        name for found in versions.values() for version in found for name in (version.metrics, version.certificate)
    }
    contents = read_contents(wanted - {""})
    names = {version.certificate for found in versions.values() for version in found}
    certificates = {name: parse_document("certificate", contents.get(name, b"")) for name in names}
    points = {folder: list(_read(found, contents, certificates)) for folder, found in versions.items()}
    return History(points, is_shallow)


def _trace(changes: Iterable[Change]) -> dict[str, list[_Version]]:
    """Return the versions of each folder's result, the newest of them where there are many."""
    versions: dict[str, list[_Version]] = {}
    for change in changes:
        folders: dict[str, dict[str, str]] = {}
        for path, content in change.contents.items():
            folder, _, file = path.partition("/outputs/evaluate/")
            folders.setdefault(folder, {})[file] = content
        for folder, files in folders.items():
            before = versions.setdefault(folder, [])
            last = before[-1] if before else _Version(change, "", "")
            metrics = files.get("metrics.json", last.metrics)
            before.append(_Version(change, metrics, files.get("certificate.json", last.certificate)))
    return {folder: found[-MAX_POINTS:] for folder, found in versions.items()}


def _read(
    versions: Iterable[_Version], contents: Mapping[str, bytes], certificates: Mapping[str, tuple[Any, str]]
) -> Iterator[Point]:
    for version in versions:
        metrics = _read_metrics(contents.get(version.metrics, b""))
        if not metrics:  # the file is damaged, or went away
            continue
        certificate, fault = certificates[version.certificate] if version.certificate else (None, "is missing")
        yield Point(version.change.commit, version.change.date, version.change.subject, metrics, certificate, fault)


def _read_metrics(content: bytes) -> dict[str, float]:
    """Return the numbers in a metrics.json of any age, none where it is damaged."""
    try:
        document = orjson.loads(content)
    except ValueError:
        return {}
    return {
        metric: value
        for metric, value in (document.items() if isinstance(document, dict) else ())
        if type(value) in (int, float) and abs(value) < _INFINITE
    }
