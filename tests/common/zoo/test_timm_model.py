"""Models of timm."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from common.saved_model import read_model, write_model
from common.zoo import timm_model
from common.zoo.fitting import MisfitError
from common.zoo.pretrained import Weights, WeightsFileError
from common.zoo.timm_model import Config, TimmModel
from tests.common.zoo.cases import make_metadata

IMAGES = make_metadata((1, 32, 32))


def _save(state: dict[str, Tensor], folder: Path) -> Weights:
    path = folder / "pretrained.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return Weights(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def _make_state() -> dict[str, Tensor]:
    """Return the weights of a model for colour images of 1000 classes."""
    return timm_model.timm.create_model("resnet10t").state_dict()


def test_error_names_the_extra_when_timm_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_model, "timm", None)
    with pytest.raises(ModuleNotFoundError, match=r"^timm is not installed: make extras NAMES=timm$"):
        TimmModel(Config("resnet10t"), IMAGES)


@pytest.mark.vision
def test_model_fits_the_channels_and_classes_of_the_data(tmp_path: Path) -> None:
    config = Config("resnet10t", {"drop_rate": 0.1})
    model = TimmModel(config, IMAGES).eval()
    outputs = model(torch.ones(2, 1, 32, 32))
    assert outputs.shape == (2, 3)
    write_model(model, config, IMAGES, tmp_path)
    assert torch.equal(read_model(TimmModel, tmp_path).eval()(torch.ones(2, 1, 32, 32)), outputs)


@pytest.mark.vision
def test_weights_are_those_of_the_file_but_for_another_classifier(tmp_path: Path) -> None:
    state = _make_state()
    model = TimmModel(Config("resnet10t", weights=_save(state, tmp_path)), make_metadata((3, 32, 32))).model
    found = {name for name, tensor in model.state_dict().items() if torch.equal(tensor, state[name])}
    assert set(state) - found == {"fc.weight", "fc.bias"}


@pytest.mark.vision
def test_first_layer_is_adapted_when_the_data_has_fewer_channels(tmp_path: Path) -> None:
    state = _make_state()
    model = TimmModel(Config("resnet10t", weights=_save(state, tmp_path)), IMAGES).model
    grey = state["conv1.0.weight"].sum(dim=1, keepdim=True)
    torch.testing.assert_close(model.state_dict()["conv1.0.weight"], grey)


@pytest.mark.vision
def test_error_is_one_line_when_weights_are_of_another_model(tmp_path: Path) -> None:
    weights = _save({name: tensor for name, tensor in _make_state().items() if "layer4" not in name}, tmp_path)
    with pytest.raises(WeightsFileError, match=r"^`model.weights` do not fit: 'layer4\S+' is missing; .*more$"):
        TimmModel(Config("resnet10t", weights=weights), IMAGES)
    weights = _save({**_make_state(), "bn1.weight": torch.ones(3)}, tmp_path)
    with pytest.raises(WeightsFileError, match=r"^`model.weights` do not fit: .*size mismatch for bn1.weight.*$"):
        TimmModel(Config("resnet10t", weights=weights), IMAGES)


@pytest.mark.vision
@pytest.mark.parametrize("name", ["resnet_18", "hf-hub:timm/resnet18.a1_in1k"])
def test_names_that_timm_does_not_know_are_refused_unasked(name: str) -> None:
    with pytest.raises(MisfitError, match=f"found the name '{name}', wanted "):
        TimmModel(Config(name), IMAGES)
