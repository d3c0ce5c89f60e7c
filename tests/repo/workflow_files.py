"""The workflows and actions of a repository as data, with the lines and comments that their YAML has."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.documents import locate, parse_yaml

PATTERNS = (".github/workflows/*.y*ml", ".github/*/*/action.y*ml")
LEVELS = ("none", "read", "write")  # of a permission
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class File:
    """One workflow, or the description of an action."""

    path: str  # from the root
    text: str

    @cached_property
    def document(self) -> dict[str, Any]:
        """What the YAML says."""
        document: dict[str, Any] = parse_yaml(self.text, self.path)
        return document

    @property
    def name(self) -> str:
        """The file's name; of an action, with the folder."""
        return self.path.removesuffix("/action.yml").rpartition("/")[2]

    @property
    def is_workflow(self) -> bool:
        """Say whether it has jobs; else it is an action."""
        return self.path.startswith(".github/workflows/")

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """The jobs by id."""
        return self.document.get("jobs", {})

    @property
    def events(self) -> dict[str, Any]:
        """What starts it, each with its settings."""
        on = self.document.get("on", {})
        return on if isinstance(on, dict) else {name: {} for name in ([on] if isinstance(on, str) else on)}

    @property
    def is_called(self) -> bool:
        """Say whether other workflows start it, and nothing else does."""
        return set(self.events) == {"workflow_call"}

    def steps(self) -> Iterator[tuple[Place, dict[str, Any]]]:
        """Yield every step, with its place."""
        parts: list[tuple[Place, dict[str, Any]]] = [(("jobs", name), job) for name, job in self.jobs.items()]
        for place, part in [*parts, (("runs",), self.document.get("runs", {}))]:
            for number, step in enumerate(part.get("steps", [])):
                yield (*place, "steps", number), step

    def scripts(self) -> Iterator[tuple[Place, str]]:
        """Yield every script, its continued lines put together."""
        for place, step in self.steps():
            if "run" in step:
                yield (*place, "run"), str(step["run"]).replace("\\\n", " ")

    def uses(self) -> Iterator[tuple[Place, str]]:
        """Yield every reference to an action or another workflow."""
        for name, job in self.jobs.items():
            if "uses" in job:
                yield ("jobs", name, "uses"), job["uses"]
        for place, step in self.steps():
            if "uses" in step:
                yield (*place, "uses"), step["uses"]

    def texts(self) -> Iterator[tuple[Place, str]]:
        """Yield every text in the document, with its place."""
        yield from _walk(self.document, ())

    def at(self, *place: str | int) -> str:
        """Return path and line of a key."""
        return f"{self.path}:{self._line(place)}"

    def comment(self, *place: str | int) -> str:
        """Return the comment that stands behind a key and its value, or alone in the line above."""
        number = self._line(place)
        line, above = self.text.splitlines()[number - 1], self.text.splitlines()[number - 2] if number > 1 else ""
        behind = re.search(r"\s# (.*)$", line)
        alone = re.fullmatch(r"\s*# (.*)", above)
        return behind[1] if behind else alone[1] if alone else ""

    def _line(self, place: Place) -> int:
        return locate(self.text, place, key=True)[0]


Rule = Callable[[Sequence[File]], Iterator[str]]


def read_files(root: Path) -> list[File]:
    """Read the workflows and actions below a repository's root."""
    paths = sorted(path for pattern in PATTERNS for path in root.glob(pattern))
    return [File(path.relative_to(root).as_posix(), path.read_text()) for path in paths]


def list_workflows(files: Sequence[File]) -> list[File]:
    """Return the workflows among them."""
    return [file for file in files if file.is_workflow]


def list_jobs(files: Sequence[File]) -> Iterator[tuple[File, str, dict[str, Any]]]:
    """Yield every job, with its workflow and its id."""
    for file in list_workflows(files):
        for name, job in file.jobs.items():
            yield file, name, job


def list_calls(files: Sequence[File]) -> Iterator[tuple[File, str, dict[str, Any], File]]:
    """Yield the jobs that call a workflow of ours, and that."""
    by_path = {file.path: file for file in files}
    for file, name, job in list_jobs(files):
        if called := by_path.get(str(job.get("uses", "")).removeprefix("./")):
            yield file, name, job, called


def _walk(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str):
        yield place, value
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in pairs:
        yield from _walk(part, (*place, key))
