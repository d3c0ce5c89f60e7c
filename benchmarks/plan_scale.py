"""How `force plan` grows with the number of experiments."""

import shutil
from pathlib import Path

from benchmarks.generated import generate
from benchmarks.measuring import Figure, run, time_once, time_side_by_side

TITLE = "planning"
_SIZES = (100, 1000)
_PLAN = ["force", "plan"]


def measure(folder: Path) -> list[Figure]:
    """Return the figures, measured in checkouts made in `folder`."""
    checkouts = {size: generate(folder / f"checkout_{size}", size) for size in _SIZES}
    for size, checkout in checkouts.items():
        done = run(_PLAN, checkout)
        assert f"{2 * size + 3} up to date, {size} inherited" in done.stdout, done.stdout[-200:]
    few, many = checkouts.values()
    warm = time_side_by_side({"few": lambda: time_once(_PLAN, few), "many": lambda: time_once(_PLAN, many)}, repeats=5)
    cold = time_side_by_side({"few": lambda: _time_first(few), "many": lambda: _time_first(many)}, repeats=3)
    return [
        Figure("plan of 1,000 experiments", warm["many"], "s", 1.0),
        Figure("plan of 100 experiments", warm["few"], "s"),
        Figure("1,000 against 100", warm["many"] / warm["few"], "×", 12),
        Figure("first plan of a fresh clone, 1,000 experiments", cold["many"], "s"),
        Figure("first plan of a fresh clone, 100 experiments", cold["few"], "s"),
        Figure("dvc status of 100 experiments", time_once(["dvc", "status", "--quiet"], few), "s"),
    ]


def _time_first(checkout: Path) -> float:
    """Return the seconds of a plan that finds no index."""
    shutil.rmtree(checkout / ".force")
    return time_once(_PLAN, checkout)
