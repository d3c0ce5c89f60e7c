"""Check choices: mappings with the `name` of a class or function and the arguments to call it with.

The catalog says which there are: `python -m common.catalog` makes it from the installed torch and torchmetrics, which
planning never loads. Sources and transforms are ours: their files say it, and their schema has it as `x-members`.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.configs import Node
from pipeline.errors import suggest
from pipeline.validation import Fault, Schema, find_located_faults

CATALOG_PATH = Path(__file__).parent / "catalog.json"


@cache
def load_catalog() -> dict[str, dict[str, Any]]:
    """Return kind → name → {arguments: name → JSON Schema, required: names} of what choices may name."""
    catalog: dict[str, dict[str, Any]] = json.loads(CATALOG_PATH.read_bytes())
    return catalog


def find_choice_faults(node: Node) -> Iterator[Fault]:
    """Yield what is wrong with a choice."""
    if "name" not in node.value:
        yield Fault(f"'{node.key}' lacks the key 'name'", node.path, is_key=True)
        return
    name, known = node.value["name"], node.schema.get("x-members") or load_catalog()[node.kind]
    if name not in known:
        message = f"'{node.key}' names {json.dumps(name)}, which is no {node.kind}{suggest(str(name), list(known))}"
        yield Fault(message, (*node.path, "name"))
        return
    arguments, required = known[name]["arguments"], known[name]["required"]
    given = {key: value for key, value in node.value.items() if key != "name"}
    for key in given:
        if key not in arguments:
            yield Fault(f"'{name}' takes no '{key}'{suggest(key, list(arguments))}", (*node.path, key), is_key=True)
    for key in required:
        if key not in given:
            yield Fault(f"'{name}' needs '{key}'", node.path, is_key=True)
    schema = _build_schema(arguments) if "x-members" in node.schema else _catalog_schema(node.kind, name)
    yield from find_located_faults(schema, given, node.path)


@cache
def _catalog_schema(kind: str, name: str) -> Schema:
    return _build_schema(load_catalog()[kind][name]["arguments"])


def _build_schema(arguments: Mapping[str, Any]) -> Schema:
    return Schema({"type": "object", "properties": arguments})
