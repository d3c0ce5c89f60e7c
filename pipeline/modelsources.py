"""Find the model that `force model` names, and say what has to be told to the process that loads it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.architectures import MAX_BYTES, check_architecture
from pipeline.components import DESCRIPTION, READERS, Component
from pipeline.errors import ConfigError, ForceError, Problem, ToolError, UsageError, suggest
from pipeline.experiments import COMMON, Experiment
from pipeline.modelfiles import detect
from pipeline.modelforms import STATES, Form, ModelFile
from pipeline.ownership import TRAIN, product_of
from pipeline.pickles import list_names
from pipeline.project import Project
from pipeline.tensorfiles import parse_json

CLASS = "class"  # the form of a model that is not trained: code and params
_PREPARE = "prepare"
_METADATA = "metadata.json"


@dataclass(frozen=True)
class ModelSource:
    """A model, and the part of a stage's task that says how to load it."""

    name: str
    form: str  # one of `Form`, `CLASS` or `DESCRIPTION`
    description: str
    task: Mapping[str, Any] = field(default_factory=dict)
    staleness: str = ""  # why a built model is not the result of the present files

    @property
    def has_metadata(self) -> bool:
        """Say whether it is known what data the model is for."""
        return bool(self.task["inputs"])

    @property
    def is_built(self) -> bool:
        """Say whether it is a model with the weights that a training left, or a file with weights."""
        return self.form not in (CLASS, DESCRIPTION)


def find_source(project: Project, name: str, experiment: str, trusted: str) -> ModelSource:
    """Return what `name` is: an experiment, or else a file or folder.

    `experiment` gives a file data and a class, and `trusted` is the SHA-256 of code that somebody vouches for; both may
    be empty. Raises ForceError for what is neither, is damaged, or brings code that nobody vouched for.
    """
    if name in project.experiments.names():
        if experiment or trusted:
            message = f"'{name}' is an experiment, which has data, a class and `trust` of its own"
            raise UsageError(message, f"leave the option out; a file of that name is ./{name}")
        return _find_experiment(project, project.experiments.get(name))
    path = Path(name)
    if not _is_there(path):
        close = suggest(name, project.experiments.names())
        raise UsageError(f"there is no experiment '{name}', and no such file{close}", "force ls")
    return _find_file(project, path, name, experiment, trusted)


def _is_there(path: Path) -> bool:
    try:
        return path.exists() or path.is_symlink()
    except OSError:  # a name that is too long
        return False


def _find_experiment(project: Project, experiment: Experiment) -> ModelSource:
    name = experiment.name
    ownership = project.ownership({name: experiment})
    owner = ownership.owner(name, TRAIN)
    folder = product_of(owner, TRAIN)
    data = _find_data(project, experiment)
    if not (project.root / folder).is_dir():
        if not data:
            raise ToolError(f"{name} has neither a built model here nor prepared data to build one for", _run(name))
        task = {**_describe_class(project, experiment), "inputs": data}
        component = experiment.components["model"]
        described = component.description or f"{component.class_name} of {component.path}"
        weights = f"the weights in {component.weights.path}" if component.weights else "random weights"
        of_file = component.file and component.description
        return ModelSource(name, CLASS, f"{described}, not trained{'' if of_file else f': {weights}'}", task)
    found = detect(project.root / folder, folder)
    if found.form is not Form.FORCE:
        raise ToolError(f"{folder} is no built model: damaged or edited", _run(owner))
    inherited = f", which is that of {owner}" if owner != name else ""
    sha256 = project.experiments.get(owner).components["model"].sha256
    task = {"inputs": {TRAIN: str(found.path), **data}, "trust": _pin(sha256)}
    staleness = project.planner(ownership).describe_staleness(ownership.stage(owner, TRAIN))
    return ModelSource(name, found.form, f"{found.description}{inherited}", task, staleness)


def _run(name: str) -> str:
    return f"force run {name}"


def _pin(sha256: str) -> dict[str, str]:
    return {"model": sha256} if sha256 else {}


def _find_data(project: Project, experiment: Experiment) -> dict[str, str]:
    """Return where the prepared data of an experiment is, as inputs of a task; nothing where it is not here."""
    owner = project.ownership({experiment.name: experiment}).owner(experiment.name, _PREPARE)
    folder = project.root / product_of(owner, _PREPARE)
    return {_PREPARE: str(folder)} if (folder / _METADATA).is_file() else {}


def _describe_class(project: Project, experiment: Experiment) -> dict[str, Any]:
    """Return what builds the model of an experiment anew."""
    component = experiment.components["model"]
    weights = component.weights
    return {
        **_describe_component(component),
        "files": {"model": str(project.root / component.file)} if component.file else {},
        "trust": _pin(component.sha256),
        "weights": {"path": str(project.root / weights.path), "form": weights.form} if weights else {},
        "params": {"model": experiment.section("model")},
    }


def _describe_component(component: Component) -> dict[str, Any]:
    return {"components": {"model": [component.module, component.class_name]}}


def _find_file(project: Project, path: Path, name: str, option: str, trusted: str) -> ModelSource:
    nearest = _find_nearest(project, path)
    experiment = project.experiments.get(option) if option else nearest
    inputs = _find_data(project, experiment) if experiment else {}
    if option and not inputs:
        raise ToolError(f"the prepared data of {option} is not here", _run(option))
    if _is_description(path):
        check_architecture(path.read_bytes(), name)
        return ModelSource(name, DESCRIPTION, "a model.json", {**_read_by(DESCRIPTION, path), "inputs": inputs})
    found = detect(path, name)
    pins = {trusted, *(nearest.trust.values() if nearest else ())}
    _check(found, pins)
    source = ModelSource(name, found.form, found.description)
    if found.form is Form.FORCE and not (path / "metadata.json").is_file():
        hint = "it is beside the weights in what a training leaves"
        raise ConfigError([Problem(name, 0, 0, "is no whole built model: metadata.json is missing", hint)])
    if found.form is Form.FORCE:
        task = {"inputs": {TRAIN: str(path.absolute()), **inputs}, "trust": _pin(found.sha256)}
    elif found.form in STATES:
        described = _describe_class(project, experiment) if experiment and option else {}
        task = {**described, "weights": {"path": str(path.absolute()), "form": str(found.form)}, "inputs": inputs}
    else:
        task = {**_read_by(found.form, path), "trust": _pin(found.sha256), "inputs": inputs}
    return replace(source, task=task)


def _read_by(form: str, path: Path) -> dict[str, Any]:
    """Return what builds a model from a file of this form."""
    reader = READERS[form]
    module = reader.path.removesuffix(".py").replace("/", ".")
    return {"components": {"model": [module, reader.class_name]}, "files": {"model": str(path.absolute())}}


def _find_nearest(project: Project, path: Path) -> Experiment | None:
    """Return the experiment whose folder a path is in, None where it is in none, or in one with faults."""
    with suppress(ValueError):
        parts = path.resolve().relative_to(project.root.resolve()).parts
        name = parts[0] if parts[:1] == (COMMON,) else parts[1] if parts[:1] == ("experiments",) else ""
        if len(parts) > 1 and name in project.experiments.names():
            with suppress(ForceError):
                return project.experiments.get(name)
    return None


def _is_description(path: Path) -> bool:
    """Say whether a file describes layers, and is no index of shards."""
    if not path.is_file() or path.suffix != ".json" or path.stat().st_size > MAX_BYTES:
        return False
    with suppress(ValueError, OSError):
        return "weight_map" not in parse_json(path.read_bytes())
    return True


def _check(found: ModelFile, pins: set[str]) -> None:
    """Raise ConfigError for what is no model, and for one with code that no pin lets in."""
    if found.form is Form.UNKNOWN:
        hint = "docs/experiments.md#model-forms lists what a model may be saved as"
        if (found.path / "experiment.yaml").is_file():
            hint = f"it is the folder of an experiment: force model show {found.path.resolve().name}"
        raise ConfigError([Problem(found.name, 0, 0, f"is no model: {found.description}", hint)])
    if found.needs_trust and found.sha256 not in pins:
        brings = f"; it would use {list_names(found.globals)}" if found.globals else ""
        message = f"is {found.description}, and loading it runs code that it brings{brings}"
        raise ConfigError([Problem(found.name, 0, 0, message, f"if you trust who made it: --trust {found.sha256}")])
