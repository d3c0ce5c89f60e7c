"""Discover the experiments, check their files, and resolve what each inherits.

Nothing here runs code of an experiment. All faults of a file are found at once.
"""

import keyword
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pipeline import containers, monitoring, reporting
from pipeline.components import (
    DESCRIPTION,
    ENGINE,
    KINDS,
    READERS,
    SECTIONS,
    SUFFIXES,
    Component,
    ComponentKind,
    check_folder,
    choose_override,
    find_absent,
    find_declared,
    find_override_files,
    find_subclass,
    is_saved,
)
from pipeline.configs import Configs, Node, Section
from pipeline.documents import locate, parse_yaml
from pipeline.effective import (
    Layer,
    Places,
    find_built_models,
    find_choice_files,
    find_data_paths,
    find_faults,
    find_missing,
    hash_nodes,
    may_name_built_model,
    merge,
)
from pipeline.errors import ConfigError, Problem, UsageError, suggest
from pipeline.functions import Call, find_argument_paths, find_calls, find_faults_of_call
from pipeline.gates import PARENT, Gate, parse_gate
from pipeline.index import FileIndex
from pipeline.modelforms import ModelFile, check_trust
from pipeline.modeloverrides import detect_override, is_state, make_component, make_weights
from pipeline.modules import ModuleGraph
from pipeline.params import Setting, find_dotted, flatten, is_set, nest
from pipeline.rawdata import find_fault, find_path
from pipeline.validation import Fault, Schema, find_problems, load_schema, named_schema

COMMON = "common"
PARAMS_FILE = "params.yaml"
# Sections that no result depends on: they are no input of any stage.
CIRCUMSTANCES = {section.SECTION: section.SCHEMA for section in (containers, monitoring, reporting)}
MAX_NAME = 100  # characters: names of files, artifacts and groups of jobs are made of it
NAME_PATTERN = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{MAX_NAME - 1}}}")


@dataclass(frozen=True)
class Experiment:
    """An experiment with all that it inherits resolved; the common build is one without a parent."""

    name: str
    folder: str  # relative to the root
    parent: "Experiment | None"
    description: str
    owner: str
    components: Mapping[str, Component]
    settings: Mapping[str, Setting]  # by dotted key, section first
    # What settings name, by their keys:
    built_models: Mapping[str, str] = field(default_factory=dict)  # experiments
    data_paths: Mapping[str, str] = field(default_factory=dict)  # files and folders that sources read
    choice_files: Mapping[str, str] = field(default_factory=dict)  # modules of sources and transforms
    trust: Mapping[str, str] = field(default_factory=dict)  # file of its folder that may bring code → its SHA-256
    gates: tuple[Gate, ...] = ()  # what results have to reach; the parent's, where there are none of its own

    @property
    def lineage(self) -> tuple[str, ...]:
        """The names from this experiment up to the common build."""
        return (self.name, *(self.parent.lineage if self.parent else ()))

    @property
    def overrides(self) -> tuple[str, ...]:
        """The components that this experiment itself replaces."""
        if not self.parent:
            return ()
        return tuple(kind for kind, component in self.components.items() if component.is_overridden_by(self.name))

    @property
    def own_settings(self) -> dict[str, Setting]:
        """The params that this experiment itself sets."""
        return {key: setting for key, setting in self.settings.items() if setting.file.startswith(f"{self.folder}/")}

    def section(self, name: str) -> dict[str, Any]:
        """Return a section of the effective params as nested dicts."""
        leaves = {key: s.value for key, s in self.settings.items() if key.startswith(f"{name}.")}
        section: dict[str, Any] = nest(leaves).get(name, {})
        return section


class Experiments:
    """The experiments of one checkout, loaded on demand and once."""

    def __init__(self, root: Path, index: FileIndex) -> None:
        self.root = root
        self.index = index
        self.modules = ModuleGraph(str(root), index)
        self._configs = Configs(self.modules)
        self._loaded: dict[str, Experiment | ConfigError] = {}
        self._reaches: dict[str, tuple[str, ...]] = {}
        self._params_schemas: dict[tuple[tuple[str, str] | None, ...], Schema] = {}
        schema = load_schema("experiment")  # its params are checked against the components in use, not the common ones
        self._schema = Schema({**schema, "properties": {**schema["properties"], "params": {"type": "object"}}})

    def names(self) -> list[str]:
        """Return every experiment's name in alphabetical order, the common build's first.

        A folder of `experiments/` counts when it has an experiment.yaml, or an override that wants one.
        """
        try:
            folders = sorted(entry.name for entry in os.scandir(self.root / "experiments") if entry.is_dir())
        except FileNotFoundError:
            folders = []
        return [COMMON, *(name for name in folders if name != COMMON and self._is_experiment(name))]

    def get(self, name: str) -> Experiment:
        """Return one experiment. Raises UsageError where there is none, ConfigError for faults in its files."""
        if name != COMMON and ("/" in name or not self._is_experiment(name)):
            names = self.names()
            close = suggest(name.rstrip("/").removeprefix("experiments/"), names)  # a shell completes paths
            raise UsageError(f"no experiment '{name}'{close}", "force ls lists them")
        self.reach(name)
        return self._load(name, ())

    def reach(self, name: str) -> tuple[str, ...]:
        """Return an experiment, its ancestors, and those whose built models any of these takes, in turn.

        Raises ConfigError for the faults of all of them.
        """
        if name not in self._reaches:
            reached: dict[str, None] = {}
            problems: list[Problem] = []
            waiting = [name]
            while waiting:
                current = waiting.pop(0)
                if current in reached:
                    continue
                reached[current] = None
                try:
                    experiment = self._load(current, ())
                    waiting += [*experiment.lineage, *experiment.built_models.values()]
                except ConfigError as error:
                    problems += error.problems
            if problems:
                raise ConfigError(problems)
            self._reaches[name] = tuple(reached)
        return self._reaches[name]

    def load_all(self) -> tuple[dict[str, Experiment], list[Problem]]:
        """Return the experiments whose files are sound, by name, and the faults of all others."""
        sound: dict[str, Experiment] = {}
        problems = [_describe_bad_name(COMMON)] if self._is_experiment(COMMON) else []
        for name in self.names():
            try:
                sound[name] = self.get(name)
            except ConfigError as error:
                problems += error.problems
        return sound, sorted(set(problems))

    def params_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of params.yaml, made from the configs of the common components."""
        common = self.get(COMMON)
        found = self._find_sections(common.components)
        sections = {**{name: section.schema for name, section in found.items()}, **CIRCUMSTANCES}
        own = {name: {**section.overrides, "additionalProperties": True} for name, section in found.items()}
        overrides = {**sections, **own}
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "params.yaml: the common parameters (made by `force sync` from the Config classes of common/)",
            "type": "object",
            "additionalProperties": False,
            "properties": sections,
            "$defs": {"overrides": {"type": "object", "additionalProperties": False, "properties": overrides}},
        }

    def _is_experiment(self, name: str) -> bool:
        folder = f"experiments/{name}"
        return self.index.exists(f"{folder}/experiment.yaml") or any(
            find_override_files(kind, folder, self.modules) for kind in KINDS.values()
        )

    def _load(self, name: str, descendants: tuple[str, ...]) -> Experiment:
        if name not in self._loaded:
            try:
                self._loaded[name] = self._load_common() if name == COMMON else self._load_experiment(name, descendants)
            except ConfigError as error:
                self._loaded[name] = error
        loaded = self._loaded[name]
        if isinstance(loaded, ConfigError):
            raise loaded
        return loaded

    def _load_common(self) -> Experiment:
        components = {}
        for kind in (*KINDS.values(), ENGINE):
            path = kind.base[0]
            if not self.index.exists(path):
                raise ConfigError([Problem(path, 0, 0, "no such file")])
            self._check_imports([path], (COMMON,))
            if kind.default not in self.modules.facts(path)["classes"]:
                raise ConfigError([Problem(path, 1, 1, f"defines no class '{kind.default}'")])
            components[kind.name] = Component(kind.name, path, kind.default, COMMON)
        document, sections = self._read_yaml(PARAMS_FILE), self._find_sections(components)
        problems = self._find_problems(self._params_schema(sections), document, PARAMS_FILE)
        if problems:
            raise ConfigError(problems)
        layer = Layer(PARAMS_FILE, (), dict(flatten(document)), sections, frozenset(sections))
        root = Experiment(COMMON, COMMON, None, "the common build", "", components, {})
        return self._lay_over(root, {}, layer)

    def _load_experiment(self, name: str, descendants: tuple[str, ...]) -> Experiment:
        path = f"experiments/{name}/experiment.yaml"
        document, problems = self._read_description(name, path)
        try:
            parent = self._load_parent(name, document, path, (*descendants, name))
        except ConfigError as error:
            raise ConfigError([*problems, *error.problems]) from None
        components, bad_components = self._find_components(name, f"experiments/{name}", document, parent)
        gates, bad_gates = self._read_gates(document, path, parent)
        sections = {} if bad_components else self._find_sections(components)
        problems += [*bad_components, *bad_gates, *self._find_bad_params(document, path, sections)]
        if problems:
            raise ConfigError(problems)
        layer = self._read_layer(document, path, sections, parent)
        return self._lay_over(_inherit(name, document, parent, components, gates), parent.settings, layer)

    def _read_description(self, name: str, path: str) -> tuple[dict[str, Any], list[Problem]]:
        """Return what experiment.yaml says and its faults. Raises ConfigError where these leave nothing more to say."""
        if not is_name(name):
            raise ConfigError([_describe_bad_name(name)])
        if not self.index.exists(path):
            hint = f"printf 'inherits: common\\ndescription: ...\\n' > {path}"
            raise ConfigError([Problem(path, 0, 0, "there is an override beside it, but the file is missing", hint)])
        document = self._read_yaml(path)
        problems = self._find_problems(self._schema, document, path)
        if any(problem.message.startswith(("the file", "'inherits'")) for problem in problems):
            raise ConfigError(problems)  # there is no parent
        return document, problems

    def _find_bad_params(
        self, document: Mapping[str, Any], path: str, sections: Mapping[str, Section]
    ) -> Iterator[Problem]:
        """Yield the faults of the params of an experiment.yaml; without sections, only those that need none."""
        params = document.get("params")
        if not isinstance(params, dict):
            return
        for where in find_dotted(params, ("params",)):
            place = locate(self._read_bytes(path), where, key=True)
            yield Problem(path, *place, f"the key '{where[-1]}' holds a dot")
        if sections:
            yield from self._find_problems(self._params_schema(sections), params, path, ["params"])

    def _read_layer(
        self, document: Mapping[str, Any], path: str, sections: Mapping[str, Section], parent: Experiment
    ) -> Layer:
        """Return the params that a sound experiment.yaml lays over the parent's."""
        inherited = self._find_sections(parent.components)
        replaced = frozenset(name for name in sections if sections[name].config != inherited[name].config)
        params = flatten(document.get("params") or {})
        leaves = {key: value for key, value in params if value != {} or _is_new_entry(key, parent)}
        return Layer(path, ("params",), leaves, sections, replaced)

    def _read_gates(
        self, document: dict[str, Any], path: str, parent: Experiment
    ) -> tuple[tuple[Gate, ...], list[Problem]]:
        gates, problems = [], []
        lines = document.get("gates")
        if not isinstance(lines, list):
            return parent.gates, []
        for place, line in enumerate(lines):
            try:
                gate = parse_gate(str(line))
                if gate.baseline not in ("", PARENT, COMMON) and not self._is_experiment(gate.baseline):
                    raise ValueError(f"'{gate.baseline}' is no experiment{suggest(gate.baseline, self.names())}")
                gates.append(gate)
            except ValueError as error:
                problems.append(Problem(path, *locate(self._read_bytes(path), ["gates", place]), str(error)))
        return tuple(gates), problems

    def _load_parent(self, name: str, document: dict[str, Any], path: str, chain: tuple[str, ...]) -> Experiment:
        parent = document.get("inherits", COMMON)
        line, column = 0, 0
        if parent in chain or (parent != COMMON and not self._is_experiment(parent)):
            line, column = locate(self._read_bytes(path), ["inherits"])
        if parent in chain:
            circle = " → ".join([*chain[chain.index(parent) :], parent])
            raise ConfigError([Problem(path, line, column, f"experiments inherit in a circle: {circle}")])
        if parent != COMMON and not self._is_experiment(parent):
            message = f"inherits '{parent}', which is no experiment{suggest(parent, self.names())}"
            raise ConfigError([Problem(path, line, column, message)])
        return self._load(parent, chain)

    def _find_components(
        self, name: str, folder: str, document: dict[str, Any], parent: Experiment
    ) -> tuple[dict[str, Component], list[Problem]]:
        """Return the effective components and all faults."""
        components, own_files, problems = dict(parent.components), set[str](), list[Problem]()
        for kind in KINDS.values():
            try:
                saved, paths = self._find_saved(kind, folder, document)
                states = [path for path in saved if is_state(saved[path])]
                file = choose_override(kind, [path for path in paths if path not in states])
                reference = self._find_reference(kind, document, folder, file)
                if file:
                    self._check_copy(file, parent.components[kind.name].source)
                    lineage = (name, *parent.lineage)
                    own_files |= self._check_imports([file] if file.endswith(".py") else [], lineage)
                    components[kind.name] = self._read_override(kind, file, saved.get(file), lineage)
                elif reference:
                    path = f"{folder}/experiment.yaml"
                    components[kind.name] = self._find_declared(name, path, kind.name, reference, parent.lineage)
                if weights := choose_override(kind, states):
                    inherited = parent.components[kind.name].weights
                    self._check_copy(weights, inherited.path if inherited else "")
                    made = make_weights(self.root, saved[weights], name)
                    components[kind.name] = replace(components[kind.name], weights=made)
            except ConfigError as error:
                problems += error.problems
        if not problems:
            problems = self._find_unused(folder, own_files)
        return components, problems

    def _find_reference(self, kind: ComponentKind, document: dict[str, Any], folder: str, file: str | None) -> str:
        """Return what experiment.yaml says that a component is, if it does. Raises ConfigError where `file` does."""
        references = document.get("components")
        reference = references.get(kind.name) if isinstance(references, dict) else None
        if file and reference:
            path = f"{folder}/experiment.yaml"
            where = locate(self._read_bytes(path), ["components", kind.name])
            raise ConfigError([Problem(path, *where, f"'{file}' overrides the {kind.name} already")])
        return reference if isinstance(reference, str) and ":" in reference else ""

    def _find_saved(
        self, kind: ComponentKind, folder: str, document: dict[str, Any]
    ) -> tuple[dict[str, ModelFile], list[str]]:
        """Return what was found in the saved models of a folder, by path, and the paths of all overrides there.

        Raises ConfigError for one of no known form, one that nobody vouched for, and one that DVC has still to bring.
        """
        check_folder(kind, folder, self.modules)
        if absent := find_absent(kind, folder, self.modules):
            message = f"is not here, and '{absent}.dvc' says that DVC has it"
            raise ConfigError([Problem(absent, 0, 0, message, f"dvc pull {absent}")])
        paths = find_override_files(kind, folder, self.modules)
        saved = {path: detect_override(self.root, path, self.index) for path in paths if is_saved(path)}
        trust = document.get("trust")
        for found in saved.values():
            check_trust(found, trust if isinstance(trust, dict) else {}, f"{folder}/experiment.yaml")
        return saved, paths

    def _read_override(
        self, kind: ComponentKind, file: str, saved: ModelFile | None, lineage: tuple[str, ...]
    ) -> Component:
        """Return the component that a file or folder of an experiment is. Raises ConfigError for its faults."""
        if file.endswith(".py"):
            return Component(kind.name, *find_subclass(kind, file, self.modules), lineage[0])
        if saved:
            component = make_component(self.root, saved, lineage[0], self.modules)
            if strays := [path for path in component.modules if not _may_import(path, lineage)]:
                raise ConfigError([_describe_stray(file, 0, 0, strays[0])])
        else:
            reader = READERS[DESCRIPTION]
            if check := reader.check:
                version = named_schema(reader.schema).digest if reader.schema else ""
                self.index.confirm(file, f"sound:{version}", lambda: check(self._read_bytes(file), file))
            component = Component(kind.name, reader.path, reader.class_name, lineage[0], file=file, files=(file,))
        self._check_imports(list(component.sources), lineage)
        return component

    def _find_unused(self, folder: str, own_files: set[str]) -> list[Problem]:
        """Return a fault for each file that nothing imports, and whose name is nearly that of a component."""
        problems = []
        for name in self.modules.list_package(folder.replace("/", ".")):
            stem, dot, suffix = name.partition(".")
            path = f"{folder}/{name}" if dot else f"{folder}/{name}.py"
            is_form = any(f".{suffix}" in suffixes for suffixes in SUFFIXES.values())
            is_used = path in own_files or (stem in KINDS and (not dot or f".{suffix}" in SUFFIXES.get(stem, ())))
            if is_used or (dot and not is_form) or not self.index.exists(path):
                continue
            if close := get_close_matches(stem, KINDS, n=1, cutoff=0.8):
                message = f"nothing uses this file; did you mean '{close[0]}'?"
                problems.append(Problem(path, 0, 0, message, f"rename it, or delete {path}"))
        return problems

    def _find_declared(self, name: str, path: str, kind: str, reference: str, lineage: tuple[str, ...]) -> Component:
        where = locate(self._read_bytes(path), ["components", kind])
        try:
            component = find_declared(KINDS[kind], name, reference, self.modules)
        except LookupError as error:
            raise ConfigError([Problem(path, *where, str(error.args[0]))]) from None
        if not _may_import(component.path, (name, *lineage)):
            raise ConfigError([_describe_stray(path, *where, component.path)])
        self._check_imports([component.path], (name, *lineage))
        return component

    def _check_imports(self, paths: list[str], lineage: tuple[str, ...]) -> set[str]:
        """Return the experiments' files that these reach; raise ConfigError for imports that would fail or stray."""
        reached = frozenset[str]().union(*(self.modules.closure(path) for path in paths))
        problems = []
        for file in sorted(reached & self.modules.suspects):
            if _may_import(file, lineage):
                problems += self.modules.problems[file]
                strays = [link for link in self.modules.links(file) if not _may_import(link[0], lineage)]
                problems += [_describe_stray(file, line, column, target) for target, line, column in strays]
        if problems:
            raise ConfigError(problems)
        return {file for file in reached if file.startswith("experiments/")}

    def _check_copy(self, path: str, inherited: str) -> None:
        md5 = self.index.md5(path)  # None for a folder
        if md5 and md5 == self.index.md5(inherited):
            message = f"is a copy of '{inherited}' and changes nothing"
            raise ConfigError([Problem(path, 0, 0, message, "change it, or delete it to inherit")])

    def _lay_over(self, experiment: Experiment, below: Mapping[str, Setting], layer: Layer) -> Experiment:
        """Return an experiment, which has what the one below it names, with its settings and what they name.

        Raises ConfigError for the faults of the layer.
        """
        name = experiment.name
        settings = merge(below, layer)
        places = Places(settings, layer, self._read_bytes)
        nodes = layer.find_nodes({key: setting.value for key, setting in settings.items()})
        calls = find_calls(nodes, self.modules)
        nodes += [node for call in calls for node in find_argument_paths(call)]
        built, paths = find_built_models(nodes), find_data_paths(nodes)
        own = [node for node in nodes if layer.owns(node)]
        problems = [*find_missing(layer, settings), *self._find_faults(own, places, layer.file)]
        problems += [problem for call in calls for problem in self._find_bad_call(call, places, experiment.lineage)]
        problems += [problem for node in built.values() for problem in self._find_stray_model(node, places)]
        problems += [
            places.describe(Fault(f"'{node.key}': {fault}", node.path), "dvc add, or dvc import-url, makes it data")
            for node in paths.values()
            if (fault := find_fault(node.value, self.index))
        ]
        local = {key: path for key, node in paths.items() if (path := find_path(node.value))}
        models = layer.keep_untouched(experiment.built_models) | {key: node.value for key, node in built.items()}
        problems += [_describe_self(key, name, layer, places) for key, model in models.items() if model == name]
        if problems:
            raise ConfigError(problems)
        return replace(
            experiment,
            settings=settings,
            built_models=models,
            data_paths=layer.keep_untouched(experiment.data_paths) | local,
            choice_files=layer.keep_untouched(experiment.choice_files)
            | find_choice_files(nodes)
            | {call.key: call.file for call in calls},
        )

    def _find_faults(self, nodes: list[Node], places: Places, path: str) -> list[Problem]:
        """Return what is wrong with choices and required keys; what was found sound before is not checked again."""

        def check() -> None:
            if faults := find_faults(nodes):
                raise ConfigError([places.describe(fault) for fault in faults])

        try:
            if nodes:
                self.index.confirm(path, f"sound:{hash_nodes(nodes)}", check)
        except ConfigError as error:
            return error.problems
        return []

    def _find_bad_call(self, call: Call, places: Places, lineage: tuple[str, ...]) -> list[Problem]:
        """Return what is wrong with a function that params name, and with its arguments."""
        if faults := list(find_faults_of_call(call, self.modules)):
            return [places.describe(fault) for fault in faults]
        if not _may_import(call.file, lineage):
            place = places.describe(Fault("", call.place))
            return [_describe_stray(place.path, place.line, place.column, call.file)]
        try:
            self._check_imports([call.file], lineage)
        except ConfigError as error:
            return error.problems
        return []

    def _find_stray_model(self, node: Node, places: Places) -> Iterator[Problem]:
        """Yield what is wrong with the name of a built model."""
        if not may_name_built_model(node):
            message = f"'{node.key}' names a built model: only the params of train, and model.init_from, may"
            yield places.describe(Fault(message, node.path, is_key=True))
        elif node.value != COMMON and not (is_name(node.value) and self._is_experiment(node.value)):
            message = f"'{node.key}' names '{node.value}', which is no experiment{suggest(node.value, self.names())}"
            yield places.describe(Fault(message, node.path))

    def _find_sections(self, components: Mapping[str, Component]) -> dict[str, Section]:
        return {name: self._configs.section(name, components) for name in SECTIONS}

    def _params_schema(self, sections: Mapping[str, Section]) -> Schema:
        """Return the schema of the params that have these sections."""
        key = tuple(section.config for section in sections.values())
        if key not in self._params_schemas:
            properties = {**{name: section.overrides for name, section in sections.items()}, **CIRCUMSTANCES}
            schema = {"type": "object", "additionalProperties": False, "properties": properties}
            self._params_schemas[key] = Schema(schema)
        return self._params_schemas[key]

    def _find_problems(self, schema: Schema, value: Any, path: str, prefix: Sequence[str] = ()) -> list[Problem]:
        """Return every fault of the part at `prefix` of a YAML file; one found sound before is not checked again."""

        def check() -> None:
            problems = find_problems(schema, value, path, lambda: self._read_bytes(path), prefix)
            if problems:
                raise ConfigError(problems)

        try:
            self.index.confirm(path, f"sound:{schema.digest}", check)
        except ConfigError as error:
            return error.problems
        return []

    def _read_yaml(self, path: str) -> dict[str, Any]:
        if not self.index.exists(path):
            raise ConfigError([Problem(path, 0, 0, "no such file")])
        document = self.index.fact(path, "yaml", lambda text: parse_yaml(text, path))
        return {} if document is None else document

    def _read_bytes(self, path: str) -> bytes:
        return (self.root / path).read_bytes()


def _inherit(
    name: str,
    document: Mapping[str, Any],
    parent: Experiment,
    components: Mapping[str, Component],
    gates: tuple[Gate, ...],
) -> Experiment:
    """Return an experiment without settings, which has what its parent names."""
    return replace(
        parent,
        name=name,
        folder=f"experiments/{name}",
        parent=parent,
        description=document.get("description", ""),
        owner=document.get("owner", ""),
        components=components,
        settings={},
        trust=document.get("trust", {}),
        gates=gates,
    )


def _is_new_entry(key: str, parent: Experiment) -> bool:
    """Say whether an empty mapping adds an entry, as a role with all defaults; else merging nothing changes nothing."""
    return key.count(".") > 1 and not is_set(key, parent.settings)


def suggest_name(name: str) -> str:
    """Return a Python identifier close to `name`.

    >>> suggest_name("wide-net 2")
    'wide_net_2'
    """
    candidate = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:MAX_NAME] or "experiment"
    return candidate if is_name(candidate) else f"x_{candidate}"


def is_name(name: str) -> bool:
    """Say whether an experiment may have this name."""
    return bool(NAME_PATTERN.fullmatch(name)) and not keyword.iskeyword(name) and name != COMMON


def _describe_bad_name(name: str) -> Problem:
    folder = f"experiments/{name}"
    hint = f"git mv {shlex.quote(folder)} experiments/{suggest_name(name)}"
    if len(name) > MAX_NAME:
        return Problem(folder, 0, 0, f"the name is longer than {MAX_NAME} characters", hint)
    return Problem(folder, 0, 0, f"'{name}' is no Python identifier or is taken", hint)


def _describe_self(key: str, name: str, layer: Layer, places: Places) -> Problem:
    """Return the fault of an experiment that takes its own built model, by its own param or by one that it inherits."""
    hint = f"in {name}, set {key} to null or to another experiment"
    problem = places.describe(Fault(f"'{key}' names '{name}' itself", tuple(key.split("."))), hint)
    if problem.path == layer.file:
        return problem
    return replace(problem, message=f"'{key}' names '{name}', which inherits it")


def _may_import(path: str, lineage: tuple[str, ...]) -> bool:
    """Say whether an experiment with this lineage may use a file: one of common, of its own, or of an ancestor."""
    return not path.startswith("experiments/") or path.split("/")[1] in lineage


def _describe_stray(path: str, line: int, column: int, target: str) -> Problem:
    other = target.split("/")[1]
    hint = f"inherit from {other}, or move the code that both need to common/"
    return Problem(path, line, column, f"imports '{target}' of experiment '{other}', no ancestor", hint)
