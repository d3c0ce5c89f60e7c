"""A model from a model.json: layers of torch.nn by name, whose input sizes come from the data.

The file is data: what it may say is described in `common.layers`, and nothing in it is code. Before memory is taken,
the model is laid out on torch's meta device, which knows shapes and no values: what does not fit, or would be too
large, is refused there.
"""

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonschema import Draft202012Validator, ValidationError
from torch import Tensor, nn

from common.dataset import Metadata
from common.file_model import Config, FileModel
from common.layers import (
    BLOCK,
    BRANCHES,
    CLASSES,
    DIM,
    GROUP,
    JOIN,
    LAYERS,
    NAME,
    REPEAT,
    RESIDUAL,
    SAME,
    SHORTCUT,
    Layer,
    build_schema,
)

MAX_BYTES = 2**18  # of a file
MAX_DEPTH = 32  # lists and mappings inside each other, in the file
MAX_NESTING = 32  # layers inside layers, blocks put in their places
MAX_LAYERS = 4000  # repetitions counted
MAX_PARAMETERS = 10**9
MAX_VALUES = 2**28  # that one layer gives for one sample
FILE_NAME = "architecture.json"  # in the folder of a built model
_MAX_REASON = 200  # characters of what torch or the schema says
_BATCH = 7  # samples of the trial: no other size is likely to be the same
_DIMS = {2: "features", 3: "channels, length", 4: "channels, height, width", 5: "channels, depth, height, width"}

Factory = Callable[[], nn.Module]


class ArchitectureError(ValueError):
    """A description is none of a model, or of none that takes this data. The message is one line."""


class _Laid(NamedTuple):
    """A part that is laid out."""

    factory: Factory  # makes it, for real
    outputs: Tensor  # on the meta device: what it gives for a batch


class Chain(nn.Sequential):
    """Layers one after the other; of what gives several things, as GRU does, the first goes on."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the last layer gives."""
        return _run(self, inputs)


class Residual(nn.Module):
    """Layers beside a shortcut, added."""

    def __init__(self, residual: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.residual, self.shortcut = residual, shortcut

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the sum."""
        outputs: Tensor = self.residual(inputs) + self.shortcut(inputs)
        return outputs


class Branches(nn.Module):
    """Several chains with the same input, whose outputs are added or put beside each other."""

    def __init__(self, branches: Sequence[nn.Module], dim: int | None) -> None:
        super().__init__()
        self.branches, self.dim = nn.ModuleList(branches), dim

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs of all branches, concatenated along `dim`, or their sum where that is None."""
        outputs = [branch(inputs) for branch in self.branches]
        return sum(outputs[1:], outputs[0]) if self.dim is None else torch.cat(outputs, self.dim)


class DeclaredModel(FileModel):
    """The model that a model.json describes: (batch, *input_shape) → (batch, classes)."""

    def __init__(self, config: Config, metadata: Metadata, file: Path) -> None:
        super().__init__(config, metadata, file)
        self._description = read_description(file)
        try:
            layers = build(self._description, metadata)
        except ArchitectureError as error:
            raise ArchitectureError(f"{file.name}: {error}") from None
        for name, layer in layers.named_children():  # its own children: a name in the file is the name of a part
            self.add_module(name, layer)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the last layer gives."""
        return _run(self, inputs)

    def write_file(self, folder: Path) -> str:
        """Write the description into `folder`; return the file's name."""
        (folder / FILE_NAME).write_text(json.dumps(self._description, indent=1) + "\n")
        return FILE_NAME


def _run(layers: nn.Module, inputs: Tensor) -> Tensor:
    for layer in layers.children():
        outputs = layer(inputs)
        inputs = outputs[0] if isinstance(outputs, tuple) else outputs
    return inputs


def read_description(path: Path) -> Any:
    """Return the data in a model.json. Raises ArchitectureError where it is not strict JSON, or too much of it."""
    if path.stat().st_size > MAX_BYTES:
        raise ArchitectureError(f"{path.name} is larger than {MAX_BYTES // 1024} KiB")
    try:
        text = path.read_bytes().decode()
        return json.loads(text, object_pairs_hook=_take_pairs, parse_constant=_refuse, parse_float=_take_float)
    except RecursionError:
        raise ArchitectureError(f"{path.name} is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:  # of the encoding, too
        raise ArchitectureError(f"{path.name} is not JSON: {error}") from None


def _take_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(key for key in keys if keys.count(key) > 1)}' comes twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _take_float(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text} is too large a number")
    return float(text)


def build(description: Any, metadata: Metadata) -> nn.Sequential:
    """Return the model that plain data describes, its weights freshly drawn.

    Raises ArchitectureError, naming the place in the description, where it describes none that takes inputs of the
    shape and type in `metadata`, or gives something else than (batch, classes), with the places that have them after.
    """
    _check(description)
    layout = _Layout(description.get("blocks", {}), len(metadata.classes))
    inputs = _make_inputs(metadata)
    with warnings.catch_warnings(), torch.enable_grad():  # some layers compute otherwise without gradients
        warnings.simplefilter("ignore")  # the real layers warn again
        laid = layout.lay(description[GROUP], inputs, _Place(GROUP))
    _check_classes(laid.outputs, metadata)
    try:
        model = laid.factory()
    except (RuntimeError, ValueError, TypeError) as error:
        raise ArchitectureError(f"torch cannot make the layers: {_say(error)}") from error
    assert isinstance(model, nn.Sequential)
    return model


@cache
def _validator() -> Any:
    return Draft202012Validator(build_schema())


def _check(description: Any) -> None:
    """Check all that can be said without shapes. Raises ArchitectureError for the first fault."""
    if not _is_shallow(description):
        raise ArchitectureError(f"the description is nested deeper than {MAX_DEPTH} levels")
    faults = _validator().iter_errors(description)
    if fault := min(faults, key=lambda fault: list(map(str, fault.absolute_path)), default=None):
        place = ".".join(map(str, fault.absolute_path)) or "the description"
        raise ArchitectureError(" ".join(f"{place}: {_explain(fault)}".split())[:_MAX_REASON])


def _explain(fault: ValidationError) -> str:
    if fault.validator == "enum" and fault.validator_value == list(LAYERS):
        return f"'{fault.instance}' is no layer that may be named"
    reason = fault.schema["description"] if fault.validator == "not" else fault.message  # type: ignore[index]
    return str(reason)


def _is_shallow(value: Any) -> bool:
    """Say whether lists and mappings stand in each other no deeper than is allowed."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = [part for parts in inner for part in parts]
    return not level


def _make_inputs(metadata: Metadata) -> Tensor:
    dtype = getattr(torch, metadata.input_dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise ArchitectureError(
            f"the data's inputs are of the type '{metadata.input_dtype}', which torch does not have"
        )
    return torch.empty((_BATCH, *metadata.input_shape), dtype=dtype, device="meta")


class _Place(NamedTuple):
    """Where an item stands."""

    path: str  # in the description
    blocks: tuple[str, ...] = ()  # those that it stands in
    depth: int = 0  # layers that it stands in

    def inside(self, *parts: str | int) -> "_Place":
        """Return the place of a list that an item at this place holds."""
        return _Place(".".join(map(str, (self.path, *parts))), self.blocks, self.depth + 1)


def _check_classes(outputs: Tensor, metadata: Metadata) -> None:
    if not metadata.classes:
        return
    places = metadata.target_shape
    has_places = places and metadata.target_dtype.startswith("int") and places != (len(metadata.classes),)
    wanted = (_BATCH, len(metadata.classes), *(places if has_places else ()))
    if tuple(outputs.shape) != wanted:
        named = f"(batch, classes{', …' if has_places else ''}) = (batch, {', '.join(map(str, wanted[1:]))})"
        raise ArchitectureError(f"the model gives {_show(outputs)}, wanted {named}")


class _Layout:
    """The layers of one model, laid out on the meta device."""

    def __init__(self, blocks: Mapping[str, Any], num_classes: int) -> None:
        self._blocks = blocks
        self._num_classes = num_classes
        self._num_layers = 0
        self._num_parameters = 0

    def lay(self, items: Sequence[Any], inputs: Tensor, place: _Place) -> _Laid:
        """Lay out the items of the list at `place`, one after the other."""
        if place.depth > MAX_NESTING:
            raise ArchitectureError(f"{place.path}: layers stand in layers deeper than {MAX_NESTING} levels")
        parts: dict[str, Factory] = {}
        for index, item in enumerate(items):
            at = place._replace(path=f"{place.path}.{index}")
            name = item.get(NAME, str(index)) if isinstance(item, dict) else str(index)
            if name in parts:
                raise ArchitectureError(f"{at.path}: the name '{name}' is taken by a layer before it")
            parts[name], inputs = self._lay_repeated(item, inputs, at)
        return _Laid(partial(_make_chain, parts), inputs)

    def _lay_repeated(self, item: Any, inputs: Tensor, place: _Place) -> _Laid:
        if not (isinstance(item, dict) and REPEAT in item):
            return self._lay_item(item, inputs, place)
        parts: dict[str, Factory] = {}
        for index in range(item[REPEAT]):
            parts[str(index)], inputs = self._lay_item(item, inputs, place)
        return _Laid(partial(_make_chain, parts), inputs)

    def _lay_item(self, item: Any, inputs: Tensor, place: _Place) -> _Laid:
        kind = _find_kind(item, place.path)
        if kind == GROUP:
            return self.lay(item[GROUP], inputs, place.inside(GROUP))
        if kind in (BLOCK, RESIDUAL, BRANCHES):
            lay = {BLOCK: self._lay_block, RESIDUAL: self._lay_residual, BRANCHES: self._lay_branches}[kind]
            return lay(item, inputs, place)
        return self._lay_layer(kind, item[kind] if isinstance(item, dict) else {}, inputs, place.path)

    def _lay_block(self, item: Mapping[str, Any], inputs: Tensor, place: _Place) -> _Laid:
        name = item[BLOCK]
        if name not in self._blocks:
            raise ArchitectureError(f"{place.path}: there is no block '{name}'")
        if name in place.blocks:
            circle = " → ".join([*place.blocks[place.blocks.index(name) :], name])
            raise ArchitectureError(f"{place.path}: blocks stand in each other: {circle}")
        try:
            return self.lay(
                self._blocks[name], inputs, _Place(f"blocks.{name}", (*place.blocks, name), place.depth + 1)
            )
        except ArchitectureError as error:
            if place.blocks:
                raise
            raise ArchitectureError(f"{error} (the block of {place.path})") from None

    def _lay_residual(self, item: Mapping[str, Any], inputs: Tensor, place: _Place) -> _Laid:
        main = self.lay(item[RESIDUAL], inputs, place.inside(RESIDUAL))
        shortcut = _Laid(nn.Identity, inputs)
        if SHORTCUT in item:
            shortcut = self.lay(item[SHORTCUT], inputs, place.inside(SHORTCUT))
        if main.outputs.shape != shortcut.outputs.shape:
            other = "its shortcut" if SHORTCUT in item else "and without a shortcut it is added to"
            shapes = f"{_show(main.outputs)}, {other} {_show(shortcut.outputs)}"
            raise ArchitectureError(f"{place.path}: the residual gives {shapes}: both have to be the same")
        return _Laid(partial(_make_residual, main.factory, shortcut.factory), main.outputs)

    def _lay_branches(self, item: Mapping[str, Any], inputs: Tensor, place: _Place) -> _Laid:
        laid = [self.lay(branch, inputs, place.inside(BRANCHES, i)) for i, branch in enumerate(item[BRANCHES])]
        dim = None if item[JOIN] == "add" else item.get(DIM, 1)
        shapes = ", ".join(_show(branch.outputs) for branch in laid)
        outputs = laid[0].outputs
        if dim is None and any(branch.outputs.shape != outputs.shape for branch in laid):
            raise ArchitectureError(f"{place.path}: the branches give {shapes}: to add them, all have to be the same")
        if dim is not None:
            try:
                outputs = torch.cat([branch.outputs for branch in laid], dim)
            except (RuntimeError, IndexError):
                how = f"which cannot be put beside each other along dim {dim}"
                raise ArchitectureError(f"{place.path}: the branches give {shapes}, {how}") from None
        outputs = self._check_outputs(outputs, place.path)
        return _Laid(partial(_make_branches, [branch.factory for branch in laid], dim), outputs)

    def _lay_layer(self, name: str, given: Mapping[str, Any], inputs: Tensor, path: str) -> _Laid:
        layer, place = LAYERS[name], f"{path}.{name}"
        _check_inputs(layer, inputs, place)
        self._num_layers += 1
        if self._num_layers > MAX_LAYERS:
            raise ArchitectureError(f"{place}: there are more than {MAX_LAYERS} layers")
        factory = partial(layer.module, **self._complete(layer, given, inputs, place))
        try:
            with torch.device("meta"):
                module = factory()
            self._count(module, place)
            outputs = module(inputs)
        except ArchitectureError:
            raise
        except Exception as error:  # whatever torch says to arguments of the right types
            raise ArchitectureError(f"{place} does not take {_show(inputs)}: {_say(error)}") from None
        return _Laid(factory, self._check_outputs(outputs[0] if isinstance(outputs, tuple) else outputs, place))

    def _complete(self, layer: Layer, given: Mapping[str, Any], inputs: Tensor, place: str) -> dict[str, Any]:
        """Return the arguments with those that the data says."""
        arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        size = inputs.shape[layer.axis]
        if arguments.get(layer.output_size) == SAME:
            arguments[layer.output_size] = size
        if arguments.get(layer.output_size) == CLASSES:
            if not self._num_classes:
                raise ArchitectureError(f"{place}: the data has no classes: give {layer.output_size} as a number")
            arguments[layer.output_size] = self._num_classes
        return {**({layer.input_size: size} if layer.input_size else {}), **arguments, **layer.fixed}

    def _count(self, module: nn.Module, place: str) -> None:
        self._num_parameters += sum(tensor.numel() for tensor in (*module.parameters(), *module.buffers()))
        if self._num_parameters > MAX_PARAMETERS:
            message = (
                f"{place}: the model has {self._num_parameters:,} parameters up to here, more than {MAX_PARAMETERS:,}"
            )
            raise ArchitectureError(message)

    def _check_outputs(self, outputs: Tensor, place: str) -> Tensor:
        if outputs.ndim < 2 or outputs.shape[0] != _BATCH:
            raise ArchitectureError(f"{place} mixes the samples of a batch: it gives the shape {tuple(outputs.shape)}")
        if outputs.numel() > _BATCH * MAX_VALUES:
            raise ArchitectureError(f"{place} gives {_show(outputs)}, more than {MAX_VALUES:,} values a sample")
        return outputs


def _find_kind(item: Any, path: str) -> str:
    """Return the one key of an item that says what it is. Raises ArchitectureError for none or several."""
    if isinstance(item, str):
        return item
    kinds: list[str] = [key for key in item if key in LAYERS or key in (GROUP, RESIDUAL, BRANCHES, BLOCK)]
    if len(kinds) != 1:
        found = f"is {' and '.join(kinds)} at once" if kinds else "is no layer"
        raise ArchitectureError(f"{path} {found}: wanted one")
    return kinds[0]


def _check_inputs(layer: Layer, inputs: Tensor, place: str) -> None:
    wanted = " or ".join(f"(batch, {_DIMS[dims]})" for dims in layer.num_dims)
    if layer.num_dims == (3,) and layer.axis == -1:
        wanted = "(batch, steps, features)"
    if layer.num_dims and inputs.ndim not in layer.num_dims:
        raise ArchitectureError(f"{place} takes {wanted}, and is given {_show(inputs)}")
    if inputs.ndim < 2:
        raise ArchitectureError(f"{place} is given one number a sample, wanted an input_shape of one dimension or more")
    if not layer.takes_anything and layer.takes_indices == inputs.is_floating_point():
        kind = "whole numbers (int64)" if layer.takes_indices else "numbers with a fraction (float32)"
        raise ArchitectureError(f"{place} takes {kind}, and is given {str(inputs.dtype).removeprefix('torch.')}")


def _make_chain(parts: Mapping[str, Factory]) -> nn.Module:
    chain = Chain()
    for name, factory in parts.items():
        chain.add_module(name, factory())
    return chain


def _make_residual(main: Factory, shortcut: Factory) -> nn.Module:
    return Residual(main(), shortcut())


def _make_branches(branches: Sequence[Factory], dim: int | None) -> nn.Module:
    return Branches([branch() for branch in branches], dim)


def _show(tensor: Tensor) -> str:
    return f"({', '.join(['batch', *map(str, tensor.shape[1:])])})"


def _say(error: Exception) -> str:
    """Return what torch says, on one line, without where in its own code it says so."""
    return " ".join(str(error).partition("Exception raised from")[0].split())[:_MAX_REASON] or type(error).__name__
