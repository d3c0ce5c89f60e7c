"""Models in other forms: what is written answers as the model does, and what does not is found out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from common import conversion, file_model
from common.architecture import DeclaredModel
from common.conversion import TARGETS, ConversionError, Subject, UnsuitableError, convert
from common.model import Config, ConvNet
from common.model_files.states import load_torch_state
from common.model_files.whole_models import PickledModel, TorchScriptModel
from common.saved_model import WEIGHTS, load_model
from pipeline.modelfiles import detect
from pipeline.modelforms import hash_file
from tests.datasets import make_dataset
from tests.models import write_pickle, write_script

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning")

METADATA = make_dataset().metadata
INPUTS = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
DESCRIPTION = (
    '{"layers": [{"Conv2d": {"out_channels": 4, "kernel_size": 3}}, "BatchNorm2d", "Flatten", {"Dropout": {}}, '
)
DESCRIPTION += '{"Linear": {"out_features": "classes"}}]}'


def _make_class(folder: Path) -> Subject:
    config = Config(channels=4, dropout=0.5)
    return Subject(ConvNet(config, METADATA), config, METADATA)


def _make_declared(folder: Path) -> Subject:
    (folder / "model.json").write_text(DESCRIPTION)
    config = file_model.Config()
    return Subject(DeclaredModel(config, METADATA, folder / "model.json"), config, METADATA)


def _make_pickled(folder: Path) -> Subject:
    write_pickle(folder / "model.pkl")
    sha256, config = hash_file(folder / "model.pkl"), file_model.Config()
    model = PickledModel(config, METADATA, folder / "model.pkl", sha256)
    return Subject(model, config, METADATA, sha256, is_file=True)


def _make_script(folder: Path) -> Subject:
    write_script(folder / "model.pt")
    sha256, config = hash_file(folder / "model.pt"), file_model.Config()
    model = TorchScriptModel(config, METADATA, folder / "model.pt", sha256)
    return Subject(model, config, METADATA, sha256, is_file=True)


MAKERS = {"class": _make_class, "declared": _make_declared, "pickled": _make_pickled, "script": _make_script}
FORMS = {
    "directory": "force",
    "pt": "torch_state",
    "safetensors": "safetensors",
    "pt2": "torch_export",
}


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Subject]:
    """Return what makes a model, from files of its own."""

    def make_subject(kind: str) -> Subject:
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        torch.manual_seed(0)
        subject = MAKERS[kind](folder)
        subject.model.train()
        if kind != "script":
            subject.model(torch.rand(8, 1, 4, 4))  # batch norm has seen something
        return subject

    return make_subject


@pytest.mark.parametrize(
    ("kind", "to"),
    [
        *((kind, to) for kind in MAKERS for to in ("directory", "pt", "safetensors")),
        *(pytest.param(kind, "pt2", marks=pytest.mark.slow) for kind in MAKERS if kind != "script"),
    ],
)
def test_a_model_answers_as_before(kind: str, to: str, make: Callable[[str], Subject], tmp_path: Path) -> None:
    path = tmp_path / f"written{TARGETS[to].suffix}"
    comparison = convert(make(kind), to, path, INPUTS)
    assert comparison.difference <= comparison.allowed < 1e-3
    assert detect(path).form == FORMS[to]


@pytest.mark.slow
def test_torchscript_is_not_exported(make: Callable[[str], Subject], tmp_path: Path) -> None:
    with pytest.raises(ConversionError):
        convert(make("script"), "pt2", tmp_path / "m.pt2", INPUTS)
    assert not (tmp_path / "m.pt2").exists()


def test_a_description_comes_back_and_is_converted_on(make: Callable[[str], Subject], tmp_path: Path) -> None:
    subject = make("declared")
    convert(subject, "directory", tmp_path / "folder", INPUTS)
    read = load_model(tmp_path / "folder")
    assert convert(replace(subject, model=read), "json", tmp_path / "m.json", INPUTS).difference == 0
    again = DeclaredModel(file_model.Config(), METADATA, tmp_path / "m.json")
    assert list(again.state_dict()) == list(subject.model.state_dict())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "m.json", "source"]


@pytest.mark.parametrize("kind", ["pickled", "script"])
def test_tensors_are_called_as_in_the_file(kind: str, make: Callable[[str], Subject], tmp_path: Path) -> None:
    convert(make(kind), "safetensors", tmp_path / "m.safetensors", INPUTS)
    assert sorted(load_file(tmp_path / "m.safetensors")) == ["1.bias", "1.weight"]
    convert(make(kind), "pt", tmp_path / "m.pt", INPUTS)
    assert sorted(load_torch_state(tmp_path / "m.pt")) == ["1.bias", "1.weight"]


@pytest.mark.parametrize("kind", ["class", "pickled"])
def test_code_is_no_description(kind: str, make: Callable[[str], Subject], tmp_path: Path) -> None:
    with pytest.raises(UnsuitableError, match=r"is code, and a model\.json holds none"):
        convert(make(kind), "json", tmp_path / "m.json", INPUTS)


def _damage(path: Path) -> None:
    """Change one number a little: a bias of the last layer, which no activation hides."""
    state = load_file(path)
    state["classifier.1.bias"][0] += 0.001
    save_file(state, path)


@pytest.mark.parametrize(("to", "file"), [("safetensors", ""), ("directory", WEIGHTS)])
def test_another_model_is_found_out(
    to: str, file: str, make: Callable[[str], Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = TARGETS[to]

    def write(subject: Subject, example: Tensor, path: Path) -> None:
        target.write(subject, example, path)
        _damage(path / file)

    monkeypatch.setattr(conversion, "TARGETS", {**TARGETS, to: replace(target, write=write)})
    with pytest.raises(
        ConversionError, match=r"gives other outputs: they differ by up to [0-9.e-]+, and .* is allowed"
    ):
        convert(make("class"), to, tmp_path / "m", INPUTS)


class Deaf(ConvNet):
    """Keeps the weights that it has."""

    def load_state_dict(self, *_: Any, **__: Any) -> Any:
        """Do nothing."""


@pytest.mark.parametrize("to", ["pt", "safetensors"])
def test_weights_that_are_not_taken_are_found_out(to: str, tmp_path: Path) -> None:
    subject = Subject(Deaf(Config(), METADATA), Config(), METADATA)
    with pytest.raises(ConversionError, match="what was read again gives outputs that are not finite"):
        convert(subject, to, tmp_path / "m", INPUTS)


def test_outputs_that_are_no_numbers_compare_with_nothing(make: Callable[[str], Subject], tmp_path: Path) -> None:
    subject = make("class")
    next(subject.model.parameters()).data.fill_(float("nan"))
    with pytest.raises(ConversionError, match="the model gives outputs that are not finite"):
        convert(subject, "pt", tmp_path / "m.pt", INPUTS)
    assert not (tmp_path / "m.pt").exists()


def test_inputs_that_the_model_does_not_take_are_named(make: Callable[[str], Subject], tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"the model does not take a batch of the shape \(5, 7\): "):
        convert(make("class"), "pt", tmp_path / "m.pt", torch.rand(5, 7))


class Pair(nn.Module):
    """Gives two tensors."""

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs twice."""
        return inputs, inputs


def test_one_tensor_is_compared(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="the model gives a tuple, wanted one tensor"):
        convert(Subject(Pair(), Config(), METADATA), "pt", tmp_path / "m.pt", INPUTS)


class Branching(ConvNet):
    """Does what its inputs say."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits."""
        return super().forward(inputs) if inputs.sum() > 0 else super().forward(-inputs)


@pytest.mark.slow
def test_a_model_that_torch_cannot_export_is_named(tmp_path: Path) -> None:
    subject = Subject(Branching(Config(), METADATA), Config(), METADATA)
    with pytest.raises(UnsuitableError, match="Branching cannot be exported: "):
        convert(subject, "pt2", tmp_path / "m.pt2", INPUTS)


@pytest.mark.slow
def test_onnx_answers_as_before(make: Callable[[str], Subject], tmp_path: Path) -> None:
    comparison = convert(make("class"), "onnx", tmp_path / "m.onnx", INPUTS)
    assert comparison.difference <= comparison.allowed < 1e-3
    assert detect(tmp_path / "m.onnx").form == "onnx"
