"""Discover the experiments, check their files, and resolve what each inherits.

Nothing here runs code of an experiment. All faults of a file are found at once.
"""

import keyword
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pipeline import containers, monitoring
from pipeline.components import (
    ENGINE,
    KINDS,
    SECTIONS,
    Component,
    build_section_schema,
    find_declared,
    find_override,
    find_override_files,
    find_subclass,
    read_fields,
)
from pipeline.documents import locate, parse_yaml
from pipeline.errors import ConfigError, Problem, UsageError, suggest
from pipeline.index import FileIndex
from pipeline.modules import ModuleGraph
from pipeline.params import Setting, covers, find_dotted, flatten, is_set, nest
from pipeline.validation import Schema, find_problems, load_schema

COMMON = "common"
PARAMS_FILE = "params.yaml"
# Sections that no result depends on: they are no input of any stage.
CIRCUMSTANCES = {containers.SECTION: containers.SCHEMA, monitoring.SECTION: monitoring.SCHEMA}
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

    @property
    def lineage(self) -> tuple[str, ...]:
        """The names from this experiment up to the common build."""
        return (self.name, *(self.parent.lineage if self.parent else ()))

    @property
    def overrides(self) -> tuple[str, ...]:
        """The components that this experiment itself replaces."""
        if not self.parent:
            return ()
        return tuple(kind for kind, component in self.components.items() if component.declared_by == self.name)

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
        self._loaded: dict[str, Experiment | ConfigError] = {}
        self._params_schemas: dict[tuple[tuple[str, str], ...], Schema] = {}
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
        return self._load(name, ())

    def load_all(self) -> tuple[dict[str, Experiment], list[Problem]]:
        """Return the experiments whose files are sound, by name, and the faults of all others."""
        sound: dict[str, Experiment] = {}
        problems = [_describe_bad_name(COMMON)] if self._is_experiment(COMMON) else []
        for name in self.names():
            try:
                sound[name] = self._load(name, ())
            except ConfigError as error:
                problems += error.problems
        return sound, sorted(set(problems))

    def params_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of params.yaml, made from the configs of the common components."""
        common = self.get(COMMON)
        sections = self._section_schemas(common.components)
        own = {name: {**sections[name], "additionalProperties": True} for name in SECTIONS}
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
        document = self._read_yaml(PARAMS_FILE)
        problems = self._find_problems(self._params_schema(components), document, PARAMS_FILE)
        if problems:
            raise ConfigError(problems)
        settings = {key: Setting(value, PARAMS_FILE, key) for key, value in flatten(document)}
        self._check_required(components, SECTIONS, settings, PARAMS_FILE)
        return Experiment(COMMON, COMMON, None, "the common build", "", components, settings)

    def _load_experiment(self, name: str, descendants: tuple[str, ...]) -> Experiment:
        folder = f"experiments/{name}"
        path = f"{folder}/experiment.yaml"
        if not is_name(name):
            raise ConfigError([_describe_bad_name(name)])
        if not self.index.exists(path):
            hint = f"printf 'inherits: common\\ndescription: ...\\n' > {path}"
            raise ConfigError([Problem(path, 0, 0, "there is an override beside it, but the file is missing", hint)])
        document = self._read_yaml(path)
        problems = self._find_problems(self._schema, document, path)
        if any(problem.message.startswith(("the file", "'inherits'")) for problem in problems):
            raise ConfigError(problems)  # without a parent nothing more can be said
        try:
            parent = self._load_parent(name, document, path, (*descendants, name))
        except ConfigError as error:
            raise ConfigError([*problems, *error.problems]) from None
        components, found = self._find_components(name, folder, document, parent)
        problems += found
        overrides = document.get("params")
        if isinstance(overrides, dict):
            problems += [
                Problem(path, *locate(self._read_bytes(path), where, key=True), f"the key '{where[-1]}' holds a dot")
                for where in find_dotted(overrides, ("params",))
            ]
        if isinstance(overrides, dict) and not found:
            problems += self._find_problems(self._params_schema(components), overrides, path, ["params"])
        if problems:
            raise ConfigError(problems)
        leaves = {
            key: value for key, value in flatten(overrides or {}) if value != {}
        }  # merging nothing changes nothing
        settings = self._merge(parent, components, leaves, path)
        description, owner = document.get("description", ""), document.get("owner", "")
        return Experiment(name, folder, parent, description, owner, components, settings)

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
        references = document.get("components")
        references = references if isinstance(references, dict) else {}
        path = f"{folder}/experiment.yaml"
        for kind in KINDS.values():
            try:
                file = find_override(kind, folder, self.modules)
                reference = references.get(kind.name)
                if file and reference:
                    where = locate(self._read_bytes(path), ["components", kind.name])
                    raise ConfigError([Problem(path, *where, f"'{file}' overrides the {kind.name} already")])
                if file:
                    self._check_copy(file, parent.components[kind.name].path)
                    own_files |= self._check_imports([file], (name, *parent.lineage))
                    components[kind.name] = Component(kind.name, *find_subclass(kind, file, self.modules), name)
                elif isinstance(reference, str) and ":" in reference:
                    components[kind.name] = self._find_declared(name, path, kind.name, reference, parent.lineage)
            except ConfigError as error:
                problems += error.problems
        if not problems:
            problems = self._find_unused(folder, own_files)
        return components, problems

    def _find_unused(self, folder: str, own_files: set[str]) -> list[Problem]:
        """Return a fault for each file that nothing imports, and whose name is nearly that of a component."""
        problems = []
        for name in self.modules.list_package(folder.replace("/", ".")):
            path = f"{folder}/{name}.py"
            if name in KINDS or path in own_files or not self.index.exists(path):
                continue
            if close := get_close_matches(name, KINDS, n=1, cutoff=0.8):
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
        reached = {file for path in paths for file in self.modules.closure(path)}
        problems = []
        for file in sorted(file for file in reached if _may_import(file, lineage)):
            problems += self.modules.problems[file]
            for target, line, column in self.modules.links(file):
                if not _may_import(target, lineage):
                    problems.append(_describe_stray(file, line, column, target))
        if problems:
            raise ConfigError(problems)
        return {file for file in reached if file.startswith("experiments/")}

    def _check_copy(self, path: str, inherited: str) -> None:
        if self.index.md5(path) == self.index.md5(inherited):
            message = f"is a copy of '{inherited}' and changes nothing"
            raise ConfigError([Problem(path, 0, 0, message, "change it, or delete it to inherit")])

    def _merge(
        self, parent: Experiment, components: Mapping[str, Component], overrides: dict[str, Any], path: str
    ) -> dict[str, Setting]:
        """Return the parent's settings that the components still take, with the overrides laid over them."""
        settings: dict[str, Setting] = {}
        replaced = {
            kind.section: self._fields(components, kind.section)
            for kind in KINDS.values()
            if not components[kind.name].is_same(parent.components[kind.name])
        }
        for key, setting in parent.settings.items():
            section, _, rest = key.partition(".")
            if section in replaced and rest.partition(".")[0] not in replaced[section]:
                continue
            if key in overrides or not covers(key, overrides):
                settings[key] = setting
        for key, value in overrides.items():
            settings[key] = Setting(value, path, f"params.{key}")
        self._check_required(components, replaced, settings, path)
        return settings

    def _check_required(
        self,
        components: Mapping[str, Component],
        sections: Iterable[str],
        settings: Mapping[str, Setting],
        path: str,
    ) -> None:
        problems = [
            Problem(path, 0, 0, f"'{section}.{name}' has no value and no default")
            for section in sections
            for name, field in self._fields(components, section).items()
            if field["required"] and not is_set(f"{section}.{name}", settings)
        ]
        if problems:
            raise ConfigError(problems)

    def _fields(self, components: Mapping[str, Component], section: str) -> Mapping[str, Any]:
        return read_fields(components[SECTIONS[section].name], self.modules)

    def _section_schemas(self, components: Mapping[str, Component]) -> dict[str, dict[str, Any]]:
        sections = {name: build_section_schema(self._fields(components, name)) for name in SECTIONS}
        return {**sections, **CIRCUMSTANCES}

    def _params_schema(self, components: Mapping[str, Component]) -> Schema:
        """Return the schema of the params that these components take."""
        key = tuple((component.path, component.class_name) for component in components.values())
        if key not in self._params_schemas:
            sections = self._section_schemas(components)
            schema = {"type": "object", "additionalProperties": False, "properties": sections}
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


def _may_import(path: str, lineage: tuple[str, ...]) -> bool:
    """Say whether an experiment with this lineage may use a file: one of common, of its own, or of an ancestor."""
    return not path.startswith("experiments/") or path.split("/")[1] in lineage


def _describe_stray(path: str, line: int, column: int, target: str) -> Problem:
    other = target.split("/")[1]
    hint = f"inherit from {other}, or move the code that both need to common/"
    return Problem(path, line, column, f"imports '{target}' of experiment '{other}', no ancestor", hint)
