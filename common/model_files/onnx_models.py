"""Read and write ONNX. Needs the extra `onnx`."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.model_files.sources import ModelFileError, find_inside, first_line, import_extra

log = logging.getLogger("force")

_EXTRA = "onnx"
_OPSET = 18  # what the converter back knows well


def load_onnx(path: Path) -> nn.Module:
    """Read an ONNX graph as a module, its weights as parameters.

    Raises ModelFileError for a damaged file, one whose tensors stand outside its folder (before any is read), and one
    with an operator that cannot be converted.
    """
    onnx, converter = import_extra("onnx", _EXTRA), import_extra("onnx2torch", _EXTRA)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own error class is none of the public ones
        raise ModelFileError(f"'{path.name}' is no sound ONNX file: {first_line(error)}") from error
    for location in _find_locations(model):
        find_inside(path.parent, location)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converter's use of torch
            module: nn.Module = converter.convert(model)
    except Exception as error:  # the converter raises what its parts do
        raise ModelFileError(f"'{path.name}' cannot be converted: {first_line(error)}") from error
    train_weights(module)
    return module


def train_weights(module: nn.Module) -> None:
    """Make parameters of the initializers with fractions that the converter left as buffers, all but statistics."""
    for child in module.modules():
        if type(child).__name__ == "OnnxInitializer" or not any(True for _ in child.children()):
            for name, value in list(child.named_buffers(recurse=False)):
                if value.is_floating_point() and value.numel() > 1 and not name.startswith("running_"):
                    delattr(child, name)
                    child.register_parameter(name, nn.Parameter(value))


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
