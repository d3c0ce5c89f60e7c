"""Keep pages of a checkout that are served up to date: the old ones are there until the new ones are whole."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipeline.errors import ConfigError, ForceError
from pipeline.experiments import COMMON
from pipeline.history import History
from pipeline.ownership import STAGES, Ownership, folder_of
from pipeline.pages.site import Site
from pipeline.project import Project
from pipeline.reports.reporter import Reporter
from pipeline.workspace import OUTCOME

_INTERVAL_S = 2.0
_SHARE = 5  # pages are written anew for one second of so many at most: others want the processor
_RESULTS = (
    *(f"outputs/{stage}/{OUTCOME}" for stage in STAGES),
    *(f"outputs/evaluate/{name}.json" for name in ("metrics", "certificate", "seeds")),
)


class Renewer:
    """The pages of a checkout: `site` is their folder, one of those in `folder`, and `version` counts them.

    `faults` are why something is not shown, or not as it is now. Nothing but `build` and `watch` changes these.
    `read_history` returns how results were at earlier commits.
    """

    def __init__(
        self, root: Path, folder: Path, read_history: Callable[[Path], History | None] = lambda _: None
    ) -> None:
        self.site = folder / "0"
        self.version = 0
        self.faults: list[str] = []
        self._folder = folder
        self._read_history = read_history
        self._project = Project(root)
        self._built: dict[str, tuple[int, ...]] = {}  # of which files the pages were made
        self._inputs: set[str] = set()  # paths of what stages depend on

    def build(self) -> None:
        """Write pages of the files as they are now. Raises ForceError, and keeps the old ones, where that fails."""
        self._built = sign_files(self._project.root, self._inputs)
        self._project.refresh()
        experiments, faults = self._project.select_sound()
        if COMMON not in experiments:
            raise ConfigError([problem for problems in faults.values() for problem in problems])
        reporter = Reporter(self._project, experiments)
        report = reporter.build()
        self._inputs = list_inputs(reporter.reader.ownership, experiments)
        self._built = sign_files(self._project.root, self._inputs) | self._built  # what was before it was read
        new = self._folder / str(self.version + 1)
        Site(self._project, experiments, report, self.version + 1).write(new, self._read_history(self._project.root))
        self._project.index.save()
        before, self.site = self.site, new
        self.version += 1
        self.faults = [str(problems[0]) for problems in faults.values() if problems]
        for other in self._folder.iterdir():  # a page that was just loaded asks for what stands beside it
            if other not in (before, new):
                shutil.rmtree(other, ignore_errors=True)

    def watch(self, stop: threading.Event) -> None:
        """Write the pages anew whenever files have changed and then rest, until `stop` is set."""
        seen = self._built
        while not stop.wait(_INTERVAL_S):
            before, seen = seen, sign_files(self._project.root, self._inputs)
            if seen != before or seen == self._built:
                continue
            started = time.monotonic()
            self._renew()
            stop.wait((_SHARE - 1) * (time.monotonic() - started))

    def _renew(self) -> None:
        try:
            self.build()
        except ForceError as error:
            self.faults = [f"the table is that of before: {error.message}"]
        except Exception as error:  # as where an experiment vanishes meanwhile: the next change is another chance
            self.faults = [f"the table is that of before: {type(error).__name__}: {error}"]


def list_inputs(ownership: Ownership, experiments: Iterable[str]) -> set[str]:
    """Return the files that stages depend on, and the files and folders of raw data, by their paths in the checkout."""
    stages = [ownership.effective(name, stage) for name in experiments for stage in STAGES]
    return {path for stage in stages for path in (*stage.files, *stage.data)}


def sign_files(root: Path, inputs: Iterable[str] = ()) -> dict[str, tuple[int, ...]]:
    """Return what tells whether a page would be another one: path → what changes with the file."""
    found: dict[str, tuple[int, ...]] = {}
    for path in (*_list_files(root), *(f"{root}/{path}" for path in inputs)):
        try:
            status = os.stat(path)
        except OSError:
            continue
        found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


def _list_files(root: Path) -> Iterator[str]:
    """Yield the files of experiments themselves, and those that say how their stages ended."""
    yield from (f"{root}/.git/{name}" for name in ("HEAD", "logs/HEAD"))  # which commits there are
    names = [entry.name for entry in _scan(root / "experiments") if entry.is_dir()]
    for folder in (root, *(root / folder_of(name) for name in (COMMON, *names))):
        yield from (entry.path for entry in _scan(folder) if entry.name.endswith((".yaml", ".lock", ".py")))
        yield from (f"{folder}/{path}" for path in _RESULTS)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError:
        return []
