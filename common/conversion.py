"""Write a model in another form, read it again, and compare what both answer.

What is written counts only once it was read again and gave, on the same inputs, the same outputs: in one batch, and for
the first sample alone.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.architecture import FILE_NAME, DeclaredModel
from common.dataset import Metadata
from common.file_model import Config
from common.model_files.onnx_models import load_onnx_session, save_onnx
from common.model_files.pretrained import PretrainedModel
from common.model_files.programs import ExportedModel, ScriptedModel, save_torch_export
from common.model_files.sources import ModelFileError, first_line
from common.model_files.states import load_state, save_safetensors, save_torch_state
from common.model_files.whole_models import WholeModel
from common.saved_model import load_model, take_state, write_model

Answer = Callable[[Tensor], Any]  # what a model that was read again gives for a batch of inputs


class ConversionError(ValueError):
    """A model cannot be written in a form, or is another one when it is read again. The message is one line."""


class UnsuitableError(ConversionError):
    """A model is none that a form can hold; another form may."""


@dataclass(frozen=True)
class Subject:
    """A model to convert, and what there is to know of it."""

    model: nn.Module
    config: Any
    metadata: Metadata
    sha256: str = ""  # of the file that brings its code, where somebody vouched for that
    is_file: bool = False  # its tensors are called as in the file of another tool that it was read from

    def find_named(self, model: nn.Module) -> nn.Module:
        """Return the part of the model, or of a copy of it, whose layers and tensors are named as they should be."""
        return unwrap(model.model) if self.is_file and isinstance(model, WholeModel) else model


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module of a file that a reader put into one of ours."""
    if isinstance(model, ScriptedModel | ExportedModel):
        return model.program
    return model.model if isinstance(model, PretrainedModel) else model


@dataclass(frozen=True)
class Target:
    """A form to write."""

    write: Callable[[Subject, Tensor, Path], None]  # of a few inputs, as an example, and the new path
    read: Callable[[Subject, Path], Answer]
    num_eps: int  # how far outputs may be apart: units in the last place of the largest
    lost: str  # what the form does not hold
    suffix: str  # of a file; nothing is a folder's


@dataclass(frozen=True)
class Comparison:
    """How far the outputs of two models are apart."""

    difference: float
    allowed: float


def convert(subject: Subject, to: str, path: Path, inputs: Tensor) -> Comparison:
    """Write a model to `path`, where nothing is yet, in the form `to`; compare what is read again on these inputs.

    The inputs are a batch of at least two. Raises ConversionError where the model fails on them, cannot be written, or
    differs; what was written then is still there.
    """
    target = TARGETS[to]
    subject.model.eval()
    answer = partial(_answer, subject.model)
    expected = [_take(answer, part, "the model") for part in (inputs, inputs[:1])]
    try:
        target.write(subject, inputs[:2], path)
    except ModelFileError as error:
        raise UnsuitableError(str(error)) from error
    try:
        again = target.read(subject, path)
    except Exception as error:  # the readers' own, and whatever a class of the checkout raises
        raise ConversionError(f"what was written cannot be read again: {first_line(error)}") from error
    found = [_take(again, part, "what was read again") for part in (inputs, inputs[:1])]
    return _compare(expected, found, target.num_eps)


def _answer(model: nn.Module, inputs: Tensor) -> Any:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return model.eval()(inputs)


def _take(answer: Answer, inputs: Tensor, name: str) -> Tensor:
    """Return the outputs. Raises ConversionError where there are none to compare."""
    try:
        outputs = answer(inputs)
    except Exception as error:  # whatever the layers say
        message = f"{name} does not take a batch of the shape {tuple(inputs.shape)}: {first_line(error)}"
        raise ConversionError(message) from error
    if not isinstance(outputs, Tensor):
        raise ConversionError(f"{name} gives a {type(outputs).__name__}, wanted one tensor to compare")
    if not outputs.isfinite().all():
        raise ConversionError(f"{name} gives outputs that are not finite: there is nothing to compare")
    return outputs


def _compare(expected: list[Tensor], found: list[Tensor], num_eps: int) -> Comparison:
    """Return how far outputs are apart. Raises ConversionError where that is more than is allowed."""
    for ours, theirs in zip(expected, found, strict=True):
        if ours.shape != theirs.shape:
            raise ConversionError(f"what was read again gives {tuple(theirs.shape)}, the model {tuple(ours.shape)}")
    difference = max(
        float((ours.double() - theirs.double()).abs().max()) for ours, theirs in zip(expected, found, strict=True)
    )
    eps = torch.finfo(expected[0].dtype).eps if expected[0].is_floating_point() else 0.0
    allowed = num_eps * eps * max(1.0, *(float(outputs.double().abs().max()) for outputs in expected))
    if not difference <= allowed:
        message = f"what was read again gives other outputs: they differ by up to {difference:.2g}"
        raise ConversionError(f"{message}, and {allowed:.2g} is allowed")
    return Comparison(difference, allowed)


def _write_folder(subject: Subject, example: Tensor, path: Path) -> None:
    path.mkdir()
    write_model(subject.model, subject.config, subject.metadata, path)


def _read_folder(subject: Subject, path: Path) -> Answer:
    return partial(_answer, load_model(path, subject.sha256))


def _find_declared(model: nn.Module) -> DeclaredModel:
    """Return the model that a model.json describes, also where it is that of a copied folder."""
    inner = model.model if isinstance(model, WholeModel) else model
    if isinstance(inner, DeclaredModel):
        return inner
    raise UnsuitableError(
        f"{type(inner).__name__} is code, and a model.json holds none: only what a model.json describes can become one"
    )


def _write_description(subject: Subject, example: Tensor, path: Path) -> None:
    _find_declared(subject.model).write_file(path.parent)
    (path.parent / FILE_NAME).rename(path)


def _read_description(subject: Subject, path: Path) -> Answer:
    """Build the model anew; with the weights of the one that was written, it has to answer as that does."""
    model = DeclaredModel(Config(), subject.metadata, path)
    model.load_state_dict(_find_declared(subject.model).state_dict())
    return partial(_answer, model)


def _write_state(save: Callable[[nn.Module, Path], None], subject: Subject, example: Tensor, path: Path) -> None:
    save(subject.find_named(subject.model), path)


def _read_state(form: str, subject: Subject, path: Path) -> Answer:
    """Give the weights to a copy of the model that has lost its own."""
    blank = copy.deepcopy(subject.model)
    for tensor in blank.state_dict().values():
        tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor.zero_()
    take_state(load_state(form, path), subject.find_named(blank), path.name)
    return partial(_answer, blank)


def _write_program(subject: Subject, example: Tensor, path: Path) -> None:
    save_torch_export(subject.model, example, path)


def _read_program(subject: Subject, path: Path) -> Answer:
    program = torch.export.load(path).module()

    def answer(inputs: Tensor) -> Any:
        with torch.no_grad():
            return program(inputs)

    return answer


def _write_onnx(subject: Subject, example: Tensor, path: Path) -> None:
    save_onnx(subject.model, example, path)


def _read_onnx(subject: Subject, path: Path) -> Answer:
    return load_onnx_session(path)


_STATE_LOST = "the class, its config and the data's metadata: whoever reads it brings a model with the same tensors"
_PROGRAM_LOST = "the class and the data's metadata; how it trains: dropout is gone, batch norm keeps its statistics"
TARGETS: Mapping[str, Target] = {
    "directory": Target(_write_folder, _read_folder, 16, "", ""),
    "json": Target(_write_description, _read_description, 16, "the weights, which are drawn anew", ".json"),
    "pt": Target(partial(_write_state, save_torch_state), partial(_read_state, "torch_state"), 16, _STATE_LOST, ".pt"),
    "safetensors": Target(
        partial(_write_state, save_safetensors), partial(_read_state, "safetensors"), 16, _STATE_LOST, ".safetensors"
    ),
    "pt2": Target(_write_program, _read_program, 128, _PROGRAM_LOST, ".pt2"),
    "onnx": Target(_write_onnx, _read_onnx, 1024, _PROGRAM_LOST, ".onnx"),
}
