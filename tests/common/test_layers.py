"""What a model.json may name is a fixed table, and its schema says what torch takes."""

import subprocess
import sys

import pytest
from jsonschema import Draft202012Validator
from torch import nn

from common.layers import LAYERS, build_schema, describe_layer
from tests.checkouts import ROOT


def is_valid(item: object) -> bool:
    return bool(Draft202012Validator(build_schema()).is_valid({"layers": [item]}))


def test_committed_schema_is_what_the_installed_torch_says() -> None:
    committed = ROOT / "pipeline/schemas/architecture.schema.json"
    command = [sys.executable, "-m", "common.layers"]  # in a process to which nothing else has added to torch's modules
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert committed.read_text() == done.stdout, "make lock"


def test_every_layer_is_a_module_of_torch_under_its_own_name() -> None:
    assert len(LAYERS) > 60
    for name, layer in LAYERS.items():
        assert getattr(nn, name) is layer.module
        assert issubclass(layer.module, nn.Module)


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "Module",
        "Sequential",
        "LazyLinear",
        "nn.Linear",
        "torch.nn.Linear",
        "__class__",
        "linear",
        "Lambda",
        "",
    ],
)
def test_name_is_refused_when_it_is_not_in_the_table(name: str) -> None:
    assert name not in LAYERS
    assert not is_valid(name)
    assert not is_valid({name: {}})


@pytest.mark.parametrize(
    "item",
    [
        "ReLU",
        {"ReLU": {}},
        {"Linear": {"out_features": 3}},
        {"Linear": {"out_features": "classes"}, "name": "head"},
        {"Conv2d": {"out_channels": "same", "kernel_size": [3, 1], "padding": "same"}},
        {"LayerNorm": {"normalized_shape": [4, 4]}},
        "LayerNorm",
        {"residual": ["ReLU"], "shortcut": ["Identity"], "repeat": 2},
        {"branches": [["ReLU"], ["Tanh"]], "join": "concat", "dim": 2},
        {"block": "a", "repeat": 1000},
    ],
)
def test_item_is_valid_when_it_is_written_as_documented(item: object) -> None:
    assert is_valid(item)


@pytest.mark.parametrize(
    "item",
    [
        3,
        None,
        [],
        {},
        "Linear",
        {"Linear": {}},
        {"Linear": {"out_features": 0}},
        {"Linear": {"out_features": 2.5}},
        {"Linear": {"out_features": True}},
        {"Linear": {"out_features": "many"}},
        {"Linear": {"out_features": 3, "in_features": 4}},
        {"Linear": {"out_features": 3, "device": "cuda"}},
        {"ReLU": {"inplace": True}},
        {"Conv2d": {"out_channels": 3, "kernel_size": [3, 3, 3]}},
        {"GRU": {"hidden_size": 3, "num_layers": 10**9}},
        {"residual": []},
        {"shortcut": ["ReLU"]},
        {"branches": [["ReLU"], ["ReLU"]]},
        {"branches": [["ReLU"]], "join": "add"},
        {"branches": [["ReLU"], ["ReLU"]], "join": "mul"},
        {"block": "a", "repeat": 0},
        {"block": "a", "repeat": 10**9},
        {"ReLU": {}, "name": "forward"},
        {"ReLU": {}, "name": "half"},
        {"ReLU": {}, "name": "write_file"},
        {"ReLU": {}, "name": "3"},
        {"ReLU": {}, "name": "a.b"},
        {"ReLU": {}, "name": "half\n"},
        {"block": "a\n"},
    ],
)
def test_item_is_refused_when_it_says_what_no_layer_takes(item: object) -> None:
    assert not is_valid(item)


def test_sizes_that_the_data_says_are_no_arguments() -> None:
    described = describe_layer(LAYERS["Conv2d"])
    assert described["required"] == ["out_channels", "kernel_size"]
    assert described["properties"]["in_channels"]["not"] == {}
    assert "batch_first" not in describe_layer(LAYERS["LSTM"])["properties"]
