"""Models on disk."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from common.dataset import Metadata
from common.model import Config as ConvNetConfig
from common.model import ConvNet, Model
from common.saved_model import read_model, write_model
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
    write_model(model, ConvNetConfig(channels=2), tmp_path)
    read = read_model(ConvNet, make_dataset().metadata, tmp_path)
    assert read.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor)
    images = torch.rand(8, 1, 4, 4)
    assert torch.equal(read.eval()(images), model.eval()(images))


def test_bytes_are_equal_when_the_weights_are(tmp_path: Path) -> None:
    model, folders = _trained_net(), (tmp_path / "a", tmp_path / "b")
    for folder in folders:
        folder.mkdir()
        write_model(model, ConvNetConfig(channels=2), folder)
    for name in ("weights.safetensors", "model.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_model_is_refused_when_it_is_of_another_class(tmp_path: Path) -> None:
    write_model(_trained_net(), ConvNetConfig(channels=2), tmp_path)
    with pytest.raises(TypeError, match="holds a ConvNet, not the OtherNet"):
        read_model(OtherNet, make_dataset().metadata, tmp_path)


def test_config_comes_back_with_its_tuples(tmp_path: Path) -> None:
    metadata = make_dataset().metadata
    write_model(WideNet(Config((16, 8)), metadata), Config((16, 8)), tmp_path)
    read = read_model(WideNet, metadata, tmp_path)
    assert isinstance(read, WideNet)
    assert read.config == Config((16, 8))


def test_tied_weights_come_back_tied(tmp_path: Path) -> None:
    metadata = make_dataset().metadata
    model = TiedNet(Config(), metadata)
    write_model(model, Config(), tmp_path)
    read = read_model(TiedNet, metadata, tmp_path)
    assert isinstance(read, TiedNet)
    assert read.second.weight is read.first.weight
    assert torch.equal(read.first.weight, model.first.weight)
