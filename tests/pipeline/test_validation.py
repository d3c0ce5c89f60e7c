"""Every fault of a value is said in the words of the person who wrote the file, with its place."""

from typing import Any

import pytest

from pipeline.components import KINDS
from pipeline.documents import parse_yaml
from pipeline.validation import Schema, find_faults, find_problems, load_schema


def find(schema: dict[str, Any], text: str, *prefix: str) -> list[str]:
    """Return the faults of the part at `prefix` of a YAML text."""
    value = parse_yaml(text, "a.yaml")
    for key in prefix:
        value = value[key]
    return [str(problem) for problem in find_problems(Schema(schema), value, "a.yaml", lambda: text, prefix)]


def section(**fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": fields}


@pytest.mark.parametrize(
    ("wanted", "value", "fault"),
    [
        ({"type": "integer"}, "many", "'x' is \"many\", wanted a whole number"),
        ({"type": "integer"}, "40.0", "'x' is 40.0, wanted a whole number"),
        ({"type": "integer"}, "true", "'x' is true, wanted a whole number"),
        ({"type": "number"}, "false", "'x' is false, wanted a number"),
        ({"type": "number"}, "", "'x' is empty, wanted a number"),
        ({"type": "string"}, "2026", "'x' is 2026, wanted a text"),
        ({"type": "boolean"}, "on", "'x' is \"on\", wanted true or false"),
        ({"type": "object"}, "[1]", "'x' is [1], wanted a mapping of keys to values"),
        ({"type": "array"}, "{a: 1}", "'x' is {\"a\": 1}, wanted a list"),
        ({"type": ["integer", "null"]}, "few", "'x' is \"few\", wanted a whole number or nothing"),
        ({"enum": ["cpu", "cuda"]}, "gpu", '\'x\' is "gpu", wanted one of "cpu", "cuda"'),
        (
            {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "few",
            "'x' is \"few\", wanted a number or nothing",
        ),
        (
            {"anyOf": [{"enum": ["batch", "layer"]}, {"type": "null"}]},
            "group",
            '\'x\' is "group", wanted one of "batch", "layer" or nothing',
        ),
    ],
)
def test_value_is_shown_with_what_was_wanted_when_it_does_not_fit(
    wanted: dict[str, Any], value: str, fault: str
) -> None:
    assert find(section(x=wanted), f"x: {value}\n") == [f"a.yaml:1:{4 if value else 3}: {fault}"]


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        ({"type": "integer"}, "40"),
        ({"type": "number"}, "40"),
        ({"type": "number"}, "1e-3"),
        ({"type": "boolean"}, "true"),
        ({"enum": ["cpu", "cuda"]}, "cpu"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "null"),
        ({}, "[1, {a: b}]"),
    ],
)
def test_nothing_is_found_when_the_value_fits(wanted: dict[str, Any], value: str) -> None:
    assert find(section(x=wanted), f"x: {value}\n") == []


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("chanels", "unknown key 'chanels' in 'model'; did you mean 'channels'?"),
        ("zzz", "unknown key 'zzz' in 'model'; there are channels, dropout"),
    ],
)
def test_keys_that_there_are_are_named_when_one_is_unknown(key: str, fault: str) -> None:
    schema = section(model=section(channels={}, dropout={}))
    assert find(schema, f"model:\n  dropout: 0.1\n  {key}: 64\n") == [f"a.yaml:3:3: {fault}"]


def test_no_key_is_named_when_there_are_none() -> None:
    assert find(section(), "x: 1\n") == ["a.yaml:1:1: unknown key 'x'; there are none"]


def test_file_is_at_fault_when_it_holds_no_mapping() -> None:
    assert find(section(), "[1]\n") == ["a.yaml:1:1: the file is [1], wanted a mapping of keys to values"]


def test_every_fault_is_found_in_order_when_there_are_several() -> None:
    schema = section(epochs={"type": "integer"}, rate={"type": "number"})
    assert find(schema, "epoch: 1\nrate: high\nepochs: 2.5\nzzz: 1\n") == [
        "a.yaml:1:1: unknown key 'epoch'; did you mean 'epochs'?",
        "a.yaml:2:7: 'rate' is \"high\", wanted a number",
        "a.yaml:3:9: 'epochs' is 2.5, wanted a whole number",
        "a.yaml:4:1: unknown key 'zzz'; there are epochs, rate",
    ]


def test_place_and_name_count_from_the_whole_file_when_only_a_part_is_checked() -> None:
    schema = section(model=section(channels={"type": "integer"}))
    assert find(schema, "owner: me\nparams:\n  model: {channels: wide}\n", "params") == [
        "a.yaml:3:21: 'params.model.channels' is \"wide\", wanted a whole number"
    ]


def test_item_of_a_list_is_at_fault_when_it_alone_does_not_fit() -> None:
    schema = section(widths={"type": "array", "items": {"type": "integer"}})
    assert find(schema, "widths: [8, wide]\n") == ["a.yaml:1:13: 'widths.1' is \"wide\", wanted a whole number"]


def test_value_is_cut_short_when_it_is_long() -> None:
    (fault,) = find(section(x={"type": "integer"}), f"x: {'long ' * 100}\n")
    assert fault == "a.yaml:1:4: 'x' is \"" + ("long " * 100)[:56] + "…, wanted a whole number"


@pytest.mark.parametrize(
    ("name", "value", "faults"),
    [
        ("metrics", {"accuracy": 0.9}, []),
        ("metrics", {"accuracy": "high"}, ["'accuracy' is \"high\", wanted a number"]),
        ("metrics", [0.9], ["the file is [0.9], wanted a mapping of keys to values"]),
        ("config", {"components": {}}, ["the file lacks the key 'params'"]),
        ("config", {}, ["the file lacks the key 'components'", "the file lacks the key 'params'"]),
        (
            "config",
            {"components": {}, "params": {"model": 3}, "parms": {}},
            [
                "'params.model' is 3, wanted a mapping of keys to values",
                "unknown key 'parms'; did you mean 'params'?",
            ],
        ),
    ],
)
def test_faults_of_json_are_found_when_a_schema_of_ours_is_named(name: str, value: Any, faults: list[str]) -> None:
    assert find_faults(name, value) == faults


def test_digest_is_the_same_when_only_the_order_of_keys_differs() -> None:
    first, second = Schema({"type": "object", "title": "a"}), Schema({"title": "a", "type": "object"})
    assert first.digest == second.digest
    assert first.digest != Schema({"type": "object", "title": "b"}).digest


def test_experiment_schema_takes_every_component_when_it_is_loaded() -> None:
    assert list(load_schema("experiment")["properties"]["components"]["properties"]) == list(KINDS)


ROLE = {"type": "object", "additionalProperties": False, "properties": {"every": {"type": "integer"}}, "required": []}
NOTHING = {"type": "null"}


@pytest.mark.parametrize(
    ("wanted", "value", "fault"),
    [
        ([ROLE, NOTHING], "{evry: 1}", "1:5: unknown key 'evry' in 'x'; did you mean 'every'?"),
        ([ROLE, NOTHING], "{every: many}", "1:12: 'x.every' is \"many\", wanted a whole number"),
        ([ROLE, NOTHING], "3", "1:4: 'x' is 3, wanted a mapping of keys to values or nothing"),
        (
            [{"type": "array", "items": ROLE}, NOTHING],
            "[{}, {evry: 1}]",
            "1:10: unknown key 'evry' in 'x.1'; did you mean 'every'?",
        ),
        (
            [{"type": "array", "items": {"type": "integer"}}, NOTHING],
            "[a]",
            "1:4: 'x' is [\"a\"], wanted a list or nothing",
        ),
        ([{**ROLE, "required": ["every"]}, NOTHING], "{}", "1:4: 'x' lacks the key 'every'"),
        (
            [ROLE, {"type": "object", "additionalProperties": {"type": "integer"}}],
            "{evry: many}",
            '1:4: \'x\' is {"evry": "many"}, wanted a mapping of keys to values or a mapping of keys to values',
        ),
    ],
)
def test_fault_is_that_of_the_option_that_is_meant_when_a_mapping_fits_none(
    wanted: list[dict[str, Any]], value: str, fault: str
) -> None:
    assert find(section(x={"anyOf": wanted}), f"x: {value}\n") == [f"a.yaml:{fault}"]
