"""What a Python file imports and defines is read without running it."""

import json
from textwrap import dedent
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.sources import parse_source


def parse(text: str) -> dict[str, Any]:
    return parse_source(dedent(text).encode(), "a.py")


def read_field(declaration: str) -> dict[str, Any] | None:
    """Return the facts of the one field of a class, or None where the declaration is none."""
    fields = parse(f"class Config:\n    {declaration}\n")["classes"]["Config"]["fields"]
    assert len(fields) <= 1
    return next(iter(fields.values()), None)


@pytest.mark.parametrize(
    ("text", "imports"),
    [
        ("import os", [["os", None, 0, 1, 1, False]]),
        ("import os.path as p, sys", [["os.path", None, 0, 1, 1, False], ["sys", None, 0, 1, 1, False]]),
        ("from common.model import ConvNet as Net", [["common.model", "ConvNet", 0, 1, 1, False]]),
        ("from . import a, b", [["", "a", 1, 1, 1, False], ["", "b", 1, 1, 1, False]]),
        ("from ..c import *", [["c", "*", 2, 1, 1, False]]),
        ("def f():\n    import os", [["os", None, 0, 2, 5, False]]),
        ("class A:\n    def f(self):\n        from os import path", [["os", "path", 0, 3, 9, False]]),
        ("x = 'import os'", []),
    ],
)
def test_import_is_found_with_its_place_when_it_stands_anywhere(text: str, imports: list[list[Any]]) -> None:
    assert parse(text)["imports"] == imports


@pytest.mark.parametrize(
    ("text", "bindings"),
    [
        ("import os.path", {"os": ["os", None, 0]}),
        ("import os.path as p", {"p": ["os.path", None, 0]}),
        ("from common.model import ConvNet as Net", {"Net": ["common.model", "ConvNet", 0]}),
        ("from .blocks import Block", {"Block": ["blocks", "Block", 1]}),
        ("try:\n    import a\nexcept ImportError:\n    import b as a", {"a": ["b", None, 0]}),
        (
            "if True:\n    import a\nelse:\n    with open('x') as x:\n        import b",
            {"a": ["a", None, 0], "b": ["b", None, 0]},
        ),
        ("def f():\n    import os", {}),
    ],
)
def test_name_is_bound_to_an_import_when_it_runs_with_the_module(text: str, bindings: dict[str, Any]) -> None:
    assert parse(text)["bindings"] == bindings


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import os.path\nfrom a import b as c", ["c", "os"]),
        ("def f(): pass\nasync def g(): pass\nclass A: pass", ["A", "f", "g"]),
        ("x = 1\na, (b, *c) = z = []", ["a", "b", "c", "x", "z"]),
        ("for i in ():\n    with {} as stream:\n        last = 1", ["i", "last", "stream"]),
        ("try:\n    import a\nexcept:\n    b = None", ["a", "b"]),
        ("x: int = unknown", ["x"]),
        ("def f():\n    inner = 1", ["f"]),
        ("", []),
    ],
)
def test_name_is_listed_when_the_top_level_binds_it(text: str, names: list[str]) -> None:
    assert parse(text)["names"] == names


@pytest.mark.parametrize("text", ["from os import *", "def __getattr__(name):\n    return name"])
def test_names_are_unknown_when_the_module_binds_what_nobody_sees(text: str) -> None:
    assert parse(text)["names"] is None


def test_class_is_described_when_it_stands_at_the_top_level() -> None:
    classes = parse(
        """\
        import torch

        @dataclass(frozen=True)
        class Net(torch.nn.Module, Generic[T]):
            depth: int
            width: int = 3
            height = 4

        if True:
            class Late(Net): pass

        def f():
            class Hidden: pass
        """
    )["classes"]
    assert classes == {
        "Net": {
            "line": 4,
            "bases": ["torch.nn.Module", "Generic"],
            "fields": {
                "depth": {"schema": {"type": "integer"}, "required": True},
                "width": {"schema": {"type": "integer"}, "required": False},
            },
            "is_dataclass": True,
        },
        "Late": {"line": 10, "bases": ["Net"], "fields": {}, "is_dataclass": False},
    }


INTEGERS = {"type": "array", "items": {"type": "integer"}}
CHOICE = {"type": "object", "properties": {"name": {"type": "string"}}}


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        ("int", {"type": "integer"}),
        ("float", {"type": "number"}),
        ("bool", {"type": "boolean"}),
        ("str", {"type": "string"}),
        ("'int'", {"type": "integer"}),
        ("list", {"type": "array"}),
        ("dict", {"type": "object"}),
        ("list[int]", INTEGERS),
        ("Sequence[int]", INTEGERS),
        ("collections.abc.Sequence[int]", INTEGERS),
        ("tuple[int, ...]", INTEGERS),
        (
            "tuple[int, str]",
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
        ),
        ("list[list[int]]", {"type": "array", "items": INTEGERS}),
        ("dict[str, float]", {"type": "object", "additionalProperties": {"type": "number"}}),
        ("Mapping[str, list[int]]", {"type": "object", "additionalProperties": INTEGERS}),
        ("Literal['cpu', 'cuda']", {"enum": ["cpu", "cuda"]}),
        ("typing.Literal[-1, None, True]", {"enum": [-1, None, True]}),
        ("int | None", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("int | str | None", {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]}),
        ("Optional[float]", {"anyOf": [{"type": "number"}, {"type": "null"}]}),
        ("Role", {"x-class": "Role"}),
        ("'roles.Role'", {"x-class": "roles.Role"}),
        ("Path | None", {"anyOf": [{"x-class": "Path"}, {"type": "null"}]}),
        ("Mapping[str, Role]", {"type": "object", "additionalProperties": {"x-class": "Role"}}),
        ("LossChoice", {**CHOICE, "x-choice": "loss"}),
        ("config.OptimizerChoice", {**CHOICE, "x-choice": "optimizer"}),
        ("SchedulerChoice | None", {"anyOf": [{**CHOICE, "x-choice": "scheduler"}, {"type": "null"}]}),
        ("Mapping[str, MetricChoice]", {"type": "object", "additionalProperties": {**CHOICE, "x-choice": "metric"}}),
        ("BuiltModel", {"type": "string", "x-built-model": True}),
        ("PositiveInt | None", {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}),
        ("config.Fraction", {"type": "number", "minimum": 0, "exclusiveMaximum": 1}),
        ("Float[Tensor, 'batch channels']", {}),
        ("Literal[Mode.FAST]", {}),
        ("tuple[()]", {"type": "array", "prefixItems": [], "minItems": 0, "maxItems": 0}),
        ("'not a type'", {}),
        ("list['not a type']", {"type": "array", "items": {}}),
    ],
)
def test_annotation_becomes_the_schema_that_values_have_to_fit(annotation: str, schema: dict[str, Any]) -> None:
    assert read_field(f"x: {annotation}") == {"schema": schema, "required": True}


def test_place_of_a_default_is_noted_when_it_may_name_a_built_model() -> None:
    schema = {"type": "string", "x-built-model": True}
    assert read_field("x: BuiltModel = 'wide'") == {"schema": schema, "required": False, "default_at": [2, 21]}
    optional = {"anyOf": [schema, {"type": "null"}]}
    assert read_field("x: BuiltModel | None = None") == {"schema": optional, "required": False}


@pytest.mark.parametrize("declaration", ["x: int = 3", "x: list[int] = field(default_factory=list)"])
def test_field_is_not_required_when_it_has_a_default(declaration: str) -> None:
    field = read_field(declaration)
    assert field is not None
    assert not field["required"]


@pytest.mark.parametrize(
    "declaration",
    [
        "x = 3",
        "x: ClassVar[int] = 3",
        "x: typing.ClassVar[int]",
        "_: KW_ONLY",
        "_: dataclasses.KW_ONLY",
        "def x(self): pass",
    ],
)
def test_attribute_is_no_field_when_a_dataclass_would_not_take_it(declaration: str) -> None:
    assert read_field(declaration) is None


@pytest.mark.parametrize(
    ("text", "is_empty"),
    [("", True), ("# a comment", True), ('"""A docstring."""', True), ("import os", False), ("x = 1", False)],
)
def test_module_is_empty_when_it_holds_nothing_but_a_docstring(text: str, is_empty: bool) -> None:
    assert parse(text)["is_empty"] is is_empty


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"def f(\n", "a.py:1:6: syntax error: '(' was never closed"),
        (
            b"x = 1\nclass A:\npass\n",
            "a.py:3:1: syntax error: expected an indented block after class definition on line 2",
        ),
        (b"x = (1,\n     2))\n", "a.py:2:8: syntax error: unmatched ')'"),
        (b"x = '\0'\n", "a.py: syntax error: source code string cannot contain null bytes"),
    ],
)
def test_source_is_refused_with_the_place_when_python_cannot_read_it(text: bytes, fault: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_source(text, "a.py")
    assert raised.value.message == fault


def test_source_is_read_when_it_only_deserves_a_warning_of_pythons() -> None:
    assert parse(r'''pattern = "\d"''')["names"] == ["pattern"]


def test_facts_survive_json_when_the_index_keeps_them() -> None:
    facts = parse("import os\nfrom a import b\n\nclass A(b.C):\n    x: int | None = 3\n")
    assert json.loads(json.dumps(facts)) == facts


def test_function_is_described_by_what_it_takes_by_name() -> None:
    facts = parse("def f(a: int, b=1, *rest, c: str, d: Literal['x'] = 'x', **others): pass\n\ndef g(): pass\n")
    functions = facts["functions"]
    assert functions["g"] == {"parameters": {}, "takes_others": False}
    assert functions["f"]["takes_others"]
    assert functions["f"]["parameters"] == {
        "a": {"schema": {"type": "integer"}, "required": True},
        "b": {"schema": {}, "required": False},
        "c": {"schema": {"type": "string"}, "required": True},
        "d": {"schema": {"enum": ["x"]}, "required": False},
    }
