"""What a run costs that finds nothing to do, beside DVC finding out the same on the same checkout."""

from pathlib import Path

from benchmarks.generated import generate
from benchmarks.measuring import Figure, run, time_once, time_side_by_side

TITLE = "a run with nothing to do"
_NUM_EXPERIMENTS = 300


def measure(folder: Path) -> list[Figure]:
    """Return the figures, measured in a checkout made in `folder`."""
    checkout = generate(folder / "checkout", _NUM_EXPERIMENTS)
    said = run(["force", "run"], checkout).stdout
    assert said.startswith(f"nothing to do: {2 * _NUM_EXPERIMENTS + 3} stages are up to date"), said[:200]
    said = run(["dvc", "repro", "-P"], checkout).stdout
    assert "Running stage" not in said, "DVC found something to do"
    force = time_side_by_side({"run": lambda: time_once(["force", "run"], checkout)}, repeats=5)["run"]
    dvc = time_once(["dvc", "repro", "-P"], checkout)
    return [
        Figure(f"force run of {_NUM_EXPERIMENTS} experiments", force, "s", 2.0),
        Figure(f"dvc repro -P of {_NUM_EXPERIMENTS} experiments", dvc, "s"),
        Figure("DVC against Force Build", dvc / force, "×"),
    ]
