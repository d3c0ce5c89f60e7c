"""Decide what a saved model in an experiment's folder means: the class that reads it, or weights for another class."""

from pathlib import Path
from typing import Any

from pipeline.components import READERS, Component, Weights
from pipeline.errors import ConfigError, Problem
from pipeline.index import FileIndex
from pipeline.modelfiles import detect
from pipeline.modelforms import STATES, Form, ModelFile
from pipeline.modules import FIRST_PARTY, ModuleGraph


def detect_override(root: Path, path: str, index: FileIndex) -> ModelFile:
    """Say what a saved model of the checkout is. Raises ConfigError for a form that no model can be made of."""
    found = _detect(root, path, index)
    if found.form is Form.UNKNOWN:
        hint = "docs/experiments.md#model-forms lists what a model may be saved as"
        is_folder = index.is_folder(path)
        more = ", and a folder with a class has to have an __init__.py" if is_folder else ""
        raise ConfigError([Problem(path, 0, 0, f"is no model: {found.description}{more}", hint)])
    return found


def _detect(root: Path, path: str, index: FileIndex) -> ModelFile:
    """Detect, or remember what was found in the same file before; what several files are is found anew."""
    if not index.exists(path):
        return detect(root / path, path)
    found = _unpack(root, path, index.remember(path, "model", lambda: _pack(root, detect(root / path, path))))
    return found if len(found.files) == 1 else detect(root / path, path)


def _pack(root: Path, found: ModelFile) -> dict[str, Any]:
    return {
        "form": str(found.form),
        "files": _relate(root, found),
        "description": found.description,
        "globals": list(found.globals),
        "imports": list(found.imports),
        "sha256": found.sha256,
    }


def _unpack(root: Path, path: str, packed: dict[str, Any]) -> ModelFile:
    return ModelFile(
        root / path,
        path,
        Form(packed["form"]),
        tuple(root / file for file in packed["files"]),
        packed["description"],
        tuple(packed["globals"]),
        tuple(packed["imports"]),
        root / path if packed["sha256"] else None,
        packed["sha256"],
    )


def _relate(root: Path, found: ModelFile) -> list[str]:
    return [file.relative_to(root).as_posix() for file in found.files]


def is_state(found: ModelFile) -> bool:
    """Say whether a saved model is weights alone, which want a class."""
    return found.form in STATES


def make_component(root: Path, found: ModelFile, experiment: str, modules: ModuleGraph) -> Component:
    """Return the component that a whole model is. Raises ConfigError where the checkout lacks a class of it."""
    reader = READERS[found.form]
    return Component(
        "model",
        reader.path,
        reader.class_name,
        experiment,
        file=found.name,
        files=tuple(_relate(root, found)),
        description=found.description,
        sha256=found.sha256,
        modules=_find_modules(found, modules),
    )


def make_weights(root: Path, found: ModelFile, experiment: str) -> Weights:
    """Return the weights that a state is."""
    return Weights(found.name, str(found.form), found.description, experiment, tuple(_relate(root, found)))


def _find_modules(found: ModelFile, modules: ModuleGraph) -> tuple[str, ...]:
    """Return the files of the checkout that loading a model imports."""
    paths: dict[str, None] = {}
    for name in found.imports:
        if name.partition(".")[0] not in FIRST_PARTY:
            if found.form is Form.FORCE and name == found.imports[0]:
                message = f"is of the class {name}, which is none of common or experiments"
                raise ConfigError([Problem(found.name, 0, 0, message)])
            continue
        parts = name.split(".")
        ends = range(len(parts) - 1, 1, -1)
        path, end = next(((path, end) for end in ends if (path := modules.find(".".join(parts[:end])))), ("", 0))
        names = modules.facts(path)["names"] if path else []
        if names is not None and parts[end] not in names:
            raise ConfigError([Problem(found.name, 0, 0, f"wants {name}, and there is none in this checkout")])
        paths[path] = None
    return tuple(paths)
