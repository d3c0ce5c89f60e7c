"""Say for every stage whether it is inherited, up to date, cached or would run, and why.

Compares files with what DVC recorded; runs nothing and imports neither dvc nor torch.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipeline.dvccache import DvcCache, hash_out, run_key
from pipeline.dvcfiles import parse_lock
from pipeline.errors import ConfigError
from pipeline.index import FileIndex
from pipeline.ownership import STAGES, Ownership, Stage, lock_file_of
from pipeline.rawdata import hash_data

# DVC writes a dvc.lock in place while other stages read it: what cannot be read may just be half written.
_NUM_READS = 10
_MAX_REASONS = 3  # in a line
_READ_AGAIN_S = 0.05


class State(StrEnum):
    """What `force run` would do with a stage."""

    UP_TO_DATE = "up to date"
    CACHED = "cached"  # its result is in the DVC cache: checked out, not computed
    FETCH = "fetch"  # recorded in dvc.lock, but not here: asked of the remote first, else it runs
    RUN = "run"


@dataclass(frozen=True)
class Reason:
    """One reason for a state: what kind of thing, which one, and the sentence to print."""

    kind: str  # file, param, upstream, output, command, new, cache
    name: str
    text: str


@dataclass(frozen=True)
class PlannedStage:
    """A stage that somebody owns, and what would happen to it."""

    stage: Stage
    state: State
    reasons: tuple[Reason, ...]
    outs: Mapping[str, str]  # path relative to the folder → md5; empty where only a run will tell

    @property
    def why(self) -> str:
        """The reasons as one text."""
        return "; ".join(reason.text for reason in self.reasons)


@dataclass(frozen=True)
class PlannedUse:
    """One cell of the plan: a stage as one experiment uses it, inherited or its own."""

    experiment: str
    planned: PlannedStage

    @property
    def inherited_from(self) -> str:
        """The owner where it is another experiment, else an empty text."""
        owner = self.planned.stage.experiment
        return "" if owner == self.experiment else owner


class Planner:
    """Plans stages from the files as they are now."""

    def __init__(self, root: Path, index: FileIndex, ownership: Ownership, cache: DvcCache) -> None:
        self._root = root
        self.index = index
        self._ownership = ownership
        self._cache = cache
        self._planned: dict[tuple[str, str], PlannedStage] = {}
        self._stale: dict[tuple[str, str], list[Reason]] = {}

    def plan_experiments(self, names: Iterable[str]) -> list[PlannedUse]:
        """Return a cell for each stage of each experiment, upstream first."""
        return [
            PlannedUse(name, self.plan(self._ownership.effective(name, stage))) for name in names for stage in STAGES
        ]

    def plan(self, stage: Stage) -> PlannedStage:
        """Return what would happen to one stage."""
        if stage.id not in self._planned:
            self._planned[stage.id] = self._plan(stage)
        return self._planned[stage.id]

    def recorded(self, experiment: str) -> dict[str, Any]:
        """Return what the dvc.lock of an experiment records, by stage; nothing where there is none.

        Raises ConfigError where the file is none that can be read.
        """
        path = lock_file_of(experiment)
        for patience in range(_NUM_READS, -1, -1):
            if not self.index.exists(path):
                return {}
            try:
                stages: dict[str, Any] = self.index.fact(path, "lock", lambda text: parse_lock(text, path))
                return stages
            except (ConfigError, FileNotFoundError):
                if not patience:
                    raise
                time.sleep(_READ_AGAIN_S)
                self.index.forget(path)
        return {}

    def recorded_outs(self, stage: Stage) -> dict[str, str]:
        """Return path → md5 of the outs that dvc.lock records for a stage, whatever its inputs were."""
        outs: dict[str, str] = self.recorded(stage.experiment).get(stage.name, {}).get("outs", {})
        return outs

    def find_staleness(self, stage: Stage) -> list[Reason]:
        """Return why what a stage left is not the result of the present files; nothing where it is.

        Unlike `plan`, it takes upstream outs as recorded, here or not: metrics in git are current in a fresh clone too.
        """
        if stage.id not in self._stale:
            deps = self._hash_sources(stage)
            reasons: list[Reason] = []
            for path, need in stage.products.items():
                upstream = self._ownership.stage(*need)
                deps[stage.relative(path)] = self.recorded_outs(upstream).get(upstream.kind.product)
                reasons += self.find_staleness(upstream)
            entry = self.recorded(stage.experiment).get(stage.name)
            reasons += self._compare(stage, entry, deps)
            for out in stage.kind.outs:
                md5 = self.index.md5(f"{stage.folder}/{out.path}") if out.in_git else None
                if md5 and entry and md5 != entry["outs"].get(out.path):
                    reasons.append(Reason("output", out.path, f"{out.path} is not what the stage wrote"))
            self._stale[stage.id] = list(dict.fromkeys(reasons))
        return self._stale[stage.id]

    def describe_staleness(self, stage: Stage) -> str:
        """Return the first of these reasons in a line; an empty text where what the stage left is up to date."""
        reasons = list(dict.fromkeys(reason.text for reason in self.find_staleness(stage)))
        more = f"; and {len(reasons) - _MAX_REASONS} more" if len(reasons) > _MAX_REASONS else ""
        return "; ".join(reasons[:_MAX_REASONS]) + more

    def _plan(self, stage: Stage) -> PlannedStage:
        deps, unknown = self._hash_deps(stage)
        entry = self.recorded(stage.experiment).get(stage.name)
        reasons = list(self._compare(stage, entry, deps)) + unknown
        if not reasons and entry:
            return self._plan_recorded(stage, entry)
        if not unknown and all(deps.values()):
            params = {stage.relative(file): keys for file, keys in stage.params.items()}
            outs = self._cache.find_run(
                run_key(stage.kind.cmd, deps, params, [out.path for out in stage.kind.outs])  # type: ignore[arg-type]
            )
            if outs:
                again = Reason("cache", stage.name, "an earlier run with the same inputs is in the cache")
                return PlannedStage(stage, State.CACHED, (again, *reasons), outs)
        return PlannedStage(stage, State.RUN, tuple(reasons), {})

    def _hash_deps(self, stage: Stage) -> tuple[dict[str, str | None], list[Reason]]:
        """Return the hash of every dep by relative path, and a reason for each that only a run will tell."""
        deps = self._hash_sources(stage)
        unknown = []
        for path, need in stage.products.items():
            upstream = self.plan(self._ownership.stage(*need))
            md5 = upstream.outs.get(upstream.stage.kind.product)
            deps[stage.relative(path)] = md5
            if md5 is None:
                unknown.append(Reason("upstream", ":".join(need), f"{stage.call(need)} runs first"))
        return deps, unknown

    def _hash_sources(self, stage: Stage) -> dict[str, str | None]:
        """Return the hash of all that is no product of a stage, by relative path."""
        files = {stage.relative(path): self.index.md5(path) for path in stage.files}
        return files | {stage.relative(path): hash_data(self._root, path, self.index) for path in stage.data}

    def _compare(
        self, stage: Stage, entry: Mapping[str, Any] | None, deps: Mapping[str, str | None]
    ) -> Iterator[Reason]:
        if entry is None:
            yield Reason("new", stage.name, "has not run yet")
            return
        if entry["cmd"] != stage.kind.cmd:
            yield Reason("command", stage.kind.cmd, f"the command was '{entry['cmd']}'")
        products = {stage.relative(path): stage.call(need) for path, need in stage.products.items()}
        for path in sorted({path for path, _ in deps.items() ^ entry["deps"].items()}):
            if path in products:
                if path in entry["deps"] and deps[path] not in (None, entry["deps"][path]):
                    yield Reason("upstream", path, f"the result of {products[path]} changed")
                    continue
                if path in entry["deps"]:
                    continue
            yield from _compare_file(stage.absolute(path), entry["deps"].get(path), deps.get(path, ""))
        yield from _compare_params(stage, entry["params"])

    def _plan_recorded(self, stage: Stage, entry: Mapping[str, Any]) -> PlannedStage:
        """Plan a stage whose inputs are the recorded ones: only its outs may be missing or edited."""
        outs: dict[str, str] = entry["outs"]
        missing: list[str] = []
        edited: list[str] = []
        is_lost = is_absent = False
        for out in stage.kind.outs:
            recorded = outs.get(out.path)
            actual = hash_out(self._root, f"{stage.folder}/{out.path}", self.index)
            if recorded is not None and actual == recorded:
                continue
            (missing if actual is None else edited).append(out.path)
            is_lost = is_lost or recorded is None or out.in_git  # DVC keeps no copy of what git keeps
            is_absent = is_absent or recorded is None or not self._cache.has(recorded)
        reasons = [Reason("output", path, f"{path} is not what the stage wrote") for path in edited]
        if missing:
            more = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
            reasons.insert(0, Reason("output", missing[0], f"{missing[0]}{more} missing"))
        if not reasons:
            return PlannedStage(stage, State.UP_TO_DATE, (), outs)
        if not is_lost and not is_absent:
            return PlannedStage(stage, State.CACHED, tuple(reasons), outs)
        if not is_lost and self._cache.may_fetch():
            return PlannedStage(stage, State.FETCH, tuple(reasons), outs)
        if is_absent and not is_lost:
            reasons.append(Reason("cache", stage.name, "not in the cache"))
        return PlannedStage(stage, State.RUN, tuple(reasons), {})


def _compare_file(path: str, recorded: str | None, actual: str | None) -> Iterator[Reason]:
    """Compare a dep's hashes: `recorded` is None for a new dep; `actual` for a missing file, "" for no dep any more."""
    if recorded is None:
        yield Reason("file", path, f"{path} is a new dependency")
    elif actual == "":
        yield Reason("file", path, f"{path} is no dependency any more")
    elif actual is None:
        yield Reason("file", path, f"{path} is missing")
    elif actual != recorded:
        yield Reason("file", path, f"{path} changed")


def _compare_params(stage: Stage, recorded: Mapping[str, Any]) -> Iterator[Reason]:
    if recorded == {stage.relative(file): keys for file, keys in stage.params.items()}:
        return
    now = {(stage.relative(file), key): value for file, keys in stage.params.items() for key, value in keys.items()}
    before = {(file, key): value for file, keys in recorded.items() for key, value in keys.items()}
    for file, key in sorted({*now, *before}):
        name = key.removeprefix("params.")
        if (file, key) not in before:
            yield Reason("param", name, f"{name} is set to {now[file, key]} in {stage.absolute(file)}")
        elif (file, key) not in now:
            yield Reason("param", name, f"{name} is no longer read from {stage.absolute(file)}")
        elif now[file, key] != before[file, key]:
            yield Reason("param", name, f"{name}: {before[file, key]} → {now[file, key]}")
