"""What stages cost when they last ran: a small record per experiment, kept by git, and estimates made from it.

A fresh clone has it, while the full records (`run.json`) are in the DVC cache: a plan can say what a push will take.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.ownership import folder_of
from pipeline.validation import find_faults
from pipeline.workspace import read_json, write_json

FILE_NAME = "outputs/costs.json"
VERSION = 1


def record_cost(root: Path, experiment: str, run: Mapping[str, Any]) -> None:
    """Note what a stage cost, from its `run.json`, beside what the others of the experiment did."""
    path = root / folder_of(experiment) / FILE_NAME
    hardware = run["hardware"]
    cost = {
        "wall_time_s": round(run["wall_time_s"], 1),
        "peak_memory_mib": round(run["peak_memory_mib"]),
        "gpus": hardware["gpus"],
        "num_cpus": hardware["num_cpus"],
    }
    write_json(path, {"version": VERSION, "stages": {**read_costs(root, experiment), run["stage"]: cost}})


def read_costs(root: Path, experiment: str) -> dict[str, Any]:
    """Return stage → cost of an experiment; nothing where there is no record, or none that can be read."""
    document = read_json(root / folder_of(experiment) / FILE_NAME)
    if document is None or find_faults("costs", document):
        return {}
    stages: dict[str, Any] = document["stages"]
    return stages


def estimate_s(root: Path, lineage: tuple[str, ...], stage: str) -> float | None:
    """Return how long a stage will take: as long as it last did, for this experiment or the nearest ancestor."""
    for experiment in lineage:
        cost = read_costs(root, experiment).get(stage)
        if cost is not None:
            return float(cost["wall_time_s"])
    return None


def format_s(seconds: float | None) -> str:
    """Return a duration for people.

    >>> [format_s(s) for s in (None, 4.2, 90, 3600, 100_000)]
    ['?', '4 s', '2 min', '1.0 h', '27.8 h']
    """
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
