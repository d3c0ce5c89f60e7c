"""Read what a Python file imports and defines, without running it.

The result is plain JSON, so that the index can remember it.
"""

import ast
import warnings
from collections.abc import Iterator
from typing import Any

from pipeline.errors import ConfigError, Problem


def parse_source(text: bytes, path: str) -> dict[str, Any]:
    """Return the facts of one file:

    imports   [module, name or None, relative level, line, column, may_fail] of every import, in functions too;
              may_fail says that the file goes on without it, or that only a type checker reads it
    bindings  name at the top level → [module, name or None, level] that an import bound to it
    names     every name bound at the top level; None where `import *` or `__getattr__` binds unknown ones
    classes   name → {line, bases: dotted names, fields: its annotated attributes, is_dataclass}
    functions name → {parameters: name → {schema, required}, takes_others: whether it has **kwargs}
    is_empty  whether the file holds nothing but a docstring

    Raises ConfigError, with the place, at a syntax error.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an invalid escape, say: whoever runs the file is told
            tree = ast.parse(text)
    except SyntaxError as error:
        problem = Problem(path, error.lineno or 0, error.offset or 0, f"syntax error: {error.msg}")
        raise ConfigError([problem]) from None
    except ValueError as error:
        raise ConfigError([Problem(path, 0, 0, f"syntax error: {error}")]) from None
    top_level = _flatten(tree.body)
    return {
        "imports": list(_read_imports(tree, may_fail=False)),
        "bindings": _read_bindings(top_level),
        "names": _read_names(top_level),
        "classes": {node.name: _read_class(node) for node in top_level if isinstance(node, ast.ClassDef)},
        "functions": {node.name: _read_function(node) for node in top_level if isinstance(node, ast.FunctionDef)},
        "is_empty": all(_is_docstring(node) for node in tree.body),
    }


def _flatten(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements of a block and of the `if`, `try` and `with` blocks in it: all run at import."""
    statements = []
    for node in body:
        statements.append(node)
        if isinstance(node, ast.If | ast.Try | ast.With):
            for field in ("body", "orelse", "finalbody"):
                statements += _flatten(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                statements += _flatten(handler.body)
    return statements


def _read_imports(node: ast.AST, *, may_fail: bool) -> Iterator[list[Any]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield [alias.name, None, 0, node.lineno, node.col_offset + 1, may_fail]
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield [node.module or "", alias.name, node.level, node.lineno, node.col_offset + 1, may_fail]
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                guarded = field == "body" and _is_guard(node)
                yield from _read_imports(child, may_fail=may_fail or guarded)


def _is_guard(node: ast.AST) -> bool:
    """Say whether imports in the body of a statement may fail: `try` with ImportError caught, `if TYPE_CHECKING`."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING"
    if not isinstance(node, ast.Try):
        return False
    caught = {
        name.id
        for h in node.handlers
        for name in ast.walk(h.type or ast.Name("Exception"))
        if isinstance(name, ast.Name)
    }
    return bool(caught & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def _read_bindings(statements: list[ast.stmt]) -> dict[str, list[Any]]:
    bindings: dict[str, list[Any]] = {}
    for node in statements:
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                bindings[name] = [alias.name if alias.asname else name, None, 0]
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                bindings[alias.asname or alias.name] = [node.module or "", alias.name, node.level]
    return bindings


def _read_names(statements: list[ast.stmt]) -> list[str] | None:
    names = set(_read_bindings(statements))
    for node in statements:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        else:
            stored = (child for child in ast.walk(node) if isinstance(getattr(child, "ctx", None), ast.Store))
            names |= {child.id for child in stored if isinstance(child, ast.Name)}
    return None if names & {"*", "__getattr__"} else sorted(names)


def _read_class(node: ast.ClassDef) -> dict[str, Any]:
    bases = [ast.unparse(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases]
    decorators = [ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list]
    is_dataclass = any(name.rpartition(".")[2] == "dataclass" for name in decorators)
    return {"line": node.lineno, "bases": bases, "fields": _read_fields(node), "is_dataclass": is_dataclass}


def _read_fields(node: ast.ClassDef) -> dict[str, Any]:
    """Return field name → {schema, required: whether it has no default, and where that matters default_at}.

    `schema` is the JSON Schema of its annotation, which names a class as {"x-class": its dotted name}. `default_at` is
    the place, [line, column], of a default that may name a built model: only params can.
    """
    return {
        statement.target.id: {
            "schema": (schema := _read_field(statement.annotation)),
            "required": statement.value is None,
            **_locate_default(schema, statement.value),
        }
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and ast.unparse(statement.annotation).partition("[")[0].rpartition(".")[2] not in ("ClassVar", "KW_ONLY")
    }


def _read_function(node: ast.FunctionDef) -> dict[str, Any]:
    """Return what a function may be called with by name."""
    arguments = node.args
    num_required = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    parameters = [
        (parameter, place < num_required) for place, parameter in enumerate([*arguments.posonlyargs, *arguments.args])
    ]
    by_name = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    parameters += [(parameter, default is None) for parameter, default in by_name]
    described = {
        parameter.arg: {
            "schema": _read_field(parameter.annotation) if parameter.annotation else {},
            "required": is_required,
        }
        for parameter, is_required in parameters
    }
    return {"parameters": described, "takes_others": arguments.kwarg is not None}


def _locate_default(schema: dict[str, Any], default: ast.expr | None) -> dict[str, Any]:
    if default is None or ast.unparse(default) in _NOTHING or "x-built-model" not in str(schema):
        return {}
    return {"default_at": [default.lineno, default.col_offset + 1]}


# Types of common.config that say more than JSON does.
_NAMED = (
    {
        f"{kind.capitalize()}Choice": {"type": "object", "x-choice": kind, "properties": {"name": {"type": "string"}}}
        for kind in ("optimizer", "scheduler", "loss", "metric")
    }
    | {
        f"{base}Choice": {
            "type": "object",
            "x-choice": base.lower(),
            "x-package": package,
            "x-base": ["common/samples.py", base],
            "properties": {"name": {"type": "string"}},
        }
        for package, base in (("common.sources", "Source"), ("common.transforms", "Transform"))
    }
    | {
        "DataPath": {"type": "string", "x-data-path": True},
        "FunctionName": {"type": "string", "x-function": True},
        "BuiltModel": {"type": "string", "x-built-model": True},
        "PositiveInt": {"type": "integer", "minimum": 1},
        "NonNegativeInt": {"type": "integer", "minimum": 0},
        "PositiveFloat": {"type": "number", "exclusiveMinimum": 0},
        "Fraction": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
    }
)
_NOTHING = {"None", "()", "field(default_factory=dict)", "field(default_factory=list)"}  # defaults that hold nothing
_SCALARS = {"int": "integer", "float": "number", "bool": "boolean", "str": "string", "None": "null"}
_ARRAYS = ("list", "tuple", "Sequence", "List", "Tuple")
_OBJECTS = ("dict", "Mapping", "Dict")


def _read_field(annotation: ast.expr) -> dict[str, Any]:
    """Return the JSON Schema of an annotation; one that says nothing about JSON accepts anything."""
    try:
        return _read_annotation(annotation)
    except (ValueError, SyntaxError, IndexError):
        return {}


def _read_annotation(node: ast.expr) -> dict[str, Any]:
    """Return the JSON Schema of a type annotation; {} accepts anything, and x-class stands for a class to look up.

    >>> _read_annotation(ast.parse("int | None", mode="eval").body)
    {'anyOf': [{'type': 'integer'}, {'type': 'null'}]}
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        node = ast.parse(node.value, mode="eval").body
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        options = []
        for side in (_read_annotation(node.left), _read_annotation(node.right)):
            options += side.get("anyOf", [side])
        return {"anyOf": options} if all(options) else {}
    if isinstance(node, ast.Subscript):
        return _read_subscript(node)
    name = ast.unparse(node)
    if name in _SCALARS:
        return {"type": _SCALARS[name]}
    if name in _ARRAYS:
        return {"type": "array"}
    if name in _OBJECTS:
        return {"type": "object"}
    if name.rpartition(".")[2] in _NAMED:
        return _NAMED[name.rpartition(".")[2]]
    return {"x-class": name} if isinstance(node, ast.Name | ast.Attribute) else {}


def _read_subscript(node: ast.Subscript) -> dict[str, Any]:
    outer = ast.unparse(node.value).rpartition(".")[2]
    inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if outer == "Literal":
        return {"enum": [ast.literal_eval(choice) for choice in inner]}
    if outer == "Optional":
        return {"anyOf": [_read_annotation(inner[0]), {"type": "null"}]}
    if outer in _OBJECTS:
        return {"type": "object", "additionalProperties": _read_annotation(inner[-1])}
    if outer not in _ARRAYS:
        return {}
    inner = [] if ast.unparse(node.slice) == "()" else inner
    is_fixed = outer.lower() == "tuple" and (not inner or ast.unparse(inner[-1]) != "...")
    if not is_fixed:
        return {"type": "array", "items": _read_field(inner[0])}
    items = [_read_field(item) for item in inner]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
