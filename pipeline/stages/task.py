"""What a stage's process is told: written by `force stage`, read by `python -m pipeline.stages`."""

import importlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.config import build_config
from pipeline.params import RESERVED


@dataclass(frozen=True)
class Task:
    """The work of one stage. Everything it writes goes below `target`, but for checkpoints."""

    stage: str
    root: str
    target: str
    inputs: dict[str, str]  # upstream stage → the folder that it left
    components: dict[str, list[str]]  # kind → [module, class name]
    params: dict[str, dict[str, Any]]
    checkpoint_dir: str = ""  # where the stage keeps its state while it runs; empty to keep none
    built_models: dict[str, dict[str, Any]] = field(default_factory=dict)  # experiment → {folder, component, sha256}
    num_processes: int = 1
    experiment: str = ""
    monitoring: dict[str, Any] = field(default_factory=dict)  # the fields of `pipeline.monitoring.MonitoringParams`
    log_dir: str = ""  # each logger has a folder in it
    files: dict[str, str] = field(default_factory=dict)  # kind → the file that describes the component, where one does
    trust: dict[str, str] = field(default_factory=dict)  # kind → the SHA-256 of such a file whose code may run
    weights: dict[str, str] = field(default_factory=dict)  # {path, form} of those that the model begins with
    request: dict[str, Any] = field(default_factory=dict)  # what `force model` wants of it

    @property
    def target_dir(self) -> Path:
        """Where the results go."""
        return Path(self.target)

    def component(self, kind: str) -> type[Any]:
        """Import and return the class of a component."""
        return import_class(*self.components[kind])

    def config(self, kind: str, section: str) -> Any:
        """Return the config of a component, filled from its section of the params."""
        values = {key: v for key, v in self.params.get(section, {}).items() if key not in RESERVED.get(section, ())}
        return build_config(self.component(kind), values)

    def make_dir(self, name: str) -> Path:
        """Make and return a folder below the target."""
        folder = self.target_dir / name
        folder.mkdir()
        return folder


def read_task(path: Path) -> Task:
    """Read a task."""
    return Task(**json.loads(path.read_text()))


def import_class(module: str, class_name: str) -> type[Any]:
    """Import and return a class."""
    component: type[Any] = getattr(importlib.import_module(module), class_name)
    return component
