"""ONNX, both ways."""

import copy
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from common.model_files.onnx_models import load_onnx, save_onnx
from common.model_files.sources import ModelFileError
from pipeline.modelfiles import detect
from pipeline.modelforms import Form

pytestmark = pytest.mark.vision


class Net(nn.Module):
    """Layers that become nodes of every kind: fused ones, plain operators with weights, shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(64, 3)
        self.scale = nn.Parameter(torch.rand(3))
        self.norm = nn.LayerNorm(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of images of 4 × 4 pixels."""
        return self.norm(self.head(self.features(x).flatten(1)) * self.scale)


@pytest.fixture
def model() -> nn.Module:
    """A network that saw some numbers."""
    net = Net()
    net(torch.rand(8, 1, 4, 4))
    return net.eval()


@pytest.fixture
def path(model: nn.Module, tmp_path: Path) -> Path:
    """The network as ONNX."""
    save_onnx(model, torch.rand(2, 1, 4, 4), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_a_graph_answers_as_before_and_trains(model: nn.Module, path: Path) -> None:
    read = copy.deepcopy(load_onnx(path))
    inputs = torch.rand(7, 1, 4, 4)
    read.eval()
    assert torch.allclose(read(inputs), model(inputs), atol=1e-5)
    read.train()
    read(inputs).square().sum().backward()
    assert all(parameter.grad is not None for parameter in read.parameters())
    # Batch norm was folded into the convolution; nothing is there twice.
    assert sum(parameter.numel() for parameter in read.parameters()) == 4 * 9 + 4 + 64 * 3 + 3 + 3 + 6
    assert not [buffer for buffer in read.buffers() if buffer.is_floating_point()]


def _move_weights(path: Path, location: str) -> Path:
    """Have the tensors of a graph stand in another file, and say that it is at `location`."""
    graph = onnx.load(path)
    onnx.save(graph, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    graph = onnx.load(path, load_external_data=False)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    path.write_bytes(graph.SerializeToString())
    return path


def test_tensors_may_stand_beside_the_file(model: nn.Module, path: Path) -> None:
    _move_weights(path, "weights.bin")
    assert detect(path).files == (path, path.parent / "weights.bin")
    inputs = torch.rand(3, 1, 4, 4)
    assert torch.allclose(load_onnx(path).eval()(inputs), model(inputs), atol=1e-5)


@pytest.mark.parametrize(
    "location", ["../weights.bin", "/etc/passwd", "missing.bin", "link.bin", "a/../../weights.bin"]
)
def test_tensors_of_elsewhere_are_not_read(location: str, path: Path) -> None:
    _move_weights(path, location)
    (path.parent / "link.bin").symlink_to("/etc/passwd")
    with pytest.raises(ModelFileError, match=location):
        load_onnx(path)


def test_what_is_written_is_found_to_be_onnx(path: Path) -> None:
    found = detect(path)
    assert found.form is Form.ONNX
    assert " nodes by pytorch, " in found.description


def test_cut_files_are_refused(path: Path) -> None:
    content = path.read_bytes()
    for length in (0, 1, 100, len(content) // 2):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            load_onnx(path)


def test_an_operator_that_nobody_knows_is_refused(path: Path) -> None:
    graph = onnx.load(path)
    graph.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(graph, path)
    with pytest.raises(ModelFileError, match="cannot be converted"):
        load_onnx(path)
