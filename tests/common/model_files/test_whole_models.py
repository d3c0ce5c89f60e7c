"""Models in files of other tools, as models of ours: built, written and rebuilt."""

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from common.config import NoParams
from common.dataset import Metadata
from common.model_files.onnx_models import save_onnx
from common.model_files.saved_models import SavedModel
from common.model_files.sources import ModelFileError
from common.model_files.whole_models import (
    ExportedProgramModel,
    OnnxModel,
    PickledModel,
    TorchScriptModel,
    WholeModel,
    check_fit,
)
from common.saved_model import load_model, read_model, write_model
from pipeline.modelforms import hash_file
from tests.datasets import make_dataset
from tests.models import make_net, write_built, write_export, write_pickle, write_script

INPUTS = torch.rand(5, 1, 4, 4)


def _onnx(path: Path) -> None:
    save_onnx(make_net(), INPUTS, path)


@pytest.fixture(scope="module")
def metadata() -> Metadata:
    """What is known of the dots."""
    return make_dataset().metadata


def _train_a_little(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("model_class", "name", "save"),
    [
        (PickledModel, "model.pkl", write_pickle),
        (TorchScriptModel, "model.pt", write_script),
        (ExportedProgramModel, "model.pt2", write_export),
        pytest.param(OnnxModel, "model.onnx", _onnx, marks=pytest.mark.vision),
    ],
)
def test_model_comes_back_when_its_file_is_gone(
    model_class: type[WholeModel], name: str, save: Callable[[Path], None], tmp_path: Path, metadata: Metadata
) -> None:
    path, folder = tmp_path / name, tmp_path / "built"
    save(path)
    sha256 = "" if model_class is OnnxModel else hash_file(path)
    content = path.read_bytes()
    model = model_class(NoParams(), metadata, path, sha256)
    assert model.training
    _train_a_little(model)
    folder.mkdir()
    write_model(model, NoParams(), metadata, folder)
    path.unlink()
    assert (folder / "architecture" / name).read_bytes() == content
    assert json.loads((folder / "model.json").read_text()).get("sha256", "") == sha256
    read = load_model(folder.rename(tmp_path / "moved"))
    assert torch.equal(read.eval()(INPUTS), model.eval()(INPUTS))
    _train_a_little(read)
    assert not torch.equal(read(INPUTS), model(INPUTS))


@pytest.mark.vision
def test_files_of_tensors_are_kept_beside_a_graph(tmp_path: Path, metadata: Metadata) -> None:
    path = tmp_path / "model.onnx"
    _onnx(path)
    graph = onnx.load(path)
    path.unlink()
    onnx.save_model(graph, path, save_as_external_data=True, location="parts.bin", size_threshold=0)
    model = OnnxModel(NoParams(), metadata, path)
    write_built(tmp_path / "built", model, metadata)
    assert {file.name for file in (tmp_path / "built/architecture").iterdir()} == {"model.onnx", "parts.bin"}
    assert torch.equal(load_model(tmp_path / "built").eval()(INPUTS), model.eval()(INPUTS))


def test_code_in_a_built_model_runs_from_the_very_file_alone_that_was_trusted(
    tmp_path: Path, metadata: Metadata
) -> None:
    path, folder = tmp_path / "model.pkl", tmp_path / "built"
    write_pickle(path)
    sha256 = hash_file(path)
    write_built(folder, PickledModel(NoParams(), metadata, path, sha256), metadata)
    for pin in (sha256, None):
        assert read_model(PickledModel, folder, pin)
    for pin in ("", "0" * 64):
        with pytest.raises(ModelFileError, match=r"'model\.pkl' is not the file that is trusted"):
            read_model(PickledModel, folder, pin)
    write_pickle(folder / "architecture/model.pkl", nn.Sequential(make_net()))
    with pytest.raises(ModelFileError, match=r"'model\.pkl' is not the file that is trusted"):
        load_model(folder)


def test_file_is_not_copied_when_it_changed_while_its_model_trained(tmp_path: Path, metadata: Metadata) -> None:
    path = tmp_path / "model.pkl"
    write_pickle(path)
    model = PickledModel(NoParams(), metadata, path, hash_file(path))
    write_pickle(path, nn.Sequential(make_net()))
    with pytest.raises(ModelFileError, match="is not the file that is trusted"):
        model.write_file(tmp_path)


def test_built_model_is_a_model_in_turn(tmp_path: Path, metadata: Metadata) -> None:
    inner = write_built(tmp_path / "model")
    write_built(tmp_path / "model/seed_1")
    model = SavedModel(NoParams(), metadata, tmp_path / "model")
    assert torch.equal(model.eval()(INPUTS), inner.eval()(INPUTS))
    _train_a_little(model)
    write_built(tmp_path / "built", model, metadata)
    assert {path.name for path in (tmp_path / "built/architecture").iterdir()} == {
        *("model.json", "metadata.json", "weights.safetensors"),
    }
    again = SavedModel(NoParams(), metadata, tmp_path / "built")
    assert torch.equal(again.eval()(INPUTS), model.eval()(INPUTS))


def test_code_in_a_built_model_wants_a_pin_of_its_own_when_it_is_a_model_in_turn(
    tmp_path: Path, metadata: Metadata
) -> None:
    write_pickle(tmp_path / "model.pkl")
    sha256 = hash_file(tmp_path / "model.pkl")
    model = PickledModel(NoParams(), metadata, tmp_path / "model.pkl", sha256)
    write_built(tmp_path / "model", model, metadata)
    with pytest.raises(ModelFileError, match="is not the file that is trusted"):
        SavedModel(NoParams(), metadata, tmp_path / "model")
    twice = SavedModel(NoParams(), metadata, tmp_path / "model", sha256)
    write_built(tmp_path / "built", twice, metadata)
    assert load_model(tmp_path / "built")
    with pytest.raises(ModelFileError, match="is not the file that is trusted"):
        load_model(tmp_path / "built", "")


class Pair(nn.Module):
    """Gives two things."""

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs twice."""
        return inputs, inputs


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (make_net(num_inputs=64), r"'m' does not take a batch of the shape \(2, 1, 4, 4\): mat1 and mat2"),
        (
            make_net(num_classes=7),
            r"'m' gives \(2, 7\) for a batch of the shape \(2, 1, 4, 4\), wanted \(batch, classes\) = \(2, 3\)",
        ),
        (nn.Identity(), r"'m' gives \(2, 1, 4, 4\) for a batch"),
        (Pair(), "'m' gives tuple for a batch"),
    ],
)
def test_model_is_refused_in_one_line_when_it_does_not_take_the_data(
    model: nn.Module, message: str, metadata: Metadata
) -> None:
    with pytest.raises(ModelFileError, match=f"^{message}") as raised:
        check_fit(model, metadata, "m")
    assert "\n" not in str(raised.value)


def test_file_is_refused_when_its_model_does_not_take_the_data(tmp_path: Path, metadata: Metadata) -> None:
    path = tmp_path / "model.pkl"
    write_pickle(path, make_net(num_classes=7))
    with pytest.raises(ModelFileError, match=r"^'model\.pkl' gives \(2, 7\) for a batch"):
        PickledModel(NoParams(), metadata, path, hash_file(path))


def test_nothing_is_changed_by_the_trial(metadata: Metadata) -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(), make_net())
    model[0].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    check_fit(model, metadata, "m")
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model] == [False, True, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
