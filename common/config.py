"""Build the frozen config of a component from its section of the effective params.

A component's config is the dataclass called `Config` beside it, in its own module; a subclass without one
uses the config of the class that it extends. A field may be a dataclass in turn, or hold several.
"""

import dataclasses
import importlib
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

# A choice: the `name` of a class or function, and the arguments to call it with. Which names and arguments there are
# says `common.catalog`; they are checked when the params are read, by the names of these types.
OptimizerChoice = Mapping[str, Any]  # a class of torch.optim; the parameters are filled in
SchedulerChoice = Mapping[str, Any]  # a class of torch.optim.lr_scheduler; the optimizer is filled in
LossChoice = Mapping[str, Any]  # a function of torch.nn.functional; input and target are filled in
MetricChoice = Mapping[str, Any]  # a class of torchmetrics; the sizes of the data are filled in
# A module of common.sources or common.transforms as `name`, and the fields of the class in it. Its file becomes a
# dependency, and so do the files that its fields of the type DataPath name.
SourceChoice = Mapping[str, Any]
TransformChoice = Mapping[str, Any]
# A file or folder of the checkout, relative to its root, or the URL of a file. Either may be an archive, and end in
# #sha256= and what its sha256 has to be. A source gets the path of what that leads to.
DataPath = Annotated[str, "data path"]
# A function of common, or of the experiment or one that it inherits from, as module:function.
FunctionName = str
# An experiment: its built model becomes an input of the training whose params name it.
BuiltModel = str
# Numbers within bounds, which are checked when the params are read.
PositiveInt = int
NonNegativeInt = int
PositiveFloat = float
Fraction = float  # from 0 to 1, which itself is too much


@dataclasses.dataclass(frozen=True)
class NoParams:
    """The config of a component that has none."""


def config_class(component: type) -> type[Any]:
    """Return the `Config` dataclass that stands beside a component, or beside the class it extends, if any does."""
    for ancestor in component.__mro__:
        candidate = getattr(sys.modules.get(ancestor.__module__), "Config", None)
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return NoParams


def build_config(component: type, section: Mapping[str, Any]) -> Any:
    """Return the component's config, its fields filled from `section`.

    Lists become tuples, so that it hashes, and mappings become dataclasses where a field says so.
    """
    return _build(config_class(component), section)


def build_choice(package: str, base: type, choice: Mapping[str, Any]) -> Any:
    """Return an instance of the one subclass of `base` in the module of `package` that a choice names."""
    arguments = dict(choice)
    module = importlib.import_module(f"{package}.{arguments.pop('name')}")
    classes = [member for member in vars(module).values() if isinstance(member, type) and issubclass(member, base)]
    (found,) = [member for member in classes if member.__module__ == module.__name__]
    return _build(found, arguments)


def replace_paths(component: T, find: Callable[[str], str]) -> T:
    """Return a dataclass with what `find` makes of each text in a field of the type DataPath."""
    if not dataclasses.is_dataclass(component) or isinstance(component, type):
        return component
    hints = _read_hints(type(component), include_extras=True)
    values = {field.name: getattr(component, field.name) for field in dataclasses.fields(component) if field.init}
    replaced = {name: replace_in(value, hints.get(name), find) for name, value in values.items()}
    changed = {name: value for name, value in replaced.items() if value != values[name]}
    return dataclasses.replace(component, **changed) if changed else component


def convert_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as the types of a function's parameters take them."""
    hints = _read_hints(function)
    return {name: _convert(value, hints.get(name)) for name, value in arguments.items()}


def replace_argument_paths(
    function: Callable[..., Any], arguments: Mapping[str, Any], find: Callable[[str], str]
) -> dict[str, Any]:
    """Return arguments with what `find` makes of each text that the function calls a DataPath."""
    hints = _read_hints(function, include_extras=True)
    return {name: replace_in(value, hints.get(name), find) for name, value in arguments.items()}


def list_paths(function: Callable[..., Any], arguments: Mapping[str, Any]) -> list[str]:
    """Return each text among arguments that the function calls a DataPath."""
    found: dict[str, str] = {}
    replace_argument_paths(function, arguments, lambda path: found.setdefault(path, path))
    return list(found)


def replace_in(value: Any, hint: Any, find: Callable[[str], str]) -> Any:
    """Return a value of this type with what `find` makes of each text that the type calls a DataPath."""
    if isinstance(value, str):
        return find(value) if DataPath in _list_options(hint) else value
    if isinstance(value, tuple | list):
        members = map(replace_in, value, _list_member_hints(hint, len(value)), [find] * len(value))
        return type(value)(members)
    if isinstance(value, Mapping):
        inner = [get_args(option)[1] for option in _list_options(hint) if get_origin(option) in (Mapping, dict)]
        return {key: replace_in(member, inner[0], find) for key, member in value.items()} if inner else value
    return replace_paths(value, find)


def _build(config: type[Any], values: Mapping[str, Any]) -> Any:
    hints = _read_hints(config)
    return config(**{key: _convert(value, hints.get(key)) for key, value in values.items()})


def _read_hints(config: Any, *, include_extras: bool = False) -> dict[str, Any]:
    try:
        return get_type_hints(config, include_extras=include_extras)
    except NameError:  # it names what only type checkers import, and so nothing to build
        return {}


def _convert(value: Any, hint: Any) -> Any:
    """Return a value as a field of this type takes it."""
    if isinstance(value, list):
        return tuple(map(_convert, value, _list_member_hints(hint, len(value))))
    if isinstance(value, Mapping):
        for option in _list_options(hint):
            if isinstance(option, type) and dataclasses.is_dataclass(option):
                return _build(option, value)
            if get_origin(option) in (Mapping, dict) and get_args(option)[1] is not Any:
                return {key: _convert(member, get_args(option)[1]) for key, member in value.items()}
    return value


def _list_options(hint: Any) -> Sequence[Any]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _list_member_hints(hint: Any, count: int) -> Sequence[Any]:
    """Return the type of each member of a list or tuple of `count`."""
    for option in _list_options(hint):
        members = get_args(option)
        if get_origin(option) is tuple and Ellipsis not in members:
            return (*members, *[Any] * count)[:count]
        if get_origin(option) in (list, tuple, Sequence):
            return members[:1] * count
    return [Any] * count
