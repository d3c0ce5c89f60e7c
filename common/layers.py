"""Which layers a model.json may name, and the JSON Schema of that file.

A name is looked up in `LAYERS` and nowhere else: nothing is ever imported by a name that a file gives.
`python -m common.layers` prints the schema. It is committed, so that a model.json is checked without torch; `make lock`
writes it anew.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from torch import nn

from common.catalog import describe_type, read_parameters

CLASSES, SAME = "classes", "same"  # words for an output size: the number of classes, the size of the input
JOINS = ("add", "concat")
# Keys of an item that say what it is, beside the names of the layers; the others say more of it.
GROUP, RESIDUAL, BRANCHES, BLOCK = "layers", "residual", "branches", "block"
SHORTCUT, JOIN, DIM, REPEAT, NAME = "shortcut", "join", "dim", "repeat", "name"
MAX_REPEAT = 1000
_MAX_RECURRENT = 100  # layers in one GRU or LSTM: they are made one by one, before anybody can count them
# Python's `$` also matches before the end of a last line, JavaScript's (in editors) does not.
_BLOCK_NAME = {"type": "string", "pattern": r"^[A-Za-z_][A-Za-z0-9_]*$(?!\n)", "examples": ["refine"]}
_NAME_PATTERN = r"^[a-z][a-z0-9_]*$(?!\n)"

# Arguments that no file gives: where tensors stand, what would make an output of another kind, and `inplace`, which
# would change what a shortcut still needs.
_WITHHELD = {"device", "dtype", "inplace", "return_indices", "sparse", "_weight", "_freeze", "recompute_scale_factor"}
_SIZE = {"anyOf": [{"type": "integer", "minimum": 1}, {"enum": [CLASSES, SAME]}]}
_PLAIN_SIZE = {"type": "integer", "minimum": 1}


_ELEMENTWISE = (
    *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "CELU", "SELU", "GLU", "SiLU", "Mish", "Softplus", "Softsign"),
    *("Sigmoid", "Tanh", "Hardswish", "Hardsigmoid", "Hardtanh", "Softmax", "LogSoftmax"),
    *("Dropout", "AlphaDropout", "LocalResponseNorm"),
)


@dataclass(frozen=True)
class Layer:
    """A layer that a file may name."""

    module: type[nn.Module]
    num_dims: tuple[int, ...] = ()  # of its input, the batch's included; any number of two or more where it is empty
    axis: int = 1  # of the input, whose size the next two mean
    input_size: str = ""  # the argument that is filled in from the input
    output_size: str = ""  # the argument that may be a word
    is_input_size_optional: bool = False  # it may be given all the same
    fixed: Mapping[str, Any] = field(default_factory=dict)  # arguments that are always the same
    takes_indices: bool = False  # whole numbers, where others take numbers with a fraction
    takes_anything: bool = False
    signature: type[nn.Module] | None = None  # the class whose arguments it has, where that is another
    schemas: Mapping[str, Any] = field(default_factory=dict)  # of arguments whose type says too little


def _list_layers() -> Iterator[Layer]:
    padding = {"padding": {"anyOf": [{"enum": ["valid", "same"]}, {"type": "integer"}, _integers(1, 3)]}}
    for dims in (1, 2, 3):
        inputs = (dims + 2,)
        yield Layer(_get(f"Conv{dims}d"), inputs, 1, "in_channels", "out_channels", schemas=padding)
        yield Layer(_get(f"ConvTranspose{dims}d"), inputs, 1, "in_channels", "out_channels")
        yield Layer(_get(f"BatchNorm{dims}d"), (2, 3) if dims == 1 else inputs, 1, "num_features")
        yield Layer(_get(f"InstanceNorm{dims}d"), inputs, 1, "num_features")
        for name in ("MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "Dropout", "ZeroPad", "ReflectionPad"):
            yield Layer(_get(f"{name}{dims}d"), inputs)
    yield Layer(nn.Linear, (), -1, "in_features", "out_features")
    yield Layer(nn.LayerNorm, (), -1, "normalized_shape", is_input_size_optional=True)
    yield Layer(nn.RMSNorm, (), -1, "normalized_shape", is_input_size_optional=True)
    yield Layer(nn.GroupNorm, (), 1, "num_channels")
    sizes = {"num_embeddings": _PLAIN_SIZE, "embedding_dim": _PLAIN_SIZE}
    yield Layer(nn.Embedding, (2,), takes_indices=True, schemas=sizes)
    for recurrent in (nn.GRU, nn.LSTM):
        yield Layer(
            recurrent,
            (3,),
            -1,
            "input_size",
            "hidden_size",
            fixed={"batch_first": True},
            signature=nn.RNNBase,
            schemas={"num_layers": {"type": "integer", "minimum": 1, "maximum": _MAX_RECURRENT}},
        )
    activation = {"activation": {"enum": ["relu", "gelu"]}}
    fixed = {"batch_first": True}
    yield Layer(nn.TransformerEncoderLayer, (3,), -1, "d_model", fixed=fixed, schemas=activation)
    for name in ("Flatten", "Unflatten", "Identity"):
        yield Layer(_get(name), takes_anything=True)
    modes = ["nearest", "linear", "bilinear", "bicubic", "trilinear", "nearest-exact", "area"]
    yield Layer(nn.Upsample, (3, 4, 5), schemas={"mode": {"enum": modes}})
    yield Layer(nn.GELU, schemas={"approximate": {"enum": ["none", "tanh"]}})
    for name in ("PixelShuffle", "PixelUnshuffle", "ChannelShuffle"):
        yield Layer(_get(name), (4,))
    for name in _ELEMENTWISE:
        yield Layer(_get(name))


def _get(name: str) -> type[nn.Module]:
    module: type[nn.Module] = getattr(nn, name)
    return module


def _integers(minimum: int, maximum: int) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "integer"}, "minItems": minimum, "maxItems": maximum}


def _name(layer: Layer) -> str:
    return layer.module.__name__


LAYERS: Mapping[str, Layer] = {_name(layer): layer for layer in sorted(_list_layers(), key=_name)}


def describe_layer(layer: Layer) -> dict[str, Any]:
    """Return the JSON Schema of a layer's arguments."""
    properties: dict[str, Any] = {}
    required = []
    withheld = _WITHHELD | set(layer.fixed) | ({"mode", "proj_size"} if layer.signature else set())
    for name, (annotation, is_required) in read_parameters(layer.signature or layer.module).items():
        schema = layer.schemas.get(name, describe_type(annotation))
        if name in withheld or schema is None:
            continue
        if name == layer.input_size and not layer.is_input_size_optional:
            properties[name] = {"not": {}, "description": "is filled in from the data: leave it out"}
            continue
        properties[name] = _SIZE if name == layer.output_size else schema
        if is_required and name != layer.input_size:
            required.append(name)
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**schema, "required": required} if required else schema


@cache
def build_schema() -> dict[str, Any]:
    """Return the JSON Schema of a model.json."""
    described = {name: describe_layer(layer) for name, layer in LAYERS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "model.json: the architecture of a model (made by `python -m common.layers` from torch.nn)",
        "type": "object",
        "additionalProperties": False,
        "required": [GROUP],
        "properties": {
            "$schema": {"type": "string"},
            "blocks": {
                "type": "object",
                "propertyNames": _BLOCK_NAME,
                "additionalProperties": {"$ref": "#/$defs/layers"},
            },
            GROUP: {"$ref": "#/$defs/layers"},
        },
        "$defs": {
            "layers": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/item"}},
            "item": {
                "if": {"type": "string"},
                "then": {"$ref": "#/$defs/name"},
                "else": {"$ref": "#/$defs/object"},
            },
            "name": _describe_names(described),
            "object": _describe_objects(described),
            **described,
        },
    }


def _describe_names(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a layer that is a name alone."""
    wanting = [name for name, schema in described.items() if "required" in schema]
    example = 'needs arguments, as in {"Linear": {"out_features": 10}}'
    return {"enum": list(LAYERS), "not": {"enum": wanting}, "description": example}


def _describe_objects(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an item with arguments or layers of its own."""
    layers = {"$ref": "#/$defs/layers"}
    reserved = sorted(name for name in {*dir(nn.Sequential()), "write_file"} if re.match(_NAME_PATTERN, name))
    taken = {"not": {"enum": reserved}, "description": "is what torch calls a part of every module: take another"}
    return {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "dependentRequired": {SHORTCUT: [RESIDUAL], JOIN: [BRANCHES], BRANCHES: [JOIN], DIM: [BRANCHES]},
        "properties": {
            **{name: {"$ref": f"#/$defs/{name}"} for name in described},
            GROUP: layers,
            RESIDUAL: layers,
            SHORTCUT: layers,
            BRANCHES: {"type": "array", "minItems": 2, "items": layers},
            JOIN: {"enum": list(JOINS)},
            DIM: {"type": "integer"},
            BLOCK: _BLOCK_NAME,
            REPEAT: {"type": "integer", "minimum": 1, "maximum": MAX_REPEAT},
            NAME: {"type": "string", "pattern": _NAME_PATTERN, "examples": ["classifier"], **taken},
        },
    }


def render_schema() -> str:
    """Return the schema as JSON, a line for each definition."""
    schema = build_schema()
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(part)}" for name, part in schema["$defs"].items())
    head = ",\n".join(f" {json.dumps(key)}: {json.dumps(part)}" for key, part in schema.items() if key != "$defs")
    return f'{{\n{head},\n "$defs": {{\n{lines}\n }}\n}}\n'


if __name__ == "__main__":
    print(render_schema(), end="")
