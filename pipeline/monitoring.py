"""What the params say of how a training is watched: who hears of it, and how often its state is kept. Loads no logger.

The section `monitoring` of the params is no part of any stage's inputs: a training gives the same result unwatched.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import ToolError
from pipeline.installing import suggest_install

SECTION = "monitoring"
# Package → what people call it. The folder of what it writes is called as the package.
LOGGERS = {"tensorboard": "TensorBoard", "mlflow": "MLflow", "wandb": "Weights & Biases"}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "loggers": {"type": "array", "items": {"enum": list(LOGGERS)}},
        "checkpoint_minutes": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]},
    },
}

# Where a logger in a container writes to. No secret goes inside: there, W&B writes files for `wandb sync` outside.
_PASSED_ON = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_PROJECT", "WANDB_ENTITY")


@dataclass(frozen=True)
class MonitoringParams:
    """The section `monitoring`."""

    loggers: tuple[str, ...] = ()
    checkpoint_minutes: float | None = 10  # between two states inside an epoch; None: only after epochs


def read_params(section: Mapping[str, Any]) -> MonitoringParams:
    """Return the params of a section that its schema found sound, each logger once.

    >>> read_params({"loggers": ["mlflow", "mlflow"]})
    MonitoringParams(loggers=('mlflow',), checkpoint_minutes=10)
    """
    loggers = tuple(dict.fromkeys(section.get("loggers", ())))
    return MonitoringParams(**{**section, "loggers": loggers})


def find_log_dir(root: Path) -> Path:
    """Return the folder in which each logger has one of its own, outside of all outs."""
    return root / ".force"


def make_writable_dirs(log_dir: Path, loggers: Iterable[str]) -> tuple[Path, ...]:
    """Make and return the folders that these loggers write to."""
    folders = tuple(log_dir / name for name in loggers)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    return folders


def collect_variables(loggers: Iterable[str]) -> dict[str, str]:
    """Return the variables that these loggers need in a container."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    wanted = {name: value for name, value in passed.items() if name.partition("_")[0].lower() in loggers}
    return {**wanted, "WANDB_MODE": "offline"} if "wandb" in loggers else wanted


def check_installed(loggers: Iterable[str]) -> None:
    """Raise ToolError for the first logger whose package is not here."""
    for name in loggers:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # a folder of that name, as `wandb/` may be one, is no package
            raise ToolError(f"{LOGGERS[name]} is not installed", suggest_install(name))
