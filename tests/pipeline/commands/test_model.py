"""`force model`, with the real process that loads torch where one is needed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from common.saved_model import load_model
from pipeline.modelforms import hash_file
from tests.checkouts import Checkout, Ended
from tests.datasets import make_dataset, write_dataset
from tests.models import write_built, write_pickle

Force = Callable[..., Ended]
LAYERS = '{"layers": ["Flatten", {"Linear": {"out_features": "classes"}, "name": "classifier"}]}'
# A model that fails whenever it is asked.
FAILING = """\
from torch import Tensor

from common.model import ConvNet


class Failing(ConvNet):
    def forward(self, inputs: Tensor) -> Tensor:
        raise KeyError("no such thing")
"""


@pytest.fixture
def root(checkout: Checkout) -> Path:
    """A checkout with the dots as common data, and a model that was built for them."""
    data = checkout.root / "common/outputs/prepare/data"
    data.mkdir(parents=True)
    write_dataset(make_dataset(), data)
    write_built(checkout.root / "common/outputs/train/model")
    return checkout.root


def _list(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.slow
def test_layers_are_shown(root: Path, force: Force) -> None:
    ended = force("model", "show", "common")
    lines = ended.out.splitlines()
    assert lines[0].startswith("common: a built ConvNet of 14 tensors, ")
    assert lines[1] == "out of date: has not run yet"
    assert lines[3].split() == ["layer", "class", "output", "parameters", "trainable", "FLOPs"]
    assert lines[4].split() == ["features.0", "Conv2d", "(1,", "2,", "4,", "4)", "18", "all", "576"]
    assert "FLOPs for a sample of (1, 4, 4)" in lines[-1]
    assert (ended.status, ended.err) == (0, "")


@pytest.mark.slow
def test_programs_read_the_layers_of_a_model_that_is_not_trained(root: Path, checkout: Checkout, force: Force) -> None:
    checkout.experiment("wide", "params: {model: {channels: 8}}\n")
    shown = json.loads(force("model", "show", "wide", "--depth", "1", "--json").out)
    assert (shown["name"], shown["form"], shown["sample"]) == ("wide", "class", [1, 1, 4, 4])
    assert [layer["name"] for layer in shown["layers"]] == ["features", "classifier"]
    assert shown["flops"] == sum(layer["flops"] for layer in shown["layers"]) == 2 * (72 * 16 + 16 * 72 * 4 + 48)


@pytest.mark.slow
def test_a_file_shows_what_is_known_of_it(root: Path, checkout: Checkout, force: Force) -> None:
    torch.save(load_model(root / "common/outputs/train/model").state_dict(), root / "w.pt")
    ended = force("model", "show", "w.pt")
    assert ended.out.splitlines()[2].split() == ["tensor", "dtype", "shape", "parameters"]
    assert ended.out.endswith(
        "not known: the layers, which weights alone do not say; say whose class and data: --experiment NAME\n"
    )
    write_pickle(root / "m.pkl")
    ended = force("model", "show", "m.pkl", "--trust", hash_file(root / "m.pkl"))
    assert "not known: outputs and FLOPs, as the file does not say what it takes" in ended.out
    assert ended.out.splitlines()[4].split() == ["1", "Linear", "51", "all"]


@pytest.mark.slow
def test_layers_are_shown_where_the_model_fails(root: Path, checkout: Checkout, force: Force) -> None:
    checkout.experiment("failing", model=FAILING)
    ended = force("model", "show", "failing")
    assert "features.0    Conv2d" in ended.out
    message = "the model does not take a sample of the shape (1, 1, 4, 4): KeyError: 'no such thing'"
    assert (ended.status, ended.err) == (6, f"error: {message}\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.pt", "m.safetensors", "folder"])
def test_a_model_is_converted_and_compared(name: str, root: Path, force: Force) -> None:
    ended = force("model", "convert", "common", name)
    assert (ended.status, ended.err) == (0, "")
    _, written, compared, lost = ended.out.splitlines()[1:]
    assert written.startswith(f"{name}: written as ")
    assert compared.startswith(
        "read again and compared on 9 samples of the test split: the outputs differ by up to 0 ("
    )
    assert (lost == "lost: nothing") == (name == "folder")
    assert (root / name / "README.md").is_file() == (name == "folder")
    assert not [path for path in _list(root) if path.startswith(f".{name}")]
    refused = force("model", "convert", "common", name)
    assert refused.status == 2
    assert refused.err.startswith(f"error: '{name}' is there already\nhint: ")


@pytest.mark.slow
def test_a_copy_is_tried_on_random_inputs_where_no_data_is(root: Path, force: Force) -> None:
    (root / "common/outputs/train/model").rename(root / "copy")
    ended = force("model", "convert", "copy", "m.safetensors")
    assert "compared on 16 random inputs, as no prepared data of its shape is here: " in ended.out
    assert (root / "m.safetensors").is_file()


@pytest.mark.slow
def test_nothing_is_left_of_a_conversion_that_fails(root: Path, force: Force) -> None:
    before = _list(root)
    ended = force("model", "convert", "common", "m.json")
    assert ended.status == 6
    assert ended.err == (
        "error: ConvNet is code, and a model.json holds none: only what a model.json describes can become one\n"
        "hint: directory, pt and safetensors take a model of any class, and pt2 and onnx most\n"
    )
    write_pickle(root / "nan.pkl", nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).apply(_spoil))
    trusted = ("--trust", hash_file(root / "nan.pkl"), "--experiment", "common")
    ended = force("model", "convert", "nan.pkl", "m.pt", *trusted)
    assert ended.err == "error: the model gives outputs that are not finite: there is nothing to compare\n"
    assert _list(root) - before <= {"nan.pkl", ".force"}


def _spoil(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.data.fill_(float("nan"))


@pytest.mark.parametrize(
    ("args", "status", "message", "hint"),
    [
        (("common", "m.bin"), 2, "'m.bin' has no ending that says a form", "say one: --to, one of directory, json, "),
        (("common", "m.pt2", "--to", "onnx"), 2, "'m.pt2' ends as pt2, and --to says onnx", "leave --to out"),
        (("common", "no/m.pt"), 2, "there is no folder 'no'", "mkdir -p no"),
        (("common", "params.yaml", "--to", "pt"), 2, "'params.yaml' is there already", "name a new file or folder"),
        (("wide", "m.pt"), 2, "'wide' is not trained: there are no weights to convert", "force run wide"),
        (("../m.json", "m.pt"), 2, "'../m.json' is not trained", "make it the model of an experiment"),
        (("../w.safetensors", "m.pt"), 2, "'../w.safetensors' holds weights alone", "say whose class and data: "),
        (("../m.json", "n.json"), 2, "'../m.json' does not say what it takes", "say whose data it is for: "),
        (("nobody", "m.pt"), 2, "there is no experiment 'nobody', and no such file", "force ls"),
        (("params.yaml", "m.pt"), 3, "params.yaml: is no model", "docs/experiments.md"),
    ],
)
def test_what_cannot_be_converted_is_said(
    args: tuple[str, ...], status: int, message: str, hint: str, root: Path, checkout: Checkout, force: Force
) -> None:
    checkout.experiment("wide", "params: {model: {channels: 8}}\n")
    checkout.write("../m.json", LAYERS)
    safetensors = root / "common/outputs/train/model/weights.safetensors"
    (root.parent / "w.safetensors").write_bytes(safetensors.read_bytes())
    ended = force("model", "convert", *args)
    assert ended.status == status
    assert ended.err.startswith(f"error: {message}")
    assert f"\nhint: {hint}" in ended.err
    assert not [name for name in _list(root) if name.lstrip(".").startswith("m.")]


def test_a_description_wants_data(root: Path, checkout: Checkout, force: Force) -> None:
    checkout.write("../m.json", LAYERS)
    ended = force("model", "show", "../m.json")
    assert ended.err.splitlines() == [
        "error: '../m.json' leaves sizes to the data",
        "hint: say whose data it is for: --experiment NAME",
    ]


@pytest.mark.slow
def test_names_in_a_file_steer_no_terminal(root: Path, force: Force) -> None:
    save_file({"\x1b[31mred\x1b]0;title\x07": torch.zeros(2), "a\nb": torch.zeros(1)}, root / "w.safetensors")
    ended = force("model", "show", "w.safetensors")
    assert ended.status == 0
    assert "\x1b" not in ended.out
    assert "\\x1b[31mred" in ended.out
    assert "a\\nb" in ended.out


@pytest.mark.slow
def test_a_converted_file_may_be_read_by_whom_others_are(root: Path, force: Force) -> None:
    (root / "usual").touch()
    assert force("model", "convert", "common", "m.safetensors").status == 0
    assert (root / "m.safetensors").stat().st_mode == (root / "usual").stat().st_mode


@pytest.mark.parametrize("arguments", [("show", "x" * 300), ("convert", "common", f"{'x' * 300}.pt")])
def test_a_name_that_is_too_long_is_refused(root: Path, force: Force, arguments: tuple[str, ...]) -> None:
    ended = force("model", *arguments)
    assert ended.status == 2
    assert "Traceback" not in ended.err


def test_a_built_model_without_metadata_is_refused(root: Path, force: Force) -> None:
    (root / "common/outputs/train/model/metadata.json").unlink()
    ended = force("model", "show", "common/outputs/train/model")
    assert ended.err.splitlines()[0].endswith("is no whole built model: metadata.json is missing")
