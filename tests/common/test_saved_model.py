"""Models on disk."""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from common.architecture import DeclaredModel
from common.dataset import Metadata, read_metadata
from common.file_model import Config as NoArchitectureParams
from common.model import Config as ConvNetConfig
from common.model import ConvNet, Model
from common.saved_model import WeightsError, copy_weights, load_model, read_model, take_state, write_model
from pipeline.validation import find_faults
from tests.datasets import make_dataset


class OtherNet(ConvNet):
    """A network with the same weights under another name."""


@dataclass(frozen=True)
class Config:
    """Params of the models below."""

    widths: tuple[int, int] = (16, 16)


class WideNet(Model):
    """One layer, of the widths in its config."""

    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Linear(config.widths[0], config.widths[1], bias=False)


class TiedNet(WideNet):
    """Two layers with one matrix."""

    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__(config, metadata)
        self.second = nn.Linear(config.widths[0], config.widths[1], bias=False)
        self.second.weight = self.first.weight


def _trained_net() -> ConvNet:
    model = ConvNet(ConvNetConfig(channels=2), make_dataset().metadata)
    model(torch.rand(8, 1, 4, 4))  # moves the running statistics of batch norm
    return model


def test_model_comes_back_to_the_bit(tmp_path: Path) -> None:
    model = _trained_net()
    write_model(model, ConvNetConfig(channels=2), make_dataset().metadata, tmp_path)
    read = read_model(ConvNet, tmp_path)
    assert read.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor)
    images = torch.rand(8, 1, 4, 4)
    assert torch.equal(read.eval()(images), model.eval()(images))


def test_bytes_are_equal_when_the_weights_are(tmp_path: Path) -> None:
    model, folders = _trained_net(), (tmp_path / "a", tmp_path / "b")
    for folder in folders:
        folder.mkdir()
        write_model(model, ConvNetConfig(channels=2), make_dataset().metadata, folder)
    for name in ("weights.safetensors", "model.json", "metadata.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_model_is_refused_when_it_is_of_another_class(tmp_path: Path) -> None:
    write_model(_trained_net(), ConvNetConfig(channels=2), make_dataset().metadata, tmp_path)
    with pytest.raises(TypeError, match="holds a ConvNet, not the OtherNet"):
        read_model(OtherNet, tmp_path)


def test_config_comes_back_with_its_tuples(tmp_path: Path) -> None:
    metadata = make_dataset().metadata
    write_model(WideNet(Config((16, 8)), metadata), Config((16, 8)), metadata, tmp_path)
    read = read_model(WideNet, tmp_path)
    assert isinstance(read, WideNet)
    assert read.config == Config((16, 8))


def test_tied_weights_come_back_tied(tmp_path: Path) -> None:
    metadata = make_dataset().metadata
    model = TiedNet(Config(), metadata)
    write_model(model, Config(), metadata, tmp_path)
    read = read_model(TiedNet, tmp_path)
    assert isinstance(read, TiedNet)
    assert read.second.weight is read.first.weight
    assert torch.equal(read.first.weight, model.first.weight)


def test_bytes_are_equal_when_weights_have_several_names(tmp_path: Path) -> None:
    model, files = nn.Sequential(*(nn.Linear(2, 2) for _ in range(6))), set()
    for layer, first in zip(model[3:], model, strict=False):
        layer.weight = first.weight  # type: ignore[assignment]
    for _ in range(8):
        write_model(model, Config(), make_dataset().metadata, tmp_path)
        files.add((tmp_path / "weights.safetensors").read_bytes())
    assert len(files) == 1


def test_metadata_that_the_model_was_built_for_stands_beside_it(tmp_path: Path) -> None:
    metadata = make_dataset().metadata
    write_model(_trained_net(), ConvNetConfig(channels=2), metadata, tmp_path)
    assert read_metadata(tmp_path) == metadata


# A model whose class nobody names


def _declared_model(folder: Path) -> DeclaredModel:
    file = folder / "model.json"
    file.write_text('{"layers": ["Flatten", {"Linear": {"out_features": "classes"}, "name": "classifier"}]}')
    return DeclaredModel(NoArchitectureParams(), make_dataset().metadata, file)


def test_model_is_loaded_by_what_its_folder_says(tmp_path: Path) -> None:
    model, folder = _trained_net(), tmp_path / "model"
    folder.mkdir()
    write_model(model, ConvNetConfig(channels=2), make_dataset().metadata, folder)
    read = load_model(str(folder))
    assert type(read) is ConvNet
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in read.state_dict().items())


def test_declared_model_is_loaded_when_the_file_it_was_made_of_is_gone(tmp_path: Path) -> None:
    model, folder = _declared_model(tmp_path), tmp_path / "model"
    folder.mkdir()
    write_model(model, NoArchitectureParams(), make_dataset().metadata, folder)
    assert {path.name for path in folder.iterdir()} == {
        *("weights.safetensors", "metadata.json"),
        *("model.json", "architecture.json"),
    }
    assert find_faults("model", json.loads((folder / "model.json").read_text())) == []
    assert find_faults("architecture", json.loads((folder / "architecture.json").read_text())) == []
    (tmp_path / "model.json").unlink()
    moved = folder.rename(tmp_path / "elsewhere")
    read = load_model(moved)
    inputs = torch.rand(5, 1, 4, 4)
    assert torch.equal(read(inputs), model(inputs))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"module": "os", "class": "system"}, "'os' is no module of common or experiments"),
        ({"module": "commonplace.model"}, "'commonplace.model' is no module of common or experiments"),
        ({"module": "common"}, "'common' is no module of common or experiments"),
        ({"module": "common.model.__import__('os')"}, "is no module of common or experiments"),
        ({"module": ".model"}, "is no module of common or experiments"),
        ({"module": "experiments.gone.model"}, "there is no ConvNet in experiments.gone.model"),
        ({"class": "Gone"}, "there is no Gone in common.model"),
        ({"class": "Tensor"}, "common.model.Tensor is no class of models"),
        ({"class": "PositiveInt"}, "common.model.PositiveInt is no class of models"),
    ],
)
def test_class_is_refused_when_it_is_not_one_of_the_checkout(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    write_model(_trained_net(), ConvNetConfig(channels=2), make_dataset().metadata, tmp_path)
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ImportError, match=re.escape(message)) as raised:
        load_model(tmp_path)
    assert "\n" not in str(raised.value)


def test_file_is_taken_from_the_folder_alone_when_a_model_says_another(tmp_path: Path) -> None:
    model, folder = _declared_model(tmp_path), tmp_path / "model"
    folder.mkdir()
    write_model(model, NoArchitectureParams(), make_dataset().metadata, folder)
    path = folder / "model.json"
    path.write_text(path.read_text().replace("architecture.json", "../model.json"))
    with pytest.raises(ValueError, match=r"names '\.\./model\.json', which is no file of its folder"):
        load_model(folder)


# Weights of one model for another


class Parts(nn.Module):
    """A body of some layers and a head, of the sizes given."""

    def __init__(self, *, num_layers: int = 1, num_classes: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.BatchNorm1d(4) for _ in range(num_layers)))
        self.head = nn.Linear(4, num_classes)


class Renamed(nn.Module):
    """The same parts under other names."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.ModuleDict({"body": nn.Sequential(nn.BatchNorm1d(4)), "classifier": nn.Linear(4, 3)})


def _fill(module: nn.Module, value: float) -> nn.Module:
    """Return a module all of whose tensors hold one number."""
    for tensor in module.state_dict().values():
        tensor.fill_(value)
    return module


def _read_values(module: nn.Module) -> dict[str, set[float]]:
    """Return the numbers in each part of a module."""
    values: dict[str, set[float]] = {}
    for name, tensor in module.state_dict().items():
        values.setdefault(name.rpartition(".")[0], set()).update(tensor.double().flatten().tolist())
    return values


def test_all_weights_are_copied_when_there_is_no_map(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "force")
    source, target = _fill(Parts(), 1), _fill(Parts(), 2)
    copy_weights(source, target)
    assert _read_values(target) == {"body.0": {1}, "head": {1}}
    assert caplog.messages == ["took 7 of 7 tensors"]
    _fill(source, 3)
    assert _read_values(target) == {"body.0": {1}, "head": {1}}  # copies, not the same memory


@pytest.mark.parametrize(
    ("source", "mapping", "expected"),
    [
        (Parts(num_classes=9), {"body.": "body."}, {"body.0": {1}, "head": {2}}),
        (Parts(num_classes=9), {"": "", "head.": None}, {"body.0": {1}, "head": {2}}),
        (Parts(num_classes=9), {"body.": "body.", "head.": None}, {"body.0": {1}, "head": {2}}),
        (Renamed(), {"": "net.", "head.": "net.classifier."}, {"body.0": {1}, "head": {1}}),
        (Renamed(), {"head.": "net.classifier."}, {"body.0": {2}, "head": {1}}),
        (Parts(), {"": None}, {"body.0": {2}, "head": {2}}),
    ],
)
def test_parts_that_the_map_names_are_copied(
    source: nn.Module, mapping: Mapping[str, str | None], expected: dict[str, set[float]]
) -> None:
    target = _fill(Parts(), 2)
    copy_weights(_fill(source, 1), target, mapping)
    assert _read_values(target) == expected


def test_tensors_that_are_left_are_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "force")
    copy_weights(Parts(), Parts(), {"body.": "body."})
    assert caplog.messages == ["took 5 of 7 tensors, left head.weight, head.bias"]


HINT = ". model.init_map says which parts to take, and which to leave as they are"


@pytest.mark.parametrize(
    ("source", "mapping", "message"),
    [
        (
            Parts(num_classes=9),
            None,
            "'head.weight' is (3, 4) here and (9, 4) there; 'head.bias' is (3,) here and (9,) there",
        ),
        (
            Parts(num_layers=0),
            None,
            "'body.0.weight' is here, but not there; 'body.0.bias' is here, but not there; "
            "'body.0.running_mean' is here, but not there; and 2 more",
        ),
        (
            Parts(num_layers=2),
            {"body.": "body."},
            "'body.1.weight' is there, but not here; 'body.1.bias' is there, but not here; "
            "'body.1.running_mean' is there, but not here; and 2 more",
        ),
        (
            Parts(num_classes=9),
            {"": "", "body.": None},
            "'head.weight' is (3, 4) here and (9, 4) there; 'head.bias' is (3,) here and (9,) there",
        ),
        (
            Renamed(),
            {"head.": "net.clasifier."},
            "'head.weight' ('net.clasifier.weight' there) is here, but not there; "
            "'head.bias' ('net.clasifier.bias' there) is here, but not there",
        ),
        (Parts(), {"boddy.": "body."}, "no tensor of this model begins with 'boddy.'; "),
    ],
)
def test_weights_are_refused_in_one_line_when_they_do_not_fit(
    source: nn.Module, mapping: Mapping[str, str | None] | None, message: str
) -> None:
    target = _fill(Parts(), 2)
    pattern = re.escape(f"the weights do not fit: {message}") + (
        "" if message.endswith("; ") else re.escape(HINT) + "$"
    )
    with pytest.raises(WeightsError, match=f"^{pattern}") as raised:
        copy_weights(source, target, mapping)
    assert "\n" not in str(raised.value)
    assert _read_values(target) == {"body.0": {2}, "head": {2}}


def test_tied_weights_stay_tied_when_they_are_copied() -> None:
    metadata = make_dataset().metadata
    source, target = TiedNet(Config(), metadata), TiedNet(Config(), metadata)
    copy_weights(source, target)
    assert target.second.weight is target.first.weight
    assert torch.equal(target.first.weight, source.first.weight)


# Weights of a file


def test_state_of_a_file_is_taken_whole(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "force")
    source, target = _fill(Parts(), 1), _fill(Parts(), 2)
    take_state(source.state_dict(), target, "model.pt")
    assert _read_values(target) == {"body.0": {1}, "head": {1}}
    assert caplog.messages == ["took 7 tensors of model.pt"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            Parts(num_classes=9),
            "'head.weight' is (3, 4) here and (9, 4) there; 'head.bias' is (3,) here and (9,) there",
        ),
        (
            Parts(num_layers=0),
            "'body.0.weight' is here, but not there; 'body.0.bias' is here, but not there; "
            "'body.0.running_mean' is here, but not there; and 2 more",
        ),
        (
            Parts(num_layers=2),
            "'body.1.weight' is there, but not here; 'body.1.bias' is there, but not here; "
            "'body.1.running_mean' is there, but not here; and 2 more",
        ),
    ],
)
def test_state_of_a_file_is_refused_when_it_does_not_fit(source: nn.Module, message: str) -> None:
    target = _fill(Parts(), 2)
    with pytest.raises(WeightsError) as raised:
        take_state(_fill(source, 1).state_dict(), target, "model.pt")
    assert str(raised.value) == f"the weights in 'model.pt' do not fit the model: {message}"
    assert _read_values(target) == {"body.0": {2}, "head": {2}}


@pytest.mark.parametrize("name", ["first.weight", "second.weight"])
def test_tied_weights_are_taken_by_one_of_their_names(name: str) -> None:
    target = TiedNet(Config(), make_dataset().metadata)
    take_state({name: torch.ones(16, 16)}, target, "model.pt")
    assert bool((target.first.weight == 1).all())
    assert target.second.weight is target.first.weight
