"""What a benchmark reports, and how whole processes are timed."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 120
_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Figure:
    """A measured number, and the most or the least that it may be; without a target it is there to compare with."""

    name: str
    value: float
    unit: str = ""
    target: float | None = None  # the most
    at_least: float | None = None

    @property
    def is_reached(self) -> bool:
        """Say whether the target is reached; without one, it is."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.target is None or self.value <= self.target

    def cells(self) -> list[str]:
        """Return the figure as a row: name, measured, target, reached."""
        wanted = [
            f"{sign} {self._write(bound)}"
            for sign, bound in (("≤", self.target), ("≥", self.at_least))
            if bound is not None
        ]
        return [
            self.name,
            self._write(self.value),
            " ".join(wanted),
            ("yes" if self.is_reached else "no") if wanted else "",
        ]

    def _write(self, value: float) -> str:
        digits = {"s": 3, "×": 2, "%": 1}.get(self.unit, 0)
        return f"{value:.{digits}f} {self.unit}".strip()


def run(args: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment to its end. Raises RuntimeError where it fails."""
    done = subprocess.run(
        [find_program(args[0]), *args[1:]],
        cwd=cwd,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    if done.returncode:
        raise RuntimeError(f"`{' '.join(args)}` ended with status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def find_program(name: str) -> str:
    """Return a program of this environment, or else of the machine."""
    return shutil.which(name, path=str(_BIN)) or name


def time_once(args: Sequence[str], cwd: Path) -> float:
    """Return the seconds that a whole process takes."""
    started = time.perf_counter()
    run(args, cwd)
    return time.perf_counter() - started


def time_side_by_side(
    runs: Mapping[str, Callable[[], float]], *, repeats: int, warm_up: bool = True
) -> dict[str, float]:
    """Return the median seconds of each, taken in turns, so that a busy moment of the machine meets them all."""
    for take in runs.values() if warm_up else ():
        take()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, take in runs.items():
            seconds[name].append(take())
    return {name: statistics.median(values) for name, values in seconds.items()}


def _environment() -> dict[str, str]:
    """Return our environment with this Python's programs first on PATH, and bytecode kept, as in a user's shell."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PATH": os.pathsep.join([str(_BIN), os.environ.get("PATH", "")])}
