"""Check values against JSON Schemas, and say every fault in the words of the person who wrote the file."""

import hashlib
import importlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.documents import locate
from pipeline.errors import Problem, suggest

if TYPE_CHECKING:
    from jsonschema import ValidationError

SCHEMAS_DIR = Path(__file__).parent / "schemas"

_MAX_LISTED = 40  # names in a message that has no better idea
_BOUNDS = {
    "minimum": " of at least {}",
    "exclusiveMinimum": " above {}",
    "maximum": " of at most {}",
    "exclusiveMaximum": " below {}",
}


@cache
def _make_validator() -> Any:
    """Return the class of validators.

    JSON has one kind of number, Python two: 40.0 epochs would fail later and far away. YAML also has .nan, no number.
    """
    jsonschema = importlib.import_module("jsonschema")  # slow, and not needed where all was found sound before
    checker = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ).redefine(
        "number", lambda _, value: isinstance(value, int | float) and not isinstance(value, bool) and value == value
    )
    return jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=checker)


@cache
def load_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema called `name` of this package."""
    schema: dict[str, Any] = json.loads((SCHEMAS_DIR / f"{name}.schema.json").read_text())
    return schema


class Schema:
    """A JSON Schema, ready to check values."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self.digest = hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()

    @cached_property
    def validator(self) -> Any:
        """The validator, built when first asked for."""
        return _make_validator()(self._schema)


@cache
def named_schema(name: str) -> Schema:
    """Return the JSON Schema called `name` of this package, ready to check values."""
    return Schema(load_schema(name))


def find_faults(name: str, value: Any) -> list[str]:
    """Return every fault of `value` against the schema called `name`, without a place in a file."""
    errors = named_schema(name).validator.iter_errors(value)
    return sorted(message for e in errors for message, _ in _describe(e, ".".join(map(str, e.absolute_path))))


def find_problems(
    schema: Schema, value: Any, path: str, read_text: Callable[[], str | bytes], prefix: Sequence[str] = ()
) -> list[Problem]:
    """Return every fault of `value`, the part at `prefix` of the YAML file at `path`, in order."""
    problems = []
    for fault in find_located_faults(schema, value, prefix):
        line, column = locate(read_text(), fault.where, key=fault.is_key)
        problems.append(Problem(path, line, column, fault.message))
    return sorted(problems)


class Fault(NamedTuple):
    """What is wrong with a value, and where in it: at a key itself, or at what stands under it."""

    message: str
    where: tuple[str | int, ...]
    is_key: bool = False


def find_located_faults(schema: Schema, value: Any, prefix: Sequence[str | int] = ()) -> Iterator[Fault]:
    """Yield every fault of `value`, which stands at `prefix` of something larger."""
    for error in _unfold(schema.validator.iter_errors(value)):
        where = (*prefix, *error.absolute_path)
        for message, key in _describe(error, ".".join(str(part) for part in where)):
            yield Fault(message, where if key is None else (*where, key), key is not None)


def _unfold(errors: "Iterable[ValidationError]") -> "Iterator[ValidationError]":
    """Yield the errors; for "no option fits" of what holds mappings, those of the option that alone can be meant."""
    for error in errors:
        options: dict[Any, list[ValidationError]] = {}
        members = error.instance if isinstance(error.instance, list) else [error.instance]
        is_deep = error.validator == "anyOf" and any(isinstance(member, dict) for member in members)
        for inner in error.context if is_deep else []:
            options.setdefault(inner.relative_schema_path[0], []).append(inner)
        meant = [found for found in options.values() if all(map(_is_inside, found))]
        if len(meant) == 1:
            yield from _unfold(meant[0])
        else:
            yield error


def _is_inside(error: "ValidationError") -> bool:
    """Say whether an error is about a part of the value, or about its keys, rather than about what it is."""
    return bool(error.relative_path) or error.validator in ("additionalProperties", "required")


def _describe(error: "ValidationError", name: str) -> Iterator[tuple[str, str | None]]:
    """Yield (message, the key at fault or None) of each fault that one schema error stands for."""
    value: Any = error.instance
    wanted: Any = error.validator_value
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))  # type: ignore[union-attr]
        for key in value:
            if key not in known:
                place = f" in '{name}'" if name else ""
                yield f"unknown key '{key}'{place}{suggest(str(key), known) or _list_keys(known)}", key
    elif error.validator == "required":
        yield f"{_quoted(name)}lacks the key {error.message.split(' is a required')[0]}", None
    elif error.validator == "enum" and len(wanted) > _MAX_LISTED:
        yield f"{_quoted(name)}is {_show(value)}, which is not known{suggest(str(value), wanted)}", None
    elif error.validator == "enum":
        yield f"{_quoted(name)}is {_show(value)}, wanted {_name_option({'enum': wanted})}", None
    elif error.validator == "not" and "description" in error.schema:  # type: ignore[operator]
        yield f"{_quoted(name)}{error.schema['description']}", None  # type: ignore[index]
    elif error.validator == "dependentRequired":
        missing, present = re.findall("'(.*?)'", error.message)
        yield f"{_quoted(name)}lacks the key '{missing}', without which '{present}' means nothing", None
    elif error.validator in ("minItems", "minProperties") and not value:
        yield f"{_quoted(name)}is empty", None
    elif error.validator == "anyOf":
        yield f"{_quoted(name)}is {_show(value)}, wanted {' or '.join(map(_name_option, wanted))}", None
    elif error.validator in ("type", *_BOUNDS):
        yield f"{_quoted(name)}is {_show(value)}, wanted {_name_option(error.schema)}", None  # type: ignore[arg-type]
    elif error.validator == "pattern":
        schema: Any = error.schema
        example = schema.get("examples", [wanted])[0]
        yield f"{_quoted(name)}is {_show(value)}, wanted a text like {example}", None
    else:
        yield f"{_quoted(name)}{error.message}", None


def _quoted(name: str) -> str:
    return f"'{name}' " if name else "the file "


def _list_keys(known: Sequence[str]) -> str:
    if len(known) == 1:
        return f"; there is only {known[0]}"
    if len(known) > _MAX_LISTED:
        return ""
    return f"; there are {', '.join(known)}" if known else "; there are none"


def _name_option(option: Mapping[str, Any]) -> str:
    if "enum" in option:
        return f"one of {', '.join(map(_show, option['enum']))}"
    bounds = " and".join(text.format(option[key]) for key, text in _BOUNDS.items() if key in option)
    return _name_type(option["type"]) + bounds if "type" in option else "something else"


def _name_type(wanted: str | list[str]) -> str:
    names = {
        "integer": "a whole number",
        "number": "a number",
        "string": "a text",
        "boolean": "true or false",
        "object": "a mapping of keys to values",
        "array": "a list",
        "null": "nothing",
    }
    return " or ".join(names[name] for name in ([wanted] if isinstance(wanted, str) else wanted))


def _show(value: Any) -> str:
    if value is None:
        return "empty"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"
