"""What a run is asked for: experiments, or single stages of them, and every stage that takes."""

from collections.abc import Mapping, Sequence

from pipeline.errors import UsageError, suggest
from pipeline.ownership import STAGES, Ownership, Stage


def parse_targets(targets: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return experiment → stages of targets like NAME and NAME:STAGE, in the order given.

    >>> parse_targets(["common:train", "common:prepare", "wide"])
    {'common': ('prepare', 'train'), 'wide': ('prepare', 'train', 'evaluate')}

    Raises UsageError for a stage that there is not.
    """
    wanted: dict[str, set[str]] = {}
    for target in targets:
        name, colon, stage = target.partition(":")
        if colon and stage not in STAGES:
            hint = f"stages are {', '.join(STAGES)}"
            raise UsageError(f"no stage '{stage}' in '{target}'{suggest(stage, list(STAGES))}", hint)
        wanted.setdefault(name, set()).update([stage] if colon else STAGES)
    return {name: tuple(stage for stage in STAGES if stage in stages) for name, stages in wanted.items()}


def collect_stages(wanted: Mapping[str, Sequence[str]], ownership: Ownership) -> list[Stage]:
    """Return the stages that these experiments use, and all that those need, once, upstream first."""
    stages: dict[tuple[str, str], Stage] = {}

    def add(stage: Stage) -> None:
        if stage.id in stages:
            return
        for need in stage.needs:
            add(ownership.stage(*need))
        stages[stage.id] = stage

    for experiment, names in wanted.items():
        for name in names:
            add(ownership.effective(experiment, name))
    return list(stages.values())
