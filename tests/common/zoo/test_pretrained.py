"""Weights in a file of this machine."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from common.zoo.pretrained import PretrainedModel, Weights, WeightsFileError, check_taken


class Net(PretrainedModel):
    """A layer that begins with the weights of a file."""

    def __init__(self, weights: Weights | None) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        if state := self.read_weights(weights):
            self.layer.load_state_dict(state)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return one number a sample."""
        self.check_weights()
        return self.layer(inputs)


def _write(folder: Path) -> Weights:
    path = folder / "model.safetensors"
    save_file({"weight": torch.tensor([[2.0, 3.0]]), "bias": torch.tensor([1.0])}, path)
    return Weights(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def test_model_begins_with_the_weights_of_the_file(tmp_path: Path) -> None:
    assert Net(_write(tmp_path))(torch.ones(1, 2)).item() == 6.0


def test_model_begins_with_its_own_when_no_file_is_named() -> None:
    assert Net(None)(torch.ones(1, 2)).isfinite().all()


def test_error_names_both_hashes_when_the_file_is_another(tmp_path: Path) -> None:
    weights = _write(tmp_path)
    with pytest.raises(WeightsFileError, match=f"has the sha256 {weights.sha256}, `model.weights.sha256` is abc"):
        Net(Weights(weights.path, "abc"))


def test_model_does_nothing_when_the_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone.safetensors', which `model.weights.path` names"):
        Net(Weights(str(tmp_path / "gone.safetensors"), ""))(torch.ones(1, 2))


def test_built_model_is_read_when_the_file_is_gone(tmp_path: Path) -> None:
    weights = _write(tmp_path)
    built = Net(weights)
    Path(weights.path).unlink()
    read = Net(weights)
    read.load_state_dict(built.state_dict())
    assert read(torch.ones(1, 2)).item() == 6.0


def test_faults_are_named_when_tensors_are_not_taken() -> None:
    check_taken(["head.fc.bias"], ["pooler.weight"], ("head.fc", "pooler"))
    with pytest.raises(WeightsFileError, match=r"fit: 'a' is missing; 'b' is missing; 'c' is missing; and 1 more$"):
        check_taken(["a", "fc.bias", "b", "c"], ["d"], ("fc",))
