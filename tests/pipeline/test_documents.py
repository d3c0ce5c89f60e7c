"""YAML is read as people mean it and as DVC reads it, and every fault has its place."""

import math
from typing import Any

import pytest
from dvc.utils.serialize import YAMLFileCorruptedError
from dvc.utils.serialize import parse_yaml as parse_as_dvc

from pipeline.documents import locate, parse_yaml
from pipeline.errors import ConfigError

SCALARS = """
    1e-3 1E-3 1e3 1.e3 .5 -.5 +.5 5. 1.0 1.5e+10 1e 1e+ e3 . .. 1e400
    on off yes no y n On YES true True TRUE tRue false False FALSE null Null NULL nULL ~
    12:30 12:30:45 190:20:30 012 0 00 08 -0 +12 -012 0x1f 0x1F 0X1F 0x 0xg 0o14 0O14 0o8 -0x1f 0b11 1_000 2026_01
    .inf -.inf +.inf .INF .Inf .iNF inf -inf .nan .NaN .NAN nan -.nan 1.2.3 1,000 1a 1d ü
    "1" 'on' 'a''b' 12345678901234567890123 [1e-3,on] {a:1e-3} &anchor
"""


def read_scalar(text: str) -> Any:
    return parse_yaml(f"value: {text}\n", "a.yaml")["value"]


def find_fault(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as raised:
        parse_yaml(text, "a.yaml")
    return raised.value.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("1.5e+10", 1.5e10),
        (".5", 0.5),
        ("5.", 5.0),
        ("012", 12),
        ("-08", -8),
        ("+12", 12),
        ("0x1f", 31),
        ("0x1F", 31),
        ("0o14", 12),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("y", "y"),
        ("12:30", "12:30"),
        ("12:30:45", "12:30:45"),
        ("1.2.3", "1.2.3"),
        ("1e", "1e"),
        (".", "."),
        ("inf", "inf"),
        ("nan", "nan"),
        ("0o8", "0o8"),
        ("'012'", "012"),
        ("!!str 12", "12"),
    ],
)
def test_scalar_is_what_people_mean_when_yaml_1_1_says_otherwise(text: str, value: Any) -> None:
    found = read_scalar(text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_scalar_is_not_a_number_when_written_as_nan(text: str) -> None:
    assert math.isnan(read_scalar(text))


@pytest.mark.parametrize("text", SCALARS.split())
def test_scalar_is_read_as_by_dvc_when_a_stage_depends_on_it(text: str) -> None:
    document = f"value: {text}\n"
    assert repr(parse_yaml(document, "a.yaml")) == repr(parse_as_dvc(document, "a.yaml"))


@pytest.mark.parametrize("text", ["2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01 10:00:00"])
def test_date_is_refused_when_it_stands_without_quotes(text: str) -> None:
    fault = f"a.yaml:1:4: write the date {text} in quotes: DVC would not read it as text"
    assert find_fault(f"a: {text}\n") == fault
    assert read_scalar(f"'{text}'") == text


def test_alias_is_refused_when_it_stands_inside_what_it_stands_for() -> None:
    assert find_fault("a: &x [*x]\n") == "a.yaml: an alias stands inside what it stands for"


@pytest.mark.parametrize("text", ["a:\tb\n", "a: b\t# a comment\n", "a: =\n"])
def test_text_is_refused_when_dvc_cannot_read_it(text: str) -> None:
    with pytest.raises(YAMLFileCorruptedError):
        parse_as_dvc(text, "a.yaml")
    assert find_fault(text).startswith("a.yaml:1:")


def test_nothing_is_read_when_a_file_is_empty() -> None:
    assert parse_yaml("# only a comment\n", "a.yaml") is None


def test_merge_key_is_laid_under_the_keys_beside_it_when_they_are_the_same() -> None:
    document = parse_yaml("base: &base {a: 1, b: 2}\nchild: {<<: *base, b: 3}\n", "a.yaml")
    assert document["child"] == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3:1: the key 'a' comes twice"),
        ("a: {b: 1, b: 1}\n", "a.yaml:1:11: the key 'b' comes twice"),
        ("'a': 1\n\"a\": 2\n", "a.yaml:2:1: the key 'a' comes twice"),
        ("1: a\n", "a.yaml:1:1: a key must be text"),
        ("a: {true: b}\n", "a.yaml:1:5: a key must be text"),
        ("~: b\n", "a.yaml:1:1: a key must be text"),
        ("a:\n  ? [b]\n  : c\n", "a.yaml:2:5: a key must be text"),
        ("a: b: c\n", "a.yaml:1:5: mapping values are not allowed in this context"),
        ("a: [1, 2\nb: 3\n", "a.yaml:2:2: did not find expected ',' or ']'"),
        ("a:\n\tb: 1\n", "a.yaml:2:1: found character '\\t' that cannot start any token"),
        ("a: *missing\n", "a.yaml:1:4: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2:1: expected a single document in the stream, but found another document"),
        ("a: 'b\n", "a.yaml:2:1: found unexpected end of stream"),
        ("a: \0\n", "a.yaml: not text that YAML may hold: control characters are not allowed"),
        ("a: grün\n".encode("latin-1"), "a.yaml: not text that YAML may hold: invalid leading UTF-8 octet"),
    ],
)
def test_faulty_text_is_refused_when_it_is_parsed(text: str | bytes, fault: str) -> None:
    assert find_fault(text) == fault


@pytest.mark.parametrize("value", ["!!int many", "!!float many", "!!bool maybe", "!!timestamp then", "!!int ''"])
def test_tagged_value_is_refused_with_its_place_when_it_does_not_fit_the_tag(value: str) -> None:
    assert find_fault(f"a: {value}\n").startswith("a.yaml:1:4: ")


@pytest.mark.parametrize(
    "value", ["!!binary aGk=", "!!set {b}", "!!timestamp 2026-01-01", "!!python/object:os.system x"]
)
def test_tagged_value_is_refused_when_json_has_no_such_type(value: str) -> None:
    assert find_fault(f"a: {value}\n").startswith("a.yaml:1:4: ")


TEXT = """\
# a comment
params:
  model: {channels: 64, widths: [8, 16]}
  train:
    epochs: 3
"""


@pytest.mark.parametrize(
    ("path", "value_place", "key_place"),
    [
        ([], (2, 1), (2, 1)),
        (["params"], (3, 3), (2, 1)),
        (["params", "model"], (3, 10), (3, 3)),
        (["params", "model", "channels"], (3, 21), (3, 11)),
        (["params", "model", "widths", 1], (3, 37), (3, 37)),
        (["params", "train", "epochs"], (5, 13), (5, 5)),
    ],
)
def test_value_and_key_are_located_when_the_path_exists(
    path: list[str | int], value_place: tuple[int, int], key_place: tuple[int, int]
) -> None:
    assert locate(TEXT, path) == value_place
    assert locate(TEXT, path, key=True) == key_place


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (["nothing"], (2, 1)),
        (["params", "model", "depth"], (3, 10)),
        (["params", "train", "epochs", "first"], (5, 13)),
        (["params", "model", "widths", 7], (3, 33)),
        (["params", "model", "widths", "first"], (3, 33)),
    ],
)
def test_deepest_part_is_located_when_the_path_leads_nowhere(path: list[str | int], place: tuple[int, int]) -> None:
    assert locate(TEXT, path) == place


def test_first_character_is_located_when_the_text_is_empty() -> None:
    assert locate("", ["params"]) == (1, 1)
