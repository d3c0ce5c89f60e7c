"""A model from data: what it builds, and what it refuses before it takes memory."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from common import architecture
from common.architecture import (
    MAX_BYTES,
    ArchitectureError,
    Branches,
    DeclaredModel,
    Residual,
    build,
    read_description,
)
from common.dataset import Metadata
from common.file_model import Config
from common.layers import LAYERS, describe_layer
from tests.datasets import make_dataset

METADATA = make_dataset().metadata  # inputs of (1, 4, 4), three classes
HEAD: list[Any] = ["Flatten", {"Linear": {"out_features": "classes"}}]
HEAD_NAMES = ["Flatten", "Linear"]
CONV: dict[str, Any] = {"Conv2d": {"out_channels": 8, "kernel_size": 3, "padding": 1}}
TOKENS = replace(METADATA, input_shape=(12,), input_dtype="int64")


def make(*items: Any, metadata: Metadata = METADATA, **blocks: Any) -> nn.Sequential:
    """Return the model of these items and blocks."""
    return build({"blocks": blocks, "layers": list(items)}, metadata)


def refuse(*items: Any, metadata: Metadata = METADATA, **blocks: Any) -> str:
    """Return the message with which these items are refused."""
    with pytest.raises(ArchitectureError) as raised:
        make(*items, metadata=metadata, **blocks)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_sizes_come_from_the_data_when_they_are_left_out() -> None:
    model = make(CONV, "BatchNorm2d", "ReLU", {"GroupNorm": {"num_groups": 2}}, *HEAD)
    assert [type(layer).__name__ for layer in model] == ["Conv2d", "BatchNorm2d", "ReLU", "GroupNorm", *HEAD_NAMES]
    shapes = [tuple(parameter.shape) for parameter in model.parameters()]
    assert shapes == [(8, 1, 3, 3), *[(8,)] * 5, (3, 128), (3,)]
    assert model(torch.rand(5, 1, 4, 4)).shape == (5, 3)


def test_weights_are_those_that_torch_draws_for_the_same_layers() -> None:
    torch.manual_seed(0)
    model = make(CONV, *HEAD)
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Flatten(), nn.Linear(128, 3))
    assert model.state_dict().keys() == ours.state_dict().keys()
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in ours.state_dict().items())


def test_no_random_number_is_drawn_when_a_model_is_refused() -> None:
    state = torch.random.get_rng_state()
    refuse(CONV, {"Dropout": {"p": 0.5}})
    assert torch.equal(torch.random.get_rng_state(), state)


def test_model_is_made_when_nobody_wants_gradients() -> None:
    with torch.no_grad():
        model = make(CONV, *HEAD)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_residual_adds_what_its_layers_give_to_its_inputs() -> None:
    model = make({"residual": [CONV | {"name": "conv"}], "shortcut": [CONV]}, {"residual": ["ReLU"]}, *HEAD)
    first, second = model[0], model[1]
    assert isinstance(first, Residual)
    assert isinstance(second, Residual)
    inputs = torch.rand(5, 1, 4, 4)
    expected = first.residual(inputs) + first.shortcut(inputs)
    assert torch.equal(first(inputs), expected)
    assert torch.equal(second(expected), expected.relu() + expected)
    assert "0.residual.conv.weight" in model.state_dict()


@pytest.mark.parametrize(("join", "channels"), [("concat", 16), ("add", 8)])
def test_branches_are_joined(join: str, channels: int) -> None:
    model = make({"branches": [[CONV], [CONV, "Tanh"]], "join": join}, *HEAD)
    branches = model[0]
    assert isinstance(branches, Branches)
    inputs = torch.rand(5, 1, 4, 4)
    parts = [branch(inputs) for branch in branches.branches]
    expected = torch.cat(parts, 1) if join == "concat" else parts[0] + parts[1]
    assert torch.equal(branches(inputs), expected)
    assert expected.shape == (5, channels, 4, 4)


def test_block_has_weights_of_its_own_each_time_when_it_is_repeated() -> None:
    same = {"Conv2d": {"out_channels": "same", "kernel_size": 1}}
    model = make(CONV, {"block": "mix", "repeat": 3, "name": "body"}, *HEAD, mix=[same, "ReLU"])
    names = [name for name, _ in model.named_parameters() if name.startswith("body") and name.endswith("weight")]
    assert names == [f"body.{index}.0.weight" for index in range(3)]
    first, second = (model.get_parameter(name) for name in names[:2])
    assert first.shape == (8, 8, 1, 1)
    assert not torch.equal(first, second)


def test_sequences_are_read_in_steps() -> None:
    model = make(
        {"Embedding": {"num_embeddings": 20, "embedding_dim": 6}},
        {"GRU": {"hidden_size": 4, "bidirectional": True}},
        {"TransformerEncoderLayer": {"nhead": 2, "dim_feedforward": 8}},
        {"LSTM": {"hidden_size": "same"}},
        *HEAD,
        metadata=TOKENS,
    )
    tokens = torch.randint(20, (5, 12))
    assert model.eval()(tokens).shape == (5, 3)
    alone = model(tokens[:1])
    assert torch.allclose(model(tokens)[:1], alone, atol=1e-6)  # the first axis is the batch in all of them


def test_any_output_will_do_when_the_data_has_no_classes() -> None:
    metadata = replace(METADATA, classes=())
    model = make("Flatten", {"Linear": {"out_features": 2}}, metadata=metadata)
    assert model(torch.rand(5, 1, 4, 4)).shape == (5, 2)
    assert "no classes: give out_features" in refuse(*HEAD, metadata=metadata)


def test_places_have_outputs_of_their_own_when_they_have_classes() -> None:
    metadata = replace(METADATA, target_shape=(4, 4))
    model = make(CONV, {"Conv2d": {"out_channels": "classes", "kernel_size": 1}}, metadata=metadata)
    assert model(torch.rand(5, 1, 4, 4)).shape == (5, 3, 4, 4)
    wanted = "the model gives (batch, 3), wanted (batch, classes, …) = (batch, 3, 4, 4)"
    assert wanted in refuse(*HEAD, metadata=metadata)
    several = replace(METADATA, target_shape=(3,), target_dtype="float32")
    assert make(*HEAD, metadata=several)(torch.rand(5, 1, 4, 4)).shape == (5, 3)


LINEAR = {"Linear": {"out_features": 3}}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["Flatten"], "the model gives (batch, 16), wanted (batch, classes) = (batch, 3)"),
        ([CONV, LINEAR], "the model gives (batch, 8, 4, 3), wanted (batch, classes) = (batch, 3)"),
        (
            ["Flatten", CONV],
            "layers.1.Conv2d takes (batch, channels, height, width), and is given (batch, 16)",
        ),
        (
            [{"residual": [CONV]}],
            "layers.0: the residual gives (batch, 8, 4, 4), and without a shortcut it is added to (batch, 1, 4, 4): "
            "both have to be the same",
        ),
        (
            [{"residual": [CONV], "shortcut": [{"MaxPool2d": {"kernel_size": 2}}]}],
            "layers.0: the residual gives (batch, 8, 4, 4), its shortcut (batch, 1, 2, 2): both have to be the same",
        ),
        (
            [{"branches": [[CONV], ["ReLU"]], "join": "add"}],
            "layers.0: the branches give (batch, 8, 4, 4), (batch, 1, 4, 4): to add them, all have to be the same",
        ),
        (
            [{"branches": [[CONV], ["Flatten"]], "join": "concat"}],
            "layers.0: the branches give (batch, 8, 4, 4), (batch, 16), "
            "which cannot be put beside each other along dim 1",
        ),
        ([{"Flatten": {"start_dim": 0}}], "layers.0.Flatten mixes the samples of a batch: it gives the shape (112,)"),
        (
            [{"branches": [["ReLU"], ["ReLU"]], "join": "concat", "dim": 0}],
            "layers.0 mixes the samples of a batch: it gives the shape (14, 1, 4, 4)",
        ),
        (["os.system"], "layers.0: 'os.system' is no layer that may be named"),
        (["Linear"], 'layers.0: needs arguments, as in {"Linear": {"out_features": 10}}'),
        (
            [{"Linear": {"out_features": 3, "in_features": 4}}],
            "layers.0.Linear.in_features: is filled in from the data: leave it out",
        ),
        ([{"ReLU": {}, "Tanh": {}}], "layers.0 is ReLU and Tanh at once: wanted one"),
        ([{"name": "a"}], "layers.0 is no layer: wanted one"),
        ([{"ReLU": {}, "name": "a"}] * 2, "layers.1: the name 'a' is taken by a layer before it"),
        ([{"block": "a"}], "layers.0: there is no block 'a'"),
        (
            [{"Linear": {"out_features": 10**6}}] * 2,
            "layers.1.Linear: the model has 1,000,006,000,000 parameters up to here, more than 1,000,000,000",
        ),
        (
            [{"Upsample": {"scale_factor": 10_000}}],
            "layers.0.Upsample gives (batch, 1, 40000, 40000), more than 268,435,456 values a sample",
        ),
    ],
)
def test_place_and_shapes_are_named_when_layers_do_not_fit(items: list[Any], message: str) -> None:
    assert refuse(*items) == message


@pytest.mark.parametrize(
    "item",
    [
        {"Conv2d": {"out_channels": 3, "kernel_size": 9}},
        {"Conv2d": {"out_channels": 3, "kernel_size": 10**18}},
        {"Conv2d": {"out_channels": 3, "kernel_size": 3, "groups": 7}},
        {"Linear": {"out_features": 10**30}},
        {"GroupNorm": {"num_groups": 0}},
        {"Dropout": {"p": 3}},
        {"Upsample": {"scale_factor": 1e300}},
        {"Upsample": {}},
        {"ZeroPad2d": {"padding": -9}},
        {"MaxPool2d": {"kernel_size": [1, 2, 3]}},
        {"LayerNorm": {"normalized_shape": [3]}},
        {"Unflatten": {"dim": 1, "unflattened_size": [5, 5]}},
    ],
)
def test_layer_is_named_with_what_torch_says_when_arguments_are_impossible(item: dict[str, Any]) -> None:
    (name,) = item
    assert refuse(item).startswith(f"layers.0.{name} ")


def test_type_of_the_inputs_is_named_when_a_layer_does_not_take_it() -> None:
    image_of_tokens = replace(METADATA, input_dtype="int64")
    found = refuse(CONV, *HEAD, metadata=image_of_tokens)
    assert found == "layers.0.Conv2d takes numbers with a fraction (float32), and is given int64"
    embedding = {"Embedding": {"num_embeddings": 20, "embedding_dim": 6}}
    found = refuse("Flatten", embedding)
    assert found == "layers.1.Embedding takes whole numbers (int64), and is given float32"
    assert "'system'" in refuse(*HEAD, metadata=replace(METADATA, input_dtype="system"))


def test_blocks_are_refused_when_they_stand_in_each_other() -> None:
    found = refuse({"block": "a"}, a=[{"block": "b"}], b=["ReLU", {"block": "a"}])
    assert found == "blocks.b.1: blocks stand in each other: a → b → a (the block of layers.0)"


def test_layers_are_counted_when_repetitions_stand_in_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architecture, "MAX_LAYERS", 30)
    found = refuse({"block": "a", "repeat": 1000}, a=[{"ReLU": {}, "repeat": 1000}])
    assert found == "blocks.a.0.ReLU: there are more than 30 layers (the block of layers.0)"


def test_nesting_is_bounded_when_blocks_stand_in_blocks() -> None:
    blocks = {f"b{i}": [{"block": f"b{i + 1}"}] for i in range(1000)} | {"b1000": ["ReLU"]}
    assert "deeper than 32 levels" in refuse({"block": "b0"}, **blocks)


@pytest.mark.parametrize(
    "description",
    [
        None,
        3,
        "ReLU",
        [],
        {},
        {"layers": {}},
        {"layers": ["ReLU"], "x\n": 1},
        {"layers": ["x\n"]},
        {"blocks": {"\n": [1]}},
    ],
)
def test_description_is_refused_when_it_is_no_model_at_all(description: Any) -> None:
    with pytest.raises(ArchitectureError) as raised:
        build(description, METADATA)
    assert "\n" not in str(raised.value)


def test_description_is_built_when_it_is_as_deep_as_is_allowed() -> None:
    item: Any = HEAD[1]
    for _ in range(14):
        item = {"layers": [item]}
    assert make("Flatten", item)(torch.rand(5, 1, 4, 4)).shape == (5, 3)


def test_description_is_refused_when_it_is_too_deep() -> None:
    item: Any = "ReLU"
    for _ in range(10_000):
        item = {"layers": [item]}
    assert refuse(item) == "the description is nested deeper than 32 levels"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "model.json is not JSON: Expecting value"),
        (b'{"layers": ["ReLU"', "model.json is not JSON: Expecting"),
        (b'{"layers": ["\xff"]}', "model.json is not JSON: 'utf-8' codec can't decode"),
        (b"\xff\xfe{\x00}\x00", "model.json is not JSON: 'utf-8' codec"),
        (b'{"layers": [{"Dropout": {"p": NaN}}]}', "model.json is not JSON: NaN is no number of JSON"),
        (b'{"layers": [{"Dropout": {"p": -Infinity}}]}', "model.json is not JSON: -Infinity is no number"),
        (b'{"layers": [{"Dropout": {"p": 1e999}}]}', "model.json is not JSON: 1e999 is too large a number"),
        (b'{"layers": [], "layers": []}', "model.json is not JSON: the key 'layers' comes twice"),
        (b"[" * 10_000, "model.json is nested deeper than 32 levels"),
        (b"9" * 5000, "model.json is not JSON: Exceeds the limit"),
        (b" " * (MAX_BYTES + 1), "model.json is larger than 256 KiB"),
    ],
)
def test_file_is_refused_when_it_is_not_strict_json(tmp_path: Path, text: bytes, message: str) -> None:
    file = tmp_path / "model.json"
    file.write_bytes(text)
    with pytest.raises(ArchitectureError) as raised:
        read_description(file)
    assert str(raised.value).startswith(message)


def test_file_is_named_when_the_model_that_it_describes_does_not_fit(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    file.write_text('{"layers": ["Flatten"]}')
    with pytest.raises(ArchitectureError, match=r"^model\.json: the model gives \(batch, 16\)"):
        DeclaredModel(Config(), METADATA, file)


def test_parts_have_the_names_in_the_file_when_it_gives_some(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    features = {"name": "features", "layers": [CONV, "Flatten"]}
    file.write_text(json.dumps({"layers": [features, LINEAR | {"name": "classifier"}]}))
    model = DeclaredModel(Config(), METADATA, file)
    assert list(model.state_dict()) == [
        *("features.0.weight", "features.0.bias"),
        *("classifier.weight", "classifier.bias"),
    ]
    assert model(torch.rand(5, 1, 4, 4)).shape == (5, 3)
    assert model.get_submodule("features") is model.features


FUZZ = settings(max_examples=200, deadline=None, derandomize=True, database=None)
SIZES = st.sampled_from([-1, 0, 1, 2, 3, 8, 10**6, 10**12, 10**30, "same", "classes", "x", None, 0.5, True, [2, 2], []])


def _draw_arguments(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a layer with values for some of its arguments, most often for those that it needs."""
    described = describe_layer(LAYERS[name])
    needed = dict.fromkeys(described.get("required", ()), SIZES)
    others = {
        key: SIZES for key, schema in described["properties"].items() if key not in needed and "not" not in schema
    }
    return st.fixed_dictionaries({name: st.fixed_dictionaries(needed, optional=others)})


ITEMS = st.recursive(
    st.sampled_from(list(LAYERS)).flatmap(_draw_arguments)
    | st.sampled_from([*LAYERS, "os.system", 3, None, CONV, {"block": "a"}]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: {"layers": items, "repeat": 2}),
        st.lists(inner, max_size=3).map(lambda items: {"residual": items}),
        st.lists(st.lists(inner, max_size=2), max_size=3).map(lambda many: {"branches": many, "join": "concat"}),
    ),
    max_leaves=8,
)


def find_fault(function: Callable[..., Any], *args: Any) -> str:
    """Return the message with which a call is refused, nothing where it is not; any other error passes."""
    try:
        function(*args)
    except ArchitectureError as error:
        return str(error)
    return ""


def check(items: list[Any], block: list[Any]) -> None:
    """Build a model and let it run."""
    assert make(*items, *HEAD, a=block).eval()(torch.rand(2, 1, 4, 4)).shape == (2, 3)


@FUZZ
@given(st.lists(ITEMS, max_size=3), st.lists(ITEMS, max_size=2))
def test_any_description_is_built_or_refused_in_one_line(items: list[Any], block: list[Any]) -> None:
    assert "\n" not in find_fault(check, items, block)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(["layers", "blocks"]), inner)
    ),
    max_leaves=10,
)


@FUZZ
@given(JSON)
def test_any_value_is_refused_in_one_line_when_it_is_no_model(value: Any) -> None:
    fault = find_fault(build, value, METADATA)
    assert fault
    assert "\n" not in fault


@FUZZ
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_bytes(text)
    assert find_fault(read_description, file)[:9] in ("", "any.json ")
