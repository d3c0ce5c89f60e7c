"""Read YAML as people mean it, and say where in the text each value stands.

YAML 1.1's traps are closed: scalars follow the core schema of YAML 1.2, as DVC reads them (`1e-3` is a number, `on` and
`12:30` are text, `012` is twelve), and a key that comes twice is an error.
"""

import json
import math
import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import yaml

from pipeline.errors import ConfigError, Problem

Path = Sequence[str | int]

MAX_JSON_DEPTH = 32  # lists and mappings inside each other, where people write JSON


class CoreLoader(yaml.CSafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2's core schema and without duplicate keys."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own class attribute)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a dict; raise MarkedYAMLError at the second of two equal keys, and at a key that is no text."""
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key_node.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key_node.start_mark)
            if key_node.value in seen:
                problem = f"the key '{key_node.value}' comes twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _construct_scalar(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    """Build a bool, number or null; raise MarkedYAMLError where a tag says one and the text does not."""
    kind, text = node.tag.rpartition(":")[2], loader.construct_scalar(node)
    try:
        return _BUILD[kind](text)
    except ValueError:
        problem = f"'{text}' is not what the tag !!{kind} says"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None


def _refuse_date(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> None:
    problem = f"write the date {node.value} in quotes: DVC would not read it as text"
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _build_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _build_int(text: str) -> int:
    digits = text.replace("_", "")
    return int(digits, 0) if digits.lstrip("+-").lower().startswith(("0x", "0o", "0b")) else int(digits)


def _build_float(text: str) -> float:
    return float(re.sub(r"\.(?=inf|nan)", "", text.lower()).replace("_", ""))


_BUILD: dict[str, Callable[[str], Any]] = {
    "bool": _build_bool,
    "null": lambda _: None,
    "int": _build_int,
    "float": _build_float,
}
# The patterns of ruamel.yaml for YAML 1.2, with which DVC reads the same files.
_PATTERNS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "int": (r"[-+]?0b[01_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+", "-+0123456789"),
    "float": (
        r"[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9_]+([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": (r"<<", "<"),
    "value": (r"=", "="),  # which DVC refuses
    "timestamp": (r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].*)?", "0123456789"),  # which DVC would read as a date
}
for _name, (_pattern, _first) in _PATTERNS.items():
    CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_pattern})$"), list(_first))
# Only what JSON has: dates, sets and bytes would fail later and far away.
CoreLoader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in ("str", "seq", "map")
}
CoreLoader.add_constructor("tag:yaml.org,2002:timestamp", _refuse_date)
for _name in _BUILD:
    CoreLoader.add_constructor(f"tag:yaml.org,2002:{_name}", _construct_scalar)


def parse_yaml(text: str | bytes, path: str) -> Any:
    """Return the value of a YAML text.

    Raises ConfigError, with the place in the file called `path`, where the text is not valid.
    """
    try:
        if "\t" in (text if isinstance(text, str) else text.decode(errors="replace")):
            for _ in yaml.scan(text, yaml.SafeLoader):  # as strict with tabs as DVC; libyaml is not
                pass
        value = yaml.load(text, CoreLoader)
        if b"&" in (text if isinstance(text, bytes) else text.encode()):
            json.dumps(value)
        return value
    except ValueError:
        raise ConfigError([Problem(path, 0, 0, "an alias stands inside what it stands for")]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        problem = error.problem or str(error)
        if problem.startswith("but "):
            problem = f"{error.context}, {problem}"
        raise ConfigError([Problem(path, line, column, problem)]) from None
    except yaml.reader.ReaderError as error:
        raise ConfigError([Problem(path, 0, 0, f"not text that YAML may hold: {error.reason}")]) from None


def locate(text: str | bytes, path: Path, *, key: bool = False) -> tuple[int, int]:
    """Return line and column, from 1, of the value at `path` in a valid YAML text, or of its key.

    A path that leads nowhere is located at its deepest part that exists.
    """
    node = yaml.compose(text, CoreLoader)
    if node is None:
        return 1, 1
    mark = node.start_mark
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pairs = [(k, v) for k, v in node.value if k.value == part]
            if not pairs:
                break
            key_node, node = pairs[0]
            mark = (key_node if key else node).start_mark
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            mark = node.start_mark
        else:
            break
    return mark.line + 1, mark.column + 1


def parse_json(text: bytes, path: str) -> Any:
    """Return the value of a JSON text: strict JSON in UTF-8, without keys that come twice, no deeper than 32 levels.

    Raises ConfigError, with the place in the file called `path` where there is one.
    """
    try:
        value = json.loads(
            text.decode(), object_pairs_hook=_take_pairs, parse_constant=_refuse_constant, parse_float=_build_finite
        )
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except json.JSONDecodeError as error:
        raise ConfigError([Problem(path, error.lineno, error.colno, f"not JSON: {error.msg}")]) from None
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        column = error.start - text.rfind(b"\n", 0, error.start)
        raise ConfigError([Problem(path, line, column, "not JSON: no text in UTF-8")]) from None
    except UnicodeEncodeError:
        raise ConfigError([Problem(path, 0, 0, "not JSON: half of a surrogate pair is no text")]) from None
    except RecursionError:
        raise ConfigError([_describe_deep(path)]) from None
    except _RepeatedKeyError as error:
        raise ConfigError([Problem(path, *_locate_repeated(text), f"the key '{error}' comes twice")]) from None
    except ValueError as error:
        raise ConfigError([Problem(path, 0, 0, f"not JSON: {error}")]) from None
    if not _is_shallow(value):
        raise ConfigError([_describe_deep(path)])
    return value


class _RepeatedKeyError(ValueError):
    """A mapping has a key twice."""


def _take_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise _RepeatedKeyError(key)
        seen.add(key)
    return dict(pairs)


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _build_finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text} is too large a number")
    return float(text)


def _locate_repeated(text: bytes) -> tuple[int, int]:
    """Return the place of the first key that comes twice in a JSON text, (0, 0) where YAML reads it otherwise."""
    try:
        parse_yaml(text, "")
    except (ConfigError, RecursionError) as error:
        problem = error.problems[0] if isinstance(error, ConfigError) else None
        if problem and "comes twice" in problem.message:
            return problem.line, problem.column
    return 0, 0


def _is_shallow(value: Any) -> bool:
    """Say whether lists and mappings stand in each other no deeper than JSON that people write may have them."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH + 1):
        inner = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = [part for parts in inner for part in parts]
    return not level


def _describe_deep(path: str) -> Problem:
    return Problem(path, 0, 0, f"is nested deeper than {MAX_JSON_DEPTH} levels")


def locate_json(text: bytes, path: Path, *, key: bool = False) -> tuple[int, int]:
    """Return line and column, from 1, of what stands at `path` in valid JSON; (0, 0) where YAML reads it otherwise.

    JSON is YAML but for little, as keys of a thousand characters.
    """
    try:
        return locate(text, path, key=key)
    except yaml.YAMLError:
        return 0, 0
