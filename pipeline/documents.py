"""Read YAML as people mean it, and say where in the text each value stands.

YAML 1.1's traps are closed: scalars follow the core schema of YAML 1.2, as DVC reads them (`1e-3` is a number, `on` and
`12:30` are text, `012` is twelve), and a key that comes twice is an error.
"""

import re
from collections.abc import Hashable, Sequence
from typing import Any

import yaml

from pipeline.errors import ConfigError, Problem

Path = Sequence[str | int]


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


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text.lower().startswith(("0x", "0o")) else int(text)


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(re.sub(r"\.(?=inf|nan)", "", loader.construct_scalar(node).lower()))


_SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": (r"<<", "<"),
}
for _name, (_pattern, _first) in _SCALARS.items():
    CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_pattern})$"), list(_first))
CoreLoader.add_constructor("tag:yaml.org,2002:int", _construct_int)
CoreLoader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def parse_yaml(text: str | bytes, path: str) -> Any:
    """Return the value of a YAML text.

    Raises ConfigError, with the place in the file called `path`, where the text is not valid.
    """
    try:
        return yaml.load(text, CoreLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise ConfigError([Problem(path, line, column, f"{error.problem or error}")]) from None
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
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            mark = node.start_mark
        else:
            break
    return mark.line + 1, mark.column + 1
