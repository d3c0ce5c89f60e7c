"""How fast `force` starts, and that neither help nor a plan loads torch or DVC."""

import sys
from functools import partial
from pathlib import Path

from benchmarks.generated import generate
from benchmarks.measuring import Figure, run, time_once, time_side_by_side

TITLE = "starting"
_HEAVY = ("torch", "dvc")


def measure(folder: Path) -> list[Figure]:
    """Return the figures, measured in a checkout made in `folder`."""
    checkout = generate(folder / "checkout", 10)
    commands = {
        "force --help": ["force", "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
        "dvc --help": ["dvc", "--help"],
        "python -c 'import torch'": [sys.executable, "-c", "import torch"],
    }
    timers = {name: partial(time_once, args, checkout) for name, args in commands.items()}
    seconds = time_side_by_side(timers, repeats=7)
    targets = {"force --help": 0.15}
    figures = [Figure(name, value, "s", targets.get(name)) for name, value in seconds.items()]
    for command in ("--help", "plan"):
        modules = _find_heavy_modules(command, checkout)
        figures.append(Figure(f"modules of torch and dvc that `force {command}` imports", len(modules), target=0))
    return figures


def _find_heavy_modules(command: str, checkout: Path) -> list[str]:
    """Return what a command imports of the heavy packages, as Python itself reports it."""
    force = Path(sys.executable).parent / "force"
    done = run([sys.executable, "-X", "importtime", str(force), command], checkout)
    modules = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert "click" in modules, "Python reported no imports"
    return [module for module in modules if module.partition(".")[0] in _HEAVY]
