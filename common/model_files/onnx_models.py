"""Read and write ONNX. Needs the extra `onnx`."""

import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from common.model_files.sources import ModelFileError, find_inside, first_line, import_extra

_EXTRA = "onnx"
_OPSET = 18  # what the converter back knows well


def load_onnx(path: Path) -> nn.Module:
    """Read an ONNX graph as a module; its tensors of fractions train.

    Raises ModelFileError for a damaged file, one whose tensors stand outside its folder (before any is read), and one
    with an operator that cannot be converted.
    """
    onnx, converter = import_extra("onnx", _EXTRA), import_extra("onnx2pytorch", _EXTRA)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own error class is none of the public ones
        raise ModelFileError(f"'{path.name}' is no sound ONNX file: {first_line(error)}") from error
    for location in _find_locations(model):
        find_inside(path.parent, location)
    if fault := _find_fault(model.graph):
        raise ModelFileError(f"'{path.name}' cannot be converted: {fault}")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converter's use of torch
            module: nn.Module = converter.ConvertModel(model)
    except Exception as error:  # the converter raises what its parts do
        raise ModelFileError(f"'{path.name}' cannot be converted: {first_line(error)}") from error
    if not _has_subgraphs(model.graph):  # what these read is not seen here
        _settle_initializers(module, model.graph)
    return module


def find_locations(path: Path) -> list[str]:
    """Return where the tensors stand that an ONNX file has outside itself, relative to its folder."""
    onnx = import_extra("onnx", _EXTRA)
    return sorted(set(_find_locations(onnx.load(path, load_external_data=False))))


def _settle_initializers(module: Any, graph: Any) -> None:
    """Make parameters of the weights that the converter left as buffers, and drop those that its layers have copied."""
    read = {value.name for value in graph.output}
    for node in graph.node:
        layer = getattr(module, module.mapping[node.output[0]])
        has_copies = isinstance(layer, nn.Module) and any(True for _ in layer.parameters())
        read |= set() if has_copies else set(node.input)
    for tensor in graph.initializer:
        buffer = _name_buffer(tensor.name)
        value = getattr(module, buffer)
        if not isinstance(value, Tensor):
            continue  # text
        delattr(module, buffer)
        if tensor.name in read and value.is_floating_point() and value.numel() > 1:
            module.register_parameter(buffer, nn.Parameter(value))
        elif tensor.name in read:
            module.register_buffer(buffer, value)


def _name_buffer(tensor: str) -> str:
    """Return what the converter calls a tensor of the graph."""
    return f"_initializer_{tensor.replace('.', '_')}"


def _find_fault(graph: Any) -> str | None:
    """Return what keeps a graph from being converted rightly, None where nothing does."""
    names = {_name_buffer(tensor.name) for tensor in graph.initializer}
    if len(names) < len(graph.initializer):
        return "the names of two of its tensors differ by a dot alone"
    return None


def _has_subgraphs(graph: Any) -> bool:
    return any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute)


def save_onnx(model: nn.Module, example: Tensor, path: Path) -> None:
    """Write a model, as it evaluates, as ONNX for batches of any size. The example is a batch of at least two.

    Raises ModelFileError for a model that cannot be exported.
    """
    import_extra("onnxscript", _EXTRA)
    mode = model.training
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's use of torch
            shapes = ({0: torch.export.Dim.DYNAMIC},)
            torch.onnx.export(
                model.eval(),
                (example,),
                path,
                dynamo=True,
                dynamic_shapes=shapes,
                opset_version=_OPSET,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # whatever the model's own code raises under tracing
        raise ModelFileError(f"{type(model).__name__} cannot be written as ONNX: {first_line(error)}") from error
    finally:
        model.train(mode)


def load_onnx_session(path: Path) -> Callable[[Tensor], Tensor]:
    """Return what computes the first output of a graph from its one input, by the reference of ONNX itself.

    It answers for what the file says, and asks no converter. Raises ModelFileError for a damaged file.
    """
    import_extra("onnx", _EXTRA)
    reference = import_extra("onnx.reference", _EXTRA)
    try:
        session = reference.ReferenceEvaluator(str(path))
    except Exception as error:  # protobuf's own error class is none of the public ones
        raise ModelFileError(f"'{path.name}' is no sound ONNX file: {first_line(error)}") from error

    def answer(inputs: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {session.input_names[0]: inputs.numpy()})[0])

    return answer


class Node(NamedTuple):
    """A node of a graph, with the tensors that no node before it has: what the file holds of it."""

    name: str
    operator: str
    shape: tuple[int, ...] | None  # of its first output; 1 where the graph takes any size, None where it does not say
    num_parameters: int


def list_nodes(path: Path) -> tuple[list[Node], int]:
    """Return the nodes of an ONNX graph, without converting it, and the bytes of its tensors.

    Raises ModelFileError for a damaged file.
    """
    onnx = import_extra("onnx", _EXTRA)
    try:
        model = onnx.load(path, load_external_data=False)
        model = onnx.shape_inference.infer_shapes(model)
    except Exception as error:
        raise ModelFileError(f"'{path.name}' is no sound ONNX file: {first_line(error)}") from error
    graph = model.graph
    shapes = {value.name: _read_shape(value) for value in (*graph.value_info, *graph.output)}
    is_index = onnx.TensorProto.INT64  # shapes and indices are always of this type, and are no parameters
    numbers = {t.name: math.prod(t.dims) for t in graph.initializer if t.data_type != is_index}
    num_bytes = sum(math.prod(tensor.dims) * _item_size(onnx, tensor) for tensor in graph.initializer)
    nodes = []
    for node in graph.node:
        own = sum(numbers.pop(name, 0) for name in node.input)
        name = node.name or node.output[0]
        nodes.append(Node(name, node.op_type, shapes.get(node.output[0]), own))
    return nodes, num_bytes


def _item_size(onnx: Any, tensor: Any) -> int:
    return int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _read_shape(value: Any) -> tuple[int, ...] | None:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value or 1 for dim in dims) if value.type.tensor_type.HasField("shape") else None


def _find_locations(message: Any) -> Iterator[str]:
    """Yield where the external tensors of a protobuf message, and of all below it, stand."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield from (entry.value for entry in message.external_data if entry.key == "location")
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for below in value if hasattr(value, "append") or hasattr(value, "add") else [value]:
            yield from _find_locations(below)
