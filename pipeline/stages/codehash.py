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
_SCALARS = (bool, int, float, complex, str, bytes, type(None))
_CONTAINERS = (tuple, list, dict, frozenset, set)


def hash_code(*functions: Any) -> str:
    """Return the sha256 of functions, methods, partials or lambdas and of what they use."""
    seen: dict[int, Any] = {}
    parts: set[str] = set()
    waiting: list[tuple[str, Any, type | None]] = [("", function, None) for function in functions]
    while waiting:
        name, thing, owner = waiting.pop()
        thing, owner = _unwrap(thing, owner)
        if isinstance(thing, _SCALARS):
            parts.add(f"{name} = {thing!r}")
            continue
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing
        if isinstance(thing, _CONTAINERS):
            parts.add(f"{name}: {type(thing).__name__} of {len(thing)}")
            waiting += [(place, member, None) for place, member in _list_members(name, thing)]
        elif isinstance(thing, functools.partial):
            waiting += [("", thing.func, owner), (f"{name}()", thing.args, None), (f"{name}()", thing.keywords, None)]
        elif name and owner is None and not _is_first_party(thing):
            parts.add(f"{name} = {thing.__module__}.{getattr(thing, '__qualname__', type(thing).__qualname__)}")
        elif inspect.isfunction(thing):
            tree = _parse(thing)
            parts.add(_dump(tree))
            waiting += _find_used(thing, owner, tree)
        elif inspect.isclass(thing):
            waiting += [
                ("", member, thing) for member in vars(thing).values() if inspect.isfunction(_unwrap(member)[0])
            ]
        else:
            parts.add(type(thing).__qualname__)  # its repr may hold an address
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()


def _list_members(name: str, container: Any) -> Iterator[tuple[str, Any]]:
    """Yield (place, member) of a list, tuple, dict or set; a set has no order of its own."""
    if isinstance(container, dict):
        yield from ((f"{name}[{key!r}]", member) for key, member in container.items())
    elif isinstance(container, set | frozenset):
        yield from ((f"{name}[]", member) for member in container)
    else:
        yield from ((f"{name}[{place}]", member) for place, member in enumerate(container))


def _unwrap(thing: Any, owner: type | None = None) -> tuple[Any, type | None]:
    """Return what stands below bound methods, properties, decorators and the like, and the class of a method."""
    if inspect.ismethod(thing):
        holder = thing.__self__
        thing, owner = thing.__func__, holder if isinstance(holder, type) else type(holder)
    if isinstance(thing, staticmethod | classmethod):
        thing = thing.__func__
    elif isinstance(thing, property):
        thing = thing.fget
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


def _dump(part: Any) -> str:
    """Return a syntax tree as text, on every Python the same, which `ast.dump` is not."""
    if isinstance(part, list):
        return f"[{', '.join(map(_dump, part))}]"
    if isinstance(part, ast.AST):
        return f"{type(part).__name__}({', '.join(f'{name}={_dump(value)}' for name, value in _list_fields(part))})"
    return repr(part)


def _list_fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Yield the fields that are there, without what Python 3.12 adds: type_params, and empty texts in f-strings."""
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(node, ast.JoinedStr):
            value = [member for member in node.values if getattr(member, "value", None) != ""]
        is_there = value is not None or getattr(type(node), name, ...) is not None
        if is_there and name != "type_params":
            yield name, value


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


def _find_used(function: Any, owner: type | None, tree: ast.AST) -> Iterator[tuple[str, Any, type | None]]:
    """Yield the first-party code and the constants that a function uses by name, of its module and of its class."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    known = {**function.__globals__, **{name: cell.cell_contents for name, cell in cells}}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in known:
            if _counts(known[node.id]):
                yield node.id, known[node.id], None
        elif isinstance(node, ast.Attribute):
            holder = ast.unparse(node.value)
            if owner is not None and (holder == "self" or holder.startswith("super(")):
                # Every class's own, the overridden too: which of them `super()` means is not for this page to say.
                found = [vars(c)[node.attr] for c in owner.__mro__ if node.attr in vars(c)]
                yield from ((node.attr, thing, owner) for thing in found)
            elif inspect.ismodule(known.get(holder)) and _counts(getattr(known[holder], node.attr, None)):
                yield node.attr, getattr(known[holder], node.attr), None


def _counts(thing: Any) -> bool:
    return isinstance(thing, (functools.partial, *_SCALARS, *_CONTAINERS)) or _is_first_party(thing)


def _is_first_party(thing: Any) -> bool:
    is_code = inspect.isfunction(inspect.unwrap(thing)) if callable(thing) and not inspect.isclass(thing) else True
    return is_code and str(getattr(thing, "__module__", "")).startswith(FIRST_PARTY) and callable(thing)
