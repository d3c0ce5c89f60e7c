"""Turn what a push affects into jobs: each unbuilt stage once, shared ones first, within GitHub's limits.

Pure: from experiments, ownership and what is stale to waves of jobs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.ownership import STAGES, Ownership, Stage

StageId = tuple[str, str]

NUM_WAVES = 3  # prepare, train, evaluate: what is shared stands two deep, unless built models are passed on
# GitHub runs at most 256 jobs of a matrix; a few are left for the jobs around it, and for those who count a whole run.
MAX_JOBS = 240


@dataclass(frozen=True)
class Entry:
    """One job of a matrix."""

    name: str  # of artifacts; as experiment, or experiment-stage for a shared one
    targets: tuple[str, ...]  # as `force run` takes them
    seconds: float | None  # about how long it will take; None where nothing like it ever ran


@dataclass(frozen=True)
class Matrix:
    """All jobs of a push, in waves: those of one need nothing of their own wave."""

    waves: tuple[tuple[Entry, ...], ...]

    @property
    def entries(self) -> list[Entry]:
        """All jobs, in order."""
        return [entry for wave in self.waves for entry in wave]


def build_matrix(
    names: Sequence[str],
    ownership: Ownership,
    is_stale: Callable[[Stage], bool],
    estimate: Callable[[Stage], float | None],
    max_jobs: int = MAX_JOBS,
) -> Matrix:
    """Return the jobs that bring the named experiments up to date; those with nothing stale are left out.

    A stale stage that more than one experiment needs is a job of its own, before theirs. Where there is no wave before
    theirs, as along a chain of trainings that start from each other's models, they are one job together.
    """
    needed = {name: _collect_stale(name, ownership, is_stale) for name in names}
    users: dict[StageId, int] = {}
    for stages in needed.values():
        for stage_id in stages:
            users[stage_id] = users.get(stage_id, 0) + 1
    shared = {stage_id for stage_id, count in users.items() if count > 1}
    waves: list[list[Entry]] = [[] for _ in range(NUM_WAVES)]
    depths: dict[StageId, int] = {}
    for stages in needed.values():
        for stage_id, stage in stages.items():
            if stage_id in shared and stage_id not in depths:
                depths[stage_id] = _find_depth(stage, depths)
                if depths[stage_id] < NUM_WAVES - 1:
                    entry = Entry("-".join(stage_id), (":".join(stage_id),), estimate(stage))
                    waves[depths[stage_id]].append(entry)
    deep = {stage_id for stage_id, depth in depths.items() if depth >= NUM_WAVES - 1}
    for names_together in _join(needed, deep):
        stages = {stage_id: stage for name in names_together for stage_id, stage in needed[name].items()}
        depth = max((depths[stage_id] + 1 for stage_id in stages if stage_id in shared - deep), default=0)
        own = {stage_id: stage for stage_id, stage in stages.items() if stage_id not in shared - deep}
        # Named too, so that the job hands their results on: only it will have run them.
        others = [":".join(i) for i, stage in own.items() if i in deep or stage.experiment not in names_together]
        if own:
            entry = Entry(_name_together(names_together), (*others, *names_together), _add(map(estimate, own.values())))
            waves[depth].append(entry)
    total = sum(map(len, waves))
    return Matrix(tuple(tuple(_batch(wave, number, max_jobs, total)) for number, wave in enumerate(waves, 1)))


def _collect_stale(name: str, ownership: Ownership, is_stale: Callable[[Stage], bool]) -> dict[StageId, Stage]:
    """Return the stale stages that an experiment needs, upstream first."""
    found: dict[StageId, Stage] = {}
    seen: set[StageId] = set()

    def add(stage: Stage) -> None:
        if stage.id in seen:
            return
        seen.add(stage.id)
        for need in stage.needs:
            add(ownership.stage(*need))
        if is_stale(stage):
            found[stage.id] = stage

    for stage_name in STAGES:
        add(ownership.effective(name, stage_name))
    return found


def _find_depth(stage: Stage, depths: Mapping[StageId, int]) -> int:
    """Return how many waves come before a shared stage; what it needs is shared too, and was seen before it."""
    return max((depths[need] + 1 for need in stage.needs if need in depths), default=0)


def _join(needed: Mapping[str, Mapping[StageId, Stage]], deep: set[StageId]) -> list[list[str]]:
    """Return the experiments in groups, each alone but for those that need one of the stages `deep`."""
    groups: list[list[str]] = []
    for name, stages in needed.items():
        mine = deep & set(stages)
        joined = [group for group in groups if mine and any(mine & set(needed[other]) for other in group)]
        for group in joined:
            groups.remove(group)
        groups.append([*(other for group in joined for other in group), name])
    return groups


def _name_together(names: Sequence[str]) -> str:
    """Return the name of a job for several experiments.

    >>> _name_together(["wide"]), _name_together(["wide", "deep"])
    ('wide', 'wide-and-1-more')
    """
    return names[0] + (f"-and-{len(names) - 1}-more" if len(names) > 1 else "")


def _batch(wave: list[Entry], number: int, max_jobs: int, total: int) -> list[Entry]:
    """Return a wave as it is, or its experiments put together into as many jobs as are left, of about equal length."""
    if total <= max_jobs:
        return wave
    room = max_jobs - NUM_WAVES + 1  # a wave that is too small for its share takes a whole job all the same
    num_batches = max(1, room * len(wave) // total)
    batches: list[list[Entry]] = [[] for _ in range(min(num_batches, len(wave)))]
    known = [entry.seconds for entry in wave if entry.seconds is not None]
    typical = sum(known) / len(known) if known else 1.0
    lengths = [0.0] * len(batches)
    for entry in sorted(wave, key=lambda entry: -(entry.seconds or typical)):  # longest first, to the shortest batch
        shortest = lengths.index(min(lengths))
        batches[shortest].append(entry)
        lengths[shortest] += entry.seconds or typical
    return [
        Entry(
            f"batch-{number}-{index:03d}",
            tuple(target for entry in batch for target in entry.targets),
            _add(entry.seconds for entry in batch),
        )
        for index, batch in enumerate(batches, 1)
    ]


def _add(seconds: Iterable[float | None]) -> float | None:
    """Return the sum, None where a part is not known.

    >>> _add([1.0, 2.5]), _add([1.0, None])
    (3.5, None)
    """
    parts = list(seconds)
    return None if None in parts else sum(part for part in parts if part is not None)
