"""Functions that params name, and say what to call with: found, and checked against their parameters, without running.

A class that a choice names has a field of the type `FunctionName`, and beside it the mapping `arguments`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.configs import Node, find_nodes
from pipeline.errors import ConfigError, suggest
from pipeline.modules import FIRST_PARTY, ModuleGraph
from pipeline.validation import Fault, Schema, find_located_faults

ARGUMENTS = "arguments"


@dataclass(frozen=True)
class Call:
    """A function that params name."""

    node: Node  # the choice that it belongs to
    field: str
    file: str  # that has the module; empty where there is none
    function: Mapping[str, Any] | None  # as in `pipeline.sources`

    @property
    def reference(self) -> str:
        """The function as module:function."""
        return str(self.node.value[self.field])

    @property
    def place(self) -> tuple[str | int, ...]:
        """Where it stands in the params."""
        return (*self.node.path, self.field)

    @property
    def key(self) -> str:
        """The same as a dotted key."""
        return ".".join(map(str, self.place))

    @property
    def arguments(self) -> Any:
        """What it is called with."""
        return self.node.value.get(ARGUMENTS, {})


def find_calls(nodes: Sequence[Node], modules: ModuleGraph) -> list[Call]:
    """Return the functions that choices name."""
    return [_find_call(node, field, modules) for node in nodes for field in _list_fields(node)]


def find_faults_of_call(call: Call, modules: ModuleGraph) -> Iterator[Fault]:
    """Yield what is wrong with the name of a function, or else with its arguments."""
    if call.function is None:
        yield Fault(f"'{call.key}': {_explain(call, modules)}", call.place)
        return
    if not isinstance(call.arguments, dict):  # the schema of the choice says so
        return
    name, parameters = call.reference.partition(":")[2], call.function["parameters"]
    for key in call.arguments:
        if key not in parameters and not call.function["takes_others"]:
            where = (*call.node.path, ARGUMENTS, key)
            yield Fault(f"'{name}' takes no '{key}'{suggest(key, list(parameters))}", where, is_key=True)
    for key, parameter in parameters.items():
        if parameter["required"] and key not in call.arguments:
            yield Fault(f"'{name}' needs '{key}' ({call.node.key}.{ARGUMENTS})", call.place)
    yield from find_located_faults(Schema(_build_schema(call)), call.arguments, (*call.node.path, ARGUMENTS))


def find_argument_paths(call: Call) -> list[Node]:
    """Return the arguments that a function calls a DataPath."""
    if call.function is None:
        return []
    nodes = find_nodes(_build_schema(call), call.arguments, (*call.node.path, ARGUMENTS))
    return [node for node in nodes if "x-data-path" in node.schema]


def _list_fields(node: Node) -> list[str]:
    """Return the fields of a choice that name a function; of a value that is no text, its schema complains."""
    member = node.schema.get("x-members", {}).get(node.value.get("name")) if node.kind else None
    arguments = member["arguments"] if member else {}
    named = [key for key, schema in arguments.items() if "x-function" in schema]
    return [key for key in named if isinstance(node.value.get(key), str)]


def _find_call(node: Node, field: str, modules: ModuleGraph) -> Call:
    module, _, name = str(node.value[field]).partition(":")
    file = modules.find(module) or ""
    try:
        function = modules.facts(file)["functions"].get(name) if file else None
    except ConfigError:  # a syntax error, which is reported where the file is followed
        function = {"parameters": {}, "takes_others": True}
    return Call(node, field, file, function)


def _explain(call: Call, modules: ModuleGraph) -> str:
    module, mark, name = call.reference.partition(":")
    if not (module and mark and name):
        return f"'{call.reference}' is no function, as experiments.rings.shapes:draw"
    if not call.file:
        package, _, last = module.rpartition(".")
        known = [other for other in modules.list_package(package) if modules.find(f"{package}.{other}")]
        match = suggest(last, known).replace("mean '", f"mean '{package}.")
        return f"no module '{module}' in {' or '.join(FIRST_PARTY)}{match}"
    known = list(modules.facts(call.file)["functions"])
    return f"'{module}' defines no function '{name}'{suggest(name, known)}"


def _build_schema(call: Call) -> dict[str, Any]:
    parameters = call.function["parameters"] if call.function else {}
    return {"type": "object", "properties": {name: parameter["schema"] for name, parameter in parameters.items()}}
