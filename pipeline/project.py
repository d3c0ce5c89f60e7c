"""One checkout: where its parts stand, and the objects that read them."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from pipeline.dvccache import DvcCache
from pipeline.errors import ConfigError, Problem, UsageError
from pipeline.experiments import Experiment, Experiments
from pipeline.index import FileIndex
from pipeline.ownership import Ownership
from pipeline.planning import Planner


class Project:
    """A checkout at one moment. What was read is kept: after files changed, ask a new one, or call `refresh`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state_dir = root / ".force"
        self.index = FileIndex(root, self.state_dir / "index.json")
        self.refresh()

    def refresh(self) -> None:
        """Forget what was read from files; the index still knows what has not changed."""
        self.index.forget()
        self.experiments = Experiments(self.root, self.index)
        self.__dict__.pop("cache", None)

    @cached_property
    def cache(self) -> DvcCache:
        """DVC's cache."""
        return DvcCache(self.root)

    def select(self, names: tuple[str, ...]) -> dict[str, Experiment]:
        """Return the named experiments, or all, in the order asked for.

        Raises ConfigError for the faults of all of them at once, UsageError for a name that there is not.
        """
        if not names:
            sound, problems = self.experiments.load_all()
            if problems:
                raise ConfigError(problems)
            return sound
        found: dict[str, Experiment] = {}
        problems = []
        for name in names:
            try:
                found[name] = self.experiments.get(name)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        return found

    def select_sound(self) -> tuple[dict[str, Experiment], dict[str, list[Problem]]]:
        """Return all experiments that `ownership` takes, and the faults of each of the others and what it reaches."""
        sound, problems = self.experiments.load_all()
        faults: dict[str, list[Problem]] = {}
        for name in set(self.experiments.names()) - set(sound):
            try:
                self.experiments.get(name)
            except ConfigError as error:
                faults[name] = error.problems
        known = {problem for found in faults.values() for problem in found}
        for problem in set(problems) - known:  # of a folder whose name no experiment may have
            faults.setdefault(problem.path.split("/")[1], []).append(problem)
        ownership = Ownership(sound, self.experiments.modules)
        bad = {name: found for name in sound if (found := _find_faults(ownership, self.experiments.reach(name)))}
        return {name: e for name, e in sound.items() if name not in bad}, faults | bad

    def ownership(self, experiments: dict[str, Experiment]) -> Ownership:
        """Return who owns what among these experiments and all that they reach: ancestors, and whose models they take.

        Raises ConfigError for those that own nothing, or whose trainings wait for each other.
        """
        reached = dict.fromkeys(name for e in experiments for name in self.experiments.reach(e))
        known = {name: self.experiments.get(name) for name in reached}
        ownership = Ownership(known, self.experiments.modules)
        if problems := _find_faults(ownership, known):
            raise ConfigError(problems)
        return ownership

    def planner(self, ownership: Ownership) -> Planner:
        """Return a planner for the files as they are now."""
        return Planner(self.root, self.index, ownership, self.cache)


def _find_faults(ownership: Ownership, names: Iterable[str]) -> list[Problem]:
    """Return the faults of those that own nothing, or whose trainings wait for each other."""
    problems: list[Problem] = []
    for name in names:
        try:
            ownership.owned(name)
        except ConfigError as error:
            problems += error.problems
    return list(dict.fromkeys(problems))


def find_project(start: Path) -> Project:
    """Return the project that the folder `start` is in. Raises UsageError outside of one."""
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file() and (folder / "common").is_dir():
            return Project(folder)
    hint = "cd into a checkout: the folder with params.yaml and common/"
    raise UsageError(f"'{start}' is in no Force Build checkout", hint)
