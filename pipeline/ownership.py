"""Decide which stages an experiment owns and which it inherits, and what the owned ones read and write.

Stage s of experiment E is inherited from its parent when every input is the same: the components it uses, the
effective params it reads, and its upstream stages. Otherwise E owns it.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from pipeline.components import KINDS
from pipeline.documents import locate
from pipeline.errors import ConfigError, Problem
from pipeline.experiments import CIRCUMSTANCES, COMMON, Experiment
from pipeline.modules import ModuleGraph
from pipeline.params import trace

TRAIN = "train"  # the stage that builds a model


# `force run --processes` says here how many, for the `force stage` that DVC starts.
PROCESSES_VARIABLE = "FORCE_PROCESSES"


@dataclass(frozen=True)
class Out:
    """A file or folder that a stage leaves, relative to the experiment's folder."""

    path: str
    section: Literal["outs", "metrics", "plots"] = "outs"
    # Small, and compared in reviews: kept by git instead of the DVC cache. DVC has no run-cache for a stage with such
    # outs (metrics aside), so that an evaluation that was done before is done again; a training is not.
    in_git: bool = False
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class StageKind:
    """One of the three stages, the same for every experiment."""

    name: str
    components: tuple[str, ...]
    sections: tuple[str, ...]
    upstream: tuple[str, ...]
    modules: tuple[str, ...]  # of common, that the stage uses whatever the components are
    product: str  # what stages downstream read; empty where nothing does
    outs: tuple[Out, ...]
    keeps_checkpoints: bool = False  # its state while it runs, so that it goes on where it was killed
    runs_in_parallel: bool = False  # as several processes, where `force run --processes` asks for it
    takes_built_models: bool = False  # those that params name, of other experiments

    @property
    def cmd(self) -> str:
        """What DVC runs in the experiment's folder; the same text for everyone, so that runs can be shared."""
        return f"force stage {self.name}"


def _records(stage: str) -> tuple[Out, ...]:
    return (Out(f"outputs/{stage}/run.json"), Out(f"outputs/{stage}/{stage}.log"))


def _curve(name: str, x: str, y: str) -> Out:
    return Out(f"outputs/evaluate/{name}.csv", "plots", options=(("x", x), ("y", y)))


STAGES = {
    stage.name: stage
    for stage in (
        StageKind(
            "prepare",
            components=("data",),
            sections=("data",),
            upstream=(),
            modules=("common/config.py", "common/dataset.py"),
            product="outputs/prepare/data",
            outs=(Out("outputs/prepare/data"), *_records("prepare")),
            keeps_checkpoints=True,
        ),
        StageKind(
            TRAIN,
            components=("loader", "model", "trainer"),
            sections=("loader", "model", "train", "runtime"),
            upstream=("prepare",),
            modules=("common/loggers.py", "common/saved_model.py", "common/vectorised.py"),
            product="outputs/train/model",
            outs=(
                Out("outputs/train/model"),
                Out("outputs/train/config.json"),
                Out("outputs/train/history.jsonl"),
                Out("outputs/train/history.csv", "plots", options=(("x", "epoch"),)),
                *_records("train"),
            ),
            keeps_checkpoints=True,
            runs_in_parallel=True,
            takes_built_models=True,
        ),
        StageKind(
            "evaluate",
            components=("evaluator", "loader", "model"),
            sections=("loader", "evaluate", "runtime"),
            upstream=("prepare", "train"),
            modules=("common/curves.py", "common/performance.py", "common/saved_model.py"),
            product="",
            outs=(
                Out("outputs/evaluate/metrics.json", "metrics", in_git=True),
                Out("outputs/evaluate/certificate.json", in_git=True),
                Out("outputs/evaluate/seeds.json", in_git=True),
                Out("outputs/evaluate/performance.json", "metrics"),  # differs from run to run: no file for git
                Out("outputs/evaluate/predictions.safetensors"),
                _curve("reliability", "confidence", "accuracy"),
                _curve("roc", "false_positive_rate", "true_positive_rate"),
                _curve("precision_recall", "recall", "precision"),
                Out(
                    "outputs/evaluate/confusion.csv",
                    "plots",
                    options=(("template", "confusion"), ("x", "predicted"), ("y", "actual")),
                ),
                *_records("evaluate"),
            ),
        ),
    )
}


@dataclass(frozen=True)
class Stage:
    """A stage that an experiment owns. Paths are relative to the root; `relative` makes them relative to the folder."""

    experiment: str
    folder: str
    kind: StageKind
    files: tuple[str, ...]  # source files it depends on
    upstream: Mapping[str, str]  # upstream stage → the experiment that owns it
    params: Mapping[str, Mapping[str, Any]]  # file → dotted key → value
    built_models: Mapping[str, str]  # experiment that params name for its built model → the owner of that
    data: tuple[str, ...] = ()  # files and folders that sources read

    @property
    def name(self) -> str:
        """The stage's own name, as in `force stage NAME`."""
        return self.kind.name

    @property
    def id(self) -> tuple[str, str]:
        """(experiment, stage): unique in a checkout."""
        return self.experiment, self.kind.name

    @property
    def needs(self) -> tuple[tuple[str, str], ...]:
        """The stages that have to run before it, as (experiment, stage): those upstream, and what builds its models."""
        upstream = [(owner, stage) for stage, owner in self.upstream.items()]
        return tuple(dict.fromkeys([*upstream, *((owner, TRAIN) for owner in self.built_models.values())]))

    @property
    def products(self) -> dict[str, tuple[str, str]]:
        """The outs of others that it reads: path → (experiment, stage) that makes it."""
        return {product_of(owner, stage): (owner, stage) for owner, stage in self.needs}

    @property
    def dvc_file(self) -> str:
        """The dvc.yaml that holds this stage."""
        return dvc_file_of(self.experiment)

    def relative(self, path: str) -> str:
        """Return a path as this stage's dvc.yaml writes it."""
        own, siblings, up = self._prefixes
        if path.startswith(own):
            return path[len(own) :]
        if path.startswith(siblings) and own.startswith(siblings):
            return f"../{path[len(siblings) :]}"
        return up + path

    @cached_property
    def _prefixes(self) -> tuple[str, str, str]:
        """What paths of its own folder and of experiments' begin with, and what leads to the root."""
        return f"{self.folder}/", "experiments/", "../" * (self.folder.count("/") + 1)

    def absolute(self, path: str) -> str:
        """Return a path of this stage's dvc.yaml relative to the root: the inverse of `relative`."""
        return posixpath.normpath(f"{self.folder}/{path}")

    def call(self, need: tuple[str, str]) -> str:
        """Return what to call a stage that it needs: `train`, or where that is another's `train of wide`."""
        owner, stage = need
        return stage if owner == self.experiment else f"{stage} of {owner}"


class _Hop(NamedTuple):
    """From one training to another, whose built model it takes."""

    key: str  # of the param that says so
    model: str  # the experiment that it names
    owner: str  # of that one's training


class Ownership:
    """Who owns which stage, for experiments that are already loaded."""

    def __init__(self, experiments: Mapping[str, Experiment], modules: ModuleGraph) -> None:
        self._experiments = experiments
        self._modules = modules
        self._owners: dict[tuple[str, str], str] = {}
        self._stages: dict[tuple[str, str], Stage] = {}

    def __contains__(self, experiment: str) -> bool:
        return experiment in self._experiments

    def owner(self, experiment: str, stage: str) -> str:
        """Return the experiment whose stage this one uses: itself, or an ancestor."""
        key = (experiment, stage)
        if key not in self._owners:
            current = self._experiments[experiment]
            if current.parent is None or self._differs(current, current.parent, STAGES[stage]):
                self._owners[key] = experiment
            else:
                self._owners[key] = self.owner(current.parent.name, stage)
        return self._owners[key]

    def owned(self, experiment: str) -> list[Stage]:
        """Return the stages that an experiment owns, upstream first.

        Raises ConfigError where there are none: the experiment would be a void result under a new name. And where its
        training waits for itself, through the built models that it takes.
        """
        owned = [self.stage(experiment, name) for name in STAGES if self.owner(experiment, name) == experiment]
        if not owned:
            raise ConfigError([self._describe_void(self._experiments[experiment])])
        if self.owner(experiment, TRAIN) == experiment and (hops := self._find_circle(experiment)):
            raise ConfigError([self._describe_circle(hops)])
        return owned

    def stage(self, owner: str, name: str) -> Stage:
        """Return a stage by its owner."""
        key = (owner, name)
        if key not in self._stages:
            self._stages[key] = self._build(self._experiments[owner], STAGES[name])
        return self._stages[key]

    def effective(self, experiment: str, name: str) -> Stage:
        """Return the stage that an experiment uses, owned or inherited."""
        return self.stage(self.owner(experiment, name), name)

    def _differs(self, child: Experiment, parent: Experiment, kind: StageKind) -> bool:
        if any(not child.components[name].is_same(parent.components[name]) for name in kind.components):
            return True
        if any(self.owner(child.name, stage) != self.owner(parent.name, stage) for stage in kind.upstream):
            return True
        return any(_values(child, section) != _values(parent, section) for section in kind.sections)

    def _build(self, experiment: Experiment, kind: StageKind) -> Stage:
        files: set[str] = set()
        for path in [*kind.modules, *(p for name in kind.components for p in experiment.components[name].sources)]:
            files |= self._modules.closure(path)
        for path in _in_sections(experiment.choice_files, kind):
            files |= self._modules.closure(path)
        for name in kind.components:
            files.update(experiment.components[name].inputs)
        built_models = {}
        if kind.takes_built_models:
            built_models = {name: self.owner(name, TRAIN) for name in experiment.built_models.values()}
        for owner in built_models.values():  # its class is needed to build the module
            for path in self._experiments[owner].components["model"].sources:
                files |= self._modules.closure(path)
        params: dict[str, dict[str, Any]] = {}
        for key, setting in experiment.settings.items():
            if key.partition(".")[0] in kind.sections:
                params.setdefault(setting.file, {})[setting.key] = setting.value
        for name in kind.components:
            component = experiment.components[name]
            if component.setting:
                file = f"{folder_of(component.declared_by)}/experiment.yaml"
                params.setdefault(file, {})[component.setting] = f"{component.module}:{component.class_name}"
        return Stage(
            experiment.name,
            experiment.folder,
            kind,
            tuple(sorted(files)),
            {stage: self.owner(experiment.name, stage) for stage in kind.upstream},
            params,
            built_models,
            tuple(sorted(set(_in_sections(experiment.data_paths, kind)))),
        )

    def _find_circle(self, start: str) -> list[_Hop]:
        """Return how a training comes to wait for itself, nothing where it does not."""
        waiting: list[list[_Hop]] = [[_Hop("", "", start)]]
        seen: set[str] = set()
        while waiting:
            hops = waiting.pop(0)
            current = self._experiments[hops[-1].owner]
            for key, model in current.built_models.items():
                hop = _Hop(key, model, self.owner(model, TRAIN))
                if hop.owner == start:
                    return [*hops[1:], hop]
                if hop.owner not in seen:
                    seen.add(hop.owner)
                    waiting.append([*hops, hop])
        return []

    def _describe_circle(self, hops: list[_Hop]) -> Problem:
        """Return the same fault for each training of a circle: at the first of them in alphabetical order."""
        owners = [hop.owner for hop in hops]
        first = owners.index(min(owners)) + 1
        hops = [*hops[first:], *hops[:first]]
        names = [min(owners)]
        for hop in hops:
            names += [hop.model, *([hop.owner] if hop.owner != hop.model else [])]
        source = trace(hops[0].key.split("."), self._experiments[names[0]].settings)
        assert source is not None
        line, column = locate(self._modules.read_bytes(source[0]), source[1])
        message = f"trainings wait for each other's built models: {' → '.join(names)}"
        return Problem(source[0], line, column, message, f"set {hops[0].key} to another experiment, or to null")

    def _describe_void(self, experiment: Experiment) -> Problem:
        assert experiment.parent is not None
        same = [
            f"{key} is {setting.value} in '{experiment.parent.name}' already"
            for key, setting in experiment.own_settings.items()
            if key.partition(".")[0] not in CIRCUMSTANCES
        ]
        same += [
            f"{c.kind} is {c.module}:{c.class_name} in '{experiment.parent.name}' already"
            for c in experiment.components.values()
            if c.setting and c.declared_by == experiment.name
        ]
        message = f"changes nothing of '{experiment.parent.name}'" + (f": {', '.join(same)}" if same else "")
        overrides = ", ".join(f"{name}.py" for name in KINDS)
        hint = f"set a param in it, or add one of {overrides} beside it"
        return Problem(f"{experiment.folder}/experiment.yaml", 1, 1, message, hint)


def _in_sections(named: Mapping[str, str], kind: StageKind) -> list[str]:
    """Return what the settings that a kind of stage reads name."""
    return [value for key, value in named.items() if key.partition(".")[0] in kind.sections]


def product_of(experiment: str, stage: str) -> str:
    """Return the out of a stage that others read, relative to the root."""
    return f"{folder_of(experiment)}/{STAGES[stage].product}"


def folder_of(experiment: str) -> str:
    """Return the folder of an experiment relative to the root."""
    return COMMON if experiment == COMMON else f"experiments/{experiment}"


def dvc_file_of(experiment: str) -> str:
    """Return the dvc.yaml of an experiment relative to the root; the common build's stands in the root."""
    return "dvc.yaml" if experiment == COMMON else f"experiments/{experiment}/dvc.yaml"


def lock_file_of(experiment: str) -> str:
    """Return the dvc.lock of an experiment relative to the root."""
    return dvc_file_of(experiment).removesuffix("yaml") + "lock"


def _values(experiment: Experiment, section: str) -> dict[str, Any]:
    """Return the effective params of a section, true and 1 told apart."""
    return {
        key: _tell_apart(setting.value) for key, setting in experiment.settings.items() if key.startswith(f"{section}.")
    }


def _tell_apart(value: Any) -> Any:
    """Return a value that equals another's only where both are booleans or neither is."""
    return tuple(map(_tell_apart, value)) if isinstance(value, list) else (isinstance(value, bool), value)
