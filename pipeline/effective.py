"""Lay the params of an experiment over its parent's, and check what only the merged ones show.

These are choices against the catalog, keys that have to be there, and experiments whose built models are named.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.choices import find_choice_faults
from pipeline.configs import Node, Section, find_nodes, takes
from pipeline.documents import locate
from pipeline.errors import Problem
from pipeline.params import INIT_FROM, Setting, covers, is_set, list_branches, nest, trace
from pipeline.validation import Fault

# Where built models may be named: what training alone reads.
_TRAIN_SECTION, _INIT_KEY = "train", f"model.{INIT_FROM}"


@dataclass(frozen=True)
class Layer:
    """The params that one file sets."""

    file: str
    prefix: tuple[str, ...]  # of the params in that file
    values: Mapping[str, Any]  # by dotted key, section first
    sections: Mapping[str, Section]  # by name, for the components in use
    replaced: frozenset[str]  # the sections that another Config describes than below this layer

    @cached_property
    def touched(self) -> set[str]:
        """The sections in which anything may be new."""
        return set(self.replaced) | ({key.partition(".")[0] for key in self.values} & set(self.sections))

    @property
    def named_choices(self) -> list[str]:
        """The keys of the choices whose name this layer gives."""
        if not any(key.endswith(".name") for key in self.values):
            return []
        return [node.key for node in self.find_nodes(self.values) if node.kind and "name" in node.value]

    def find_nodes(self, values: Mapping[str, Any]) -> list[Node]:
        """Return what has to be looked at in the sections that this layer touches; `values` are by dotted key."""
        nodes: list[Node] = []
        for name in sorted(self.touched):
            if not self.sections[name].is_plain:
                inside = f"{name}."
                section = nest({key: value for key, value in values.items() if key.startswith(inside)}).get(name, {})
                nodes += find_nodes(self.sections[name].schema, section, (name,))
        return nodes

    def keep_untouched(self, below: Mapping[str, str]) -> dict[str, str]:
        """Return of what settings below name that in sections which this layer leaves alone."""
        return {key: value for key, value in below.items() if key.partition(".")[0] not in self.touched}

    def owns(self, node: Node) -> bool:
        """Say whether what is wrong with a node is this layer's fault."""
        return node.path[0] in self.replaced or is_set(node.key, self.values) or covers(node.key, self.values)


def merge(below: Mapping[str, Setting], layer: Layer) -> dict[str, Setting]:
    """Return the settings below that the components still take, with those of the layer over them.

    A layer that gives the name of a choice gives all of its arguments: the ones below are dropped.
    """
    settings: dict[str, Setting] = {}
    replaced = tuple(f"{key}." for key in (*layer.named_choices, *layer.values))
    branches = list_branches(layer.values)
    for key, setting in below.items():
        section, _, rest = key.partition(".")
        if section in layer.replaced and not takes(layer.sections[section].schema, rest.split(".")):
            continue
        if key not in branches and not key.startswith(replaced):
            settings[key] = setting
    for key, value in layer.values.items():
        settings[key] = Setting(value, layer.file, ".".join([*layer.prefix, key]))
    return settings


class Places:
    """Where the values of effective params stand in the files."""

    def __init__(self, settings: Mapping[str, Setting], layer: Layer, read_bytes: Callable[[str], bytes]) -> None:
        self._settings = settings
        self._layer = layer
        self._read_bytes = read_bytes

    def describe(self, fault: Fault, hint: str = "") -> Problem:
        """Return a fault with its place: in the file that sets the value, or for several in that of the layer."""
        branch = self._layer.file, (*self._layer.prefix, *fault.where)
        file, path = trace(fault.where, self._settings) or branch
        line, column = locate(self._read_bytes(file), path, key=fault.is_key)
        return Problem(file, line, column, fault.message, hint)


def find_missing(layer: Layer, settings: Mapping[str, Setting]) -> list[Problem]:
    """Return a fault for each field without value and default."""
    return [
        Problem(layer.file, 0, 0, f"'{section}.{name}' has no value and no default")
        for section in sorted(layer.replaced)
        for name, field in layer.sections[section].fields.items()
        if field["required"] and not is_set(f"{section}.{name}", settings)
    ]


def find_faults(nodes: Sequence[Node]) -> list[Fault]:
    """Return what is wrong with choices and required keys."""
    faults: list[Fault] = []
    for node in nodes:
        if node.kind:
            faults += find_choice_faults(node)
        missing = [key for key in node.schema.get("required", []) if key not in node.value]
        faults += [Fault(f"'{node.key}' lacks the key '{key}'", node.path, is_key=True) for key in missing]
    return faults


def hash_nodes(nodes: Sequence[Node]) -> str:
    """Return a hash of all that `find_faults` looks at."""
    return hashlib.sha256(json.dumps(nodes).encode()).hexdigest()


def find_built_models(nodes: Sequence[Node]) -> dict[str, Node]:
    """Return the nodes that name an experiment for its built model, by dotted key."""
    return {node.key: node for node in nodes if "x-built-model" in node.schema}


def find_data_paths(nodes: Sequence[Node]) -> dict[str, Node]:
    """Return the nodes that name a file or folder of data, by dotted key."""
    return {node.key: node for node in nodes if "x-data-path" in node.schema}


def find_choice_files(nodes: Sequence[Node]) -> dict[str, str]:
    """Return the files of our own that choices name, by dotted key."""
    return {
        node.key: node.schema["x-members"][node.value["name"]]["file"] for node in nodes if "x-members" in node.schema
    }


def may_name_built_model(node: Node) -> bool:
    """Say whether a built model may be named here: it is an input of training alone."""
    return node.path[0] == _TRAIN_SECTION or node.key == _INIT_KEY
