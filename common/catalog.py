"""What params may choose by name: classes of torch and torchmetrics, and the arguments that params can give them.

`python -m common.catalog` prints the catalog as JSON: kind → name → {arguments: name → JSON Schema, required: names}.
It is committed, so that params are checked without torch; `make lock` writes it anew.
"""

import importlib
import inspect
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import Tensor

_MODULES = {
    "optimizer": ("torch.optim",),
    "scheduler": ("torch.optim.lr_scheduler",),
    "loss": ("torch.nn.functional",),
    "metric": ("torchmetrics.classification", "torchmetrics.regression"),
}
_BASES = {
    "optimizer": ("torch.optim", "Optimizer"),
    "scheduler": ("torch.optim.lr_scheduler", "LRScheduler"),
    "metric": ("torchmetrics", "Metric"),
}
# Arguments that whoever calls fills in, whatever the params say.
_FILLED_IN = {
    "optimizer": {"params"},
    "scheduler": {"optimizer", "last_epoch"},
    "loss": {"input", "target", "size_average", "reduce"},  # the last two are older words for `reduction`
    "metric": set[str](),
}
# Arguments that whoever calls fills in where the params say nothing: lengths in steps, sizes of the data.
_OPTIONAL = {"T_max", "total_steps", "total_iters", "num_classes", "num_labels", "task"}
# What our own code reads of a choice beside its arguments.
_EXTRA: Mapping[str, Mapping[str, Any]] = {
    "metric": {"direction": {"enum": ["max", "min"]}, "unit": {"type": "string"}},
}
_SCALARS = {int: "integer", float: "number", bool: "boolean", str: "string", type(None): "null"}
_NOTHING = {"type": "null"}


def find_class(kind: str, name: str) -> Any:
    """Return the class, or for a loss the function, that a choice of this kind names.

    Raises LookupError where there is none, or none that params can build.
    """
    for module in _MODULES[kind]:
        found = _list_members(module).get(name)
        if found is not None and describe(kind, found) is not None:
            return found
    raise LookupError(f"no {kind} '{name}' in {' or '.join(_MODULES[kind])}")


def build_catalog() -> dict[str, dict[str, Any]]:
    """Return all that params may choose, by kind and name."""
    catalog: dict[str, dict[str, Any]] = {}
    for kind, modules in _MODULES.items():
        members = {name: member for module in modules for name, member in _list_members(module).items()}
        described = {name: describe(kind, member) for name, member in sorted(members.items())}
        catalog[kind] = {name: entry for name, entry in described.items() if entry is not None}
    return catalog


def describe(kind: str, member: Any) -> dict[str, Any] | None:
    """Return the arguments of a member of a module; None where params cannot choose it.

    It is of another kind then, or wants what params cannot say; what it can do without, as a function, is left out.
    """
    if not _is_of_kind(kind, member):
        return None
    arguments, required = dict(_EXTRA.get(kind, {})), []
    for name, (annotation, is_required) in read_parameters(member).items():
        if name in _FILLED_IN[kind]:
            continue
        schema = describe_type(annotation)
        if is_required and name not in _OPTIONAL:
            required.append(name)
            if schema is None or kind == "loss":  # a loss gets input and target, and nothing else of a batch
                return None
        if schema is not None:
            arguments[name] = schema
    return {"arguments": arguments, "required": required}


def _list_members(module: str) -> dict[str, Any]:
    """Return the public members of a module by name."""
    loaded = importlib.import_module(module)
    names = getattr(loaded, "__all__", vars(loaded))
    return {name: getattr(loaded, name) for name in names if not name.startswith("_")}


def _is_of_kind(kind: str, member: Any) -> bool:
    if kind == "loss":
        return inspect.isfunction(member) and list(inspect.signature(member).parameters)[:2] == ["input", "target"]
    module, name = _BASES[kind]
    base = getattr(importlib.import_module(module), name)
    if not (inspect.isclass(member) and issubclass(member, base)) or member is base:
        return False
    return kind != "optimizer" or not _wants_closure(member)


def _wants_closure(optimizer: Any) -> bool:
    """Say whether the optimizer calls the model itself, as LBFGS does."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is closure.empty


def read_parameters(member: Any) -> dict[str, tuple[Any, bool]]:
    """Return name → (type, whether it has no default) of what a function or class can be called with by name."""
    function = member
    if inspect.isclass(member):  # those of torchmetrics that pick another class by task have no __init__ of their own
        function = member.__new__ if "__new__" in vars(member) else member.__init__
    hints = get_type_hints(function, {**vars(typing), **function.__globals__})  # some are imported for checkers alone
    parameters = list(inspect.signature(function).parameters.values())[inspect.isclass(member) :]
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {p.name: (hints.get(p.name, Any), p.default is p.empty) for p in named}


def describe_type(annotation: Any) -> dict[str, Any] | None:
    """Return the JSON Schema of a type, {} for anything; None where no value of it can stand in params.

    >>> describe_type(int | None)
    {'anyOf': [{'type': 'integer'}, {'type': 'null'}]}
    """
    members, origin = get_args(annotation), get_origin(annotation)
    if annotation is Any:
        return {}
    if annotation in _SCALARS:
        return {"type": _SCALARS[annotation]}
    if annotation is Tensor:
        return {"type": "array", "items": {"type": "number"}}
    if origin is Literal:
        return {"enum": list(members)}
    if origin in (Union, types.UnionType):
        return _describe_union(members)
    if origin is tuple and Ellipsis not in members:
        items = [describe_type(member) for member in members]
        return None if None in items else _describe_tuple(items)
    if origin in (list, tuple, Sequence, Iterable):
        item = describe_type(members[0])
        return None if item is None else {"type": "array", "items": item}
    return None


def _describe_union(members: Sequence[Any]) -> dict[str, Any] | None:
    """Return the schema of what may be one of several; a tensor beside a number or a list is no option of its own."""
    plain = [member for member in members if member is not Tensor]
    kept = plain if set(plain) - {type(None)} else members
    options = [schema for member in kept if (schema := describe_type(member)) is not None]
    if all(option == _NOTHING for option in options):
        return None
    return options[0] if len(options) == 1 else {"anyOf": options}


def _describe_tuple(items: Sequence[Any]) -> dict[str, Any]:
    return {"type": "array", "prefixItems": list(items), "minItems": len(items), "maxItems": len(items)}


def render_catalog() -> str:
    """Return the catalog as JSON, a line for each name."""
    kinds = []
    for kind, entries in build_catalog().items():
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
        kinds.append(f" {json.dumps(kind)}: {{\n{lines}\n }}")
    return "{\n" + ",\n".join(kinds) + "\n}\n"


if __name__ == "__main__":
    print(render_catalog(), end="")
