"""The Config beside a class says which params it takes; the dataclasses that it names are part of it."""

from typing import Any

import pytest

from pipeline.components import KINDS, Component, find_override_files, find_subclass
from pipeline.configs import Configs, Section, build_section_schema, find_nodes, takes
from pipeline.errors import ConfigError
from tests.checkouts import Checkout

NET = "from common.model import ConvNet\n\nclass Net(ConvNet): pass\n"
FOLDER = "experiments/net"
INTEGER, TEXT, NOTHING = {"type": "integer"}, {"type": "string"}, {"type": "null"}
BUILT_MODEL = {"type": "string", "x-built-model": True}
OPTIMIZER = {"type": "object", "x-choice": "optimizer", "properties": {"name": TEXT}}


def read_section(checkout: Checkout, kind: str = "model") -> Section:
    """Return what the section of the override in the experiment's folder may hold."""
    modules = checkout.project().experiments.modules
    (path,) = find_override_files(KINDS[kind], FOLDER, modules)
    assert path
    component = Component(kind, *find_subclass(KINDS[kind], path, modules), "net")
    return Configs(modules).section(KINDS[kind].section, {kind: component})


def find_fields(checkout: Checkout) -> dict[str, tuple[str, bool]]:
    """Return the type of each param that the model takes, and whether it is required; without those of every model."""
    fields = {name: f for name, f in read_section(checkout).fields.items() if not name.startswith("init_")}
    return {name: (field["schema"].get("type", "any"), field["required"]) for name, field in fields.items()}


def configured(imports: str = "", bases: str = "") -> str:
    """Return the source of a model with a Config of its own."""
    fields = "    depth: int\n    name: str = 'net'\n"
    return f"from dataclasses import dataclass\n{imports}\n\n@dataclass\nclass Config{bases}:\n{fields}\n{NET}"


COMMON_FIELDS = {"channels": ("integer", False), "dropout": ("number", False)}
OWN_FIELDS = {"depth": ("integer", True), "name": ("string", False)}


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        (NET, COMMON_FIELDS),
        (configured(), OWN_FIELDS),
        (configured("from common import model", "(model.Config)"), {**COMMON_FIELDS, **OWN_FIELDS}),
        (configured("from common.model import Config", "(Config)"), {**COMMON_FIELDS, **OWN_FIELDS}),
        (f"from common.evaluator import Config\n{NET}", {"metrics": ("object", False)}),
        ("from common.model import Model\n\nclass Net(Model): pass\n", COMMON_FIELDS),
        ("from torch import nn\n\nclass Net(nn.Module): pass\n", {}),
    ],
)
def test_params_are_those_of_the_config_when_one_stands_beside_the_class_or_its_bases(
    checkout: Checkout, source: str, fields: dict[str, tuple[str, bool]]
) -> None:
    checkout.write(f"{FOLDER}/model.py", source)
    assert find_fields(checkout) == fields


def test_params_are_the_parents_when_the_override_extends_its_class_without_a_config(checkout: Checkout) -> None:
    checkout.experiment("base", model=configured())
    checkout.write(f"{FOLDER}/model.py", "from experiments.base.model import Net\n\nclass Wider(Net): pass\n")
    assert find_fields(checkout) == OWN_FIELDS


def test_section_takes_exactly_the_fields_when_its_schema_is_built() -> None:
    fields = {"depth": {"schema": INTEGER, "required": True}}
    assert build_section_schema(fields) == {
        "type": "object",
        "additionalProperties": False,
        "properties": {"depth": INTEGER},
    }


def test_config_is_refused_when_it_has_a_field_that_every_model_takes(checkout: Checkout) -> None:
    checkout.write(f"{FOLDER}/model.py", configured().replace("depth", "init_from"))
    with pytest.raises(ConfigError) as raised:
        read_section(checkout)
    assert str(raised.value.problems[0]) == (
        f"{FOLDER}/model.py:5:1: 'Config' has a field 'init_from', a key that section 'model' has for every component"
    )


# Dataclasses in dataclasses

ROLES = """\
from dataclasses import dataclass

from common.config import BuiltModel
from common import config


class Plain:
    size: int


@dataclass(frozen=True)
class Base:
    every: int


@dataclass(frozen=True)
class Role(Base):
    model_from: BuiltModel | None = None
    optimizer: config.OptimizerChoice | None = None


@dataclass(frozen=True)
class Node:
    depth: int = 0
    child: "Node | None" = None


class Same(Role):
    pass
"""
ROLE = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "every": INTEGER,
        "model_from": {"anyOf": [BUILT_MODEL, NOTHING]},
        "optimizer": {"anyOf": [OPTIMIZER, NOTHING]},
    },
    "required": ["every"],
}
TREE = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"depth": INTEGER, "child": {"anyOf": [{"type": "object"}, NOTHING]}},
}


def write_config(checkout: Checkout, *fields: str) -> None:
    """Write a model whose Config has these fields, and a module of classes that they may name."""
    checkout.write(f"{FOLDER}/roles.py", ROLES)
    head = "from collections.abc import Mapping\nfrom dataclasses import dataclass, field\nfrom pathlib import Path\n"
    imports = "from experiments.net import roles\nfrom experiments.net.roles import Node, Plain, Role, Same\n"
    lines = "".join(f"    {line}\n" for line in fields)
    checkout.write(f"{FOLDER}/model.py", f"{head}{imports}\n\n@dataclass\nclass Config:\n{lines}\n\n{NET}")


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        ("Role", ROLE),
        ("roles.Role", ROLE),
        ("'Role'", ROLE),
        ("Same", ROLE),
        ("Role | None", {"anyOf": [ROLE, NOTHING]}),
        ("Mapping[str, Role]", {"type": "object", "additionalProperties": ROLE}),
        ("list[Role]", {"type": "array", "items": ROLE}),
        ("tuple[Role, int]", {"type": "array", "prefixItems": [ROLE, INTEGER], "minItems": 2, "maxItems": 2}),
        ("Node", TREE),
        ("Plain", {}),
        ("Path", {}),
        ("Path | None", {}),
        ("roles.Missing", {}),
        ("list[Path]", {"type": "array", "items": {}}),
    ],
)
def test_class_in_an_annotation_becomes_its_schema_when_it_is_a_dataclass(
    checkout: Checkout, annotation: str, schema: dict[str, Any]
) -> None:
    write_config(checkout, f"x: {annotation}")
    assert read_section(checkout).fields["x"] == {"schema": schema, "required": True}


def test_nothing_is_required_of_a_part_when_an_experiment_sets_one(checkout: Checkout) -> None:
    write_config(checkout, "roles: Mapping[str, Role | None]", "each: tuple[Role, ...]")
    section = read_section(checkout)
    of_roles, of_each = (section.overrides["properties"][name] for name in ("roles", "each"))
    assert "required" not in of_roles["additionalProperties"]["anyOf"][0]
    assert of_each["items"] == ROLE  # a list is replaced as a whole


@pytest.mark.parametrize(
    ("default", "is_refused"),
    [
        ("None", False),
        ("()", False),
        ("field(default_factory=dict)", False),
        ("'wide'", True),
        ("field(default_factory=lambda: {'teacher': 'wide'})", True),
        ("DEFAULT", True),
    ],
)
def test_default_is_refused_when_it_may_name_a_built_model(checkout: Checkout, default: str, is_refused: bool) -> None:
    source = configured("from common.config import BuiltModel").replace(
        "name: str = 'net'", f"x: BuiltModel = {default}"
    )
    checkout.write(f"{FOLDER}/model.py", source)
    if not is_refused:
        assert read_section(checkout).fields["x"] == {"schema": BUILT_MODEL, "required": False}
        return
    with pytest.raises(ConfigError) as raised:
        read_section(checkout)
    assert str(raised.value) == (
        f"{FOLDER}/model.py:7:21: the default of 'x' may name a built model, and only params make one an input"
    )


# What is in a section

SCHEMA = build_section_schema(
    {
        name: {"schema": schema}
        for name, schema in {
            "epochs": INTEGER,
            "optimizer": {"anyOf": [OPTIMIZER, NOTHING]},
            "roles": {"type": "object", "additionalProperties": ROLE},
            "models": {"type": "array", "items": BUILT_MODEL},
            "pair": {"type": "array", "prefixItems": [INTEGER, BUILT_MODEL]},
            "free": {},
            "table": {"type": "object"},
        }.items()
    }
)


def test_choices_built_models_and_required_keys_are_found_wherever_they_are() -> None:
    adam, role = {"name": "Adam"}, {"model_from": "wide", "optimizer": None, "every": 1}
    value = {
        "epochs": 3,
        "optimizer": adam,
        "roles": {"teacher": role},
        "models": ["a", "b"],
        "pair": [1, "c"],
        "free": {"optimizer": adam},
    }
    nodes = list(find_nodes(SCHEMA, value, ("train",)))
    assert [(node.key, node.kind, node.value) for node in nodes] == [
        ("train.optimizer", "optimizer", adam),
        ("train.roles.teacher", "", role),
        ("train.roles.teacher.model_from", "", "wide"),
        ("train.models.0", "", "a"),
        ("train.models.1", "", "b"),
        ("train.pair.1", "", "c"),
    ]


@pytest.mark.parametrize(
    "value", [{"optimizer": "Adam"}, {"optimizer": None}, {"roles": 3}, {"models": [None]}, {"models": {"a": "b"}}]
)
def test_nothing_is_found_when_a_value_is_of_another_type(value: dict[str, Any]) -> None:
    assert list(find_nodes(SCHEMA, value, ("train",))) == []


@pytest.mark.parametrize(
    ("path", "is_taken"),
    [
        ("epochs", True),
        ("epoch", False),
        ("epochs.first", False),
        ("optimizer.lr", True),
        ("roles.teacher.every", True),
        ("roles.teacher.evry", False),
        ("roles.teacher.optimizer.lr", True),
        ("roles.teacher.every.second", False),
        ("free.anything", True),
        ("table.anything.at.all", True),
    ],
)
def test_key_is_taken_when_the_schema_has_a_place_for_it(path: str, is_taken: bool) -> None:
    assert takes(SCHEMA, path.split(".")) == is_taken
