"""Hash what code says: of functions, and of the first-party code and constants that they use by name.

Comments, docstrings, annotations, layout and the place where the code stands do not count: a renamed or copied
experiment computes the same thing.
"""

import ast
import functools
import hashlib
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

FIRST_PARTY = ("common.", "experiments.")
_CONSTANTS = (bool, int, float, complex, str, bytes, type(None), tuple, list, dict, frozenset, set)


def hash_code(*functions: Any) -> str:
    """Return the sha256 of functions, methods, partials or lambdas and of what they use."""
    seen: dict[int, Any] = {}
    parts: list[str] = []
    waiting: list[tuple[Any, type | None]] = [(function, None) for function in functions]
    while waiting:
        thing, owner = _unwrap(*waiting.pop())
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing
        if isinstance(thing, functools.partial):
            parts.append(f"{thing.args!r} {sorted(thing.keywords.items())!r}")
            waiting.append((thing.func, owner))
        elif inspect.isfunction(thing):
            tree = _parse(thing)
            parts.append(ast.dump(tree))
            waiting += _find_used(thing, owner, tree)
        elif inspect.isclass(thing):
            waiting += [(member, thing) for member in vars(thing).values() if inspect.isfunction(_unwrap(member)[0])]
        else:
            parts.append(repr(thing))
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()


def _unwrap(thing: Any, owner: type | None = None) -> tuple[Any, type | None]:
    """Return what stands below bound methods, static and class methods and decorators, and the class of a method."""
    if inspect.ismethod(thing):
        holder = thing.__self__
        thing, owner = thing.__func__, holder if isinstance(holder, type) else type(holder)
    if isinstance(thing, staticmethod | classmethod):
        thing = thing.__func__
    return (inspect.unwrap(thing) if callable(thing) else thing), owner


def _parse(function: Any) -> ast.AST:
    """Return the syntax tree of a function without docstrings and annotations; of a lambda, the lambda alone."""
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):  # made by a library, as the methods of a NamedTuple are
        return ast.Constant(function.__qualname__)
    if function.__name__ == "<lambda>":
        return _find_lambda(source, function)
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return tree


def _find_lambda(source: str, function: Any) -> ast.AST:
    """Return the lambda of these arguments and names; where its lines are no statement of their own, the lines."""
    for text in (source, source.strip().rstrip(","), "{" + source.strip().rstrip(",") + "}"):
        try:
            lambdas = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Lambda)]
        except SyntaxError:
            continue
        arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
        fitting = [node for node in lambdas if tuple(arg.arg for arg in node.args.args) == arguments]
        if len(fitting) == 1:
            return fitting[0]
    return ast.Constant(source)


def _find_used(function: Any, owner: type | None, tree: ast.AST) -> Iterator[tuple[Any, type | None]]:
    """Yield the first-party code, and the constants, that a function uses by name, and the methods of its own class."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    known = {**function.__globals__, **{name: cell.cell_contents for name, cell in cells}}
    for node in ast.walk(tree):
        thing = None
        if isinstance(node, ast.Name) and node.id in known:
            thing = known[node.id]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "self" and owner is not None:
                thing = getattr(owner, node.attr, None)
                if inspect.isfunction(thing):
                    yield thing, owner
                continue
            if inspect.ismodule(known.get(node.value.id)):
                thing = getattr(known[node.value.id], node.attr, None)
        if isinstance(thing, functools.partial) or _is_first_party(thing) or (type(thing) in _CONSTANTS and thing):
            yield thing, None


def _is_first_party(thing: Any) -> bool:
    is_code = inspect.isfunction(inspect.unwrap(thing)) if callable(thing) and not inspect.isclass(thing) else True
    return is_code and str(getattr(thing, "__module__", "")).startswith(FIRST_PARTY) and callable(thing)
