"""What is wrong with a model.json is said with its place, before anything runs."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.architectures import MAX_BYTES, check_architecture
from pipeline.errors import ConfigError

FUZZ = settings(max_examples=200, deadline=None, derandomize=True, database=None)
HEAD = '"Flatten", {"Linear": {"out_features": "classes"}}'


def find(text: str | bytes) -> list[str]:
    """Return the faults of a model.json."""
    try:
        check_architecture(text.encode() if isinstance(text, str) else text, "model.json")
    except ConfigError as error:
        return [str(problem).removeprefix("model.json:").strip() for problem in error.problems]
    return []


def test_nothing_is_wrong_when_a_model_is_written_as_documented() -> None:
    block = '{"b": [{"residual": [{"Conv2d": {"out_channels": "same", "kernel_size": 3, "padding": "same"}}]}]}'
    items = (
        f'{{"block": "b", "repeat": 2, "name": "body"}}, {{"branches": [["ReLU"], ["Tanh"]], "join": "add"}}, {HEAD}'
    )
    assert find(f'{{"$schema": "x", "blocks": {block}, "layers": [{items}]}}') == []


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        ('"Relu"', "2:2: 'layers.0' is \"Relu\", which is not known; did you mean 'ReLU'?"),
        ('"os.system"', "2:2: 'layers.0' is \"os.system\", which is not known"),
        ('{"Conv2": {}}', "2:3: unknown key 'Conv2' in 'layers.0'; did you mean 'Conv2d'?"),
        ('{"os.system": {}}', "2:3: unknown key 'os.system' in 'layers.0'"),
        ('{"type": "Linear"}', "2:3: unknown key 'type' in 'layers.0'"),
        ('"Linear"', '2:2: \'layers.0\' needs arguments, as in {"Linear": {"out_features": 10}}'),
        ('{"Linear": {}}', "2:13: 'layers.0.Linear' lacks the key 'out_features'"),
        (
            '{"Linear": {"out_feature": 3, "out_features": 3}}',
            "2:14: unknown key 'out_feature' in 'layers.0.Linear'; did you mean 'out_features'?",
        ),
        (
            '{"Linear": {"out_features": 3, "in_features": 3}}',
            "2:48: 'layers.0.Linear.in_features' is filled in from the data: leave it out",
        ),
        (
            '{"Linear": {"out_features": "clases"}}',
            "2:30: 'layers.0.Linear.out_features' is \"clases\", wanted a whole number of at least 1 "
            'or one of "classes", "same"',
        ),
        (
            '{"Dropout": {"p": "half"}}',
            "2:20: 'layers.0.Dropout.p' is \"half\", wanted a number",
        ),
        ("3", "2:2: 'layers.0' is 3, wanted a mapping of keys to values"),
        ("{}", "2:2: 'layers.0' is empty"),
        ('{"residual": []}', "2:15: 'layers.0.residual' is empty"),
        (
            '{"shortcut": ["ReLU"]}',
            "2:2: 'layers.0' lacks the key 'residual', without which 'shortcut' means nothing",
        ),
        (
            '{"branches": [["ReLU"], ["ReLU"]]}',
            "2:2: 'layers.0' lacks the key 'join', without which 'branches' means nothing",
        ),
        (
            '{"branches": [["ReLU"], ["Relu"]], "join": "add"}',
            "2:27: 'layers.0.branches.1.0' is \"Relu\", which is not known; did you mean 'ReLU'?",
        ),
        (
            '{"ReLU": {}, "repeat": 1000000000}',
            "2:25: 'layers.0.repeat' is 1000000000, wanted a whole number of at least 1 and of at most 1000",
        ),
        (
            '{"ReLU": {}, "name": "half"}',
            "2:23: 'layers.0.name' is what torch calls a part of every module: take another",
        ),
        ('{"ReLU": {}, "name": "A b"}', "2:23: 'layers.0.name' is \"A b\", wanted a text like classifier"),
        ('{"ReLU": {}, "Tanh": {}}', "2:2: 'layers.0' is ReLU and Tanh at once: take one"),
        ('{"name": "a", "repeat": 2}', "2:2: 'layers.0' says no layer, only name, repeat"),
        ('{"block": "bodi"}', "2:12: there is no block 'bodi'; did you mean 'body'?"),
        (
            '{"ReLU": {}, "name": "a"}, {"Tanh": {}, "name": "a"}',
            "2:50: the name 'a' is taken by a layer before it",
        ),
    ],
)
def test_fault_has_its_place_when_an_item_is_wrong(item: str, fault: str) -> None:
    assert find(f'{{"blocks": {{"body": ["ReLU"]}}, "layers": [\n {item}\n, {HEAD}]}}') == [fault]


def test_block_is_named_when_it_stands_in_itself() -> None:
    blocks = '"a": [{"block": "b"}], "b": [{"residual": [{"block": "a"}]}], "c": [{"block": "a"}]'
    assert find(f'{{"blocks": {{{blocks}}}, "layers": [{HEAD}]}}') == [
        "1:13: the block 'a' stands in itself",
        "1:36: the block 'b' stands in itself",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "1:1: not JSON: Expecting value"),
        ('{"layers": [', "1:13: not JSON: Expecting value"),
        ('{"layers": ["ReLU"]', "1:20: not JSON: Expecting ',' delimiter"),
        ("layers: [ReLU]", "1:1: not JSON: Expecting value"),
        (b'{"layers":\n ["\xff"]}', "2:4: not JSON: no text in UTF-8"),
        (b"\xff\xfe{\x00}\x00", "1:1: not JSON: no text in UTF-8"),
        (b"\xef\xbb\xbf{}", "1:1: not JSON: Unexpected UTF-8 BOM (decode using utf-8-sig)"),
        ('{"layers": [{"Dropout": {"p": NaN}}]}', "not JSON: NaN is no number"),
        ('{"layers": [{"Dropout": {"p": 1e999}}]}', "not JSON: 1e999 is too large a number"),
        ('{"layers": ["\\ud800"]}', "not JSON: half of a surrogate pair is no text"),
        ('{"layers": [],\n "layers": []}', "2:2: the key 'layers' comes twice"),
        ("[" * 10_000, "is nested deeper than 32 levels"),
        ('{"a":' * 10_000, "is nested deeper than 32 levels"),
        ("[" * 40 + "]" * 40, "is nested deeper than 32 levels"),
        (" " * MAX_BYTES + "{}", "is larger than 256 KiB"),
        ("null", "1:1: the file is empty, wanted a mapping of keys to values"),
        ("[]", "1:1: the file is [], wanted a mapping of keys to values"),
        ("{}", "1:1: the file lacks the key 'layers'"),
        ('{"layers": []}', "1:12: 'layers' is empty"),
        ('{"blocks": {"a b": ["ReLU"]}, "layers": ["ReLU"]}', "1:12: 'blocks' is \"a b\", wanted a text like refine"),
        ('{"layer": ["ReLU"], "layers": ["ReLU"]}', "1:2: unknown key 'layer'; did you mean 'layers'?"),
    ],
)
def test_fault_is_found_when_the_file_as_a_whole_is_wrong(text: str | bytes, fault: str) -> None:
    (found, *_) = find(text)
    assert found.startswith(fault)


def test_model_is_sound_when_it_is_as_deep_as_is_allowed() -> None:
    assert find('{"layers": [' * 16 + '"ReLU"' + "]}" * 16) == []
    assert find('{"layers": [' * 17 + '"ReLU"' + "]}" * 17) == ["is nested deeper than 32 levels"]


def test_only_the_first_faults_are_shown_when_there_are_many() -> None:
    assert len(find('{"layers": [' + ", ".join(['"Relu"'] * 1000) + "]}")) == 10


def test_fault_has_no_place_when_yaml_reads_the_file_otherwise() -> None:
    key = "k" * 2000  # YAML's keys are shorter
    assert find(f'{{"{key}": 1, "layers": ["ReLU"]}}') == [f"unknown key '{key}'; there are $schema, blocks, layers"]
    assert find(f'{{"{key}": 1, "{key}": 1}}') == [f"the key '{key}' comes twice"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["ReLU", "Linear", "Relu"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text() | st.sampled_from(["layers", "blocks", "block", "residual", "branches", "join", "ReLU", "name"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@FUZZ
@given(JSON)
def test_any_json_is_checked(value: Any) -> None:
    document = {"layers": [value], "blocks": {"a": [value]}}
    for fault in find(json.dumps(document, ensure_ascii=False).encode(errors="surrogatepass")):
        assert fault


@FUZZ
@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode(errors="replace")))
def test_any_bytes_are_checked(text: bytes) -> None:
    assert find(text)
