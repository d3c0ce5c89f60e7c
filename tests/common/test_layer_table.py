"""A model's layers: the numbers by hand, whatever the model is made of."""

import pytest
import torch
from torch import Tensor, nn

from common.layer_table import ROOT, Layer, LayerTable, make_sample, tabulate
from tests.datasets import make_dataset
from tests.trainings import make_net


class Mixed(nn.Module):
    """Sequences (batch, 5, 16): attention, recurrence, a shared weight, one of its own, a layer never called."""

    def __init__(self, *, reads_values: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 16, bias=False)
        self.encoder = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.gru = nn.GRU(16, 8, batch_first=True)
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.tied = nn.Linear(16, 16)
        self.tied.weight = self.embed.weight
        self.shift = nn.Parameter(torch.zeros(16), requires_grad=False)
        self.spare = nn.ReLU()
        self._reads_values = reads_values

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (batch, 8)."""
        if self._reads_values and inputs.sum().item() > 1e6:
            raise AssertionError
        outputs = self.tied(self.encoder(self.embed(inputs) + self.shift))
        return self.lstm(self.gru(outputs)[0])[0][:, -1]


def _by_name(table: LayerTable) -> dict[str, Layer]:
    return {layer.name: layer for layer in table.layers}


def test_layers_are_counted_as_by_hand() -> None:
    table = tabulate(make_net(dropout=0.5), make_sample(make_dataset().metadata), 2)
    layers = _by_name(table)
    assert layers["features.0"] == Layer("features.0", "Conv2d", ((1, 4, 4, 4),), 36, 36, 2 * 36 * 16)
    assert layers["classifier.0"] == Layer("classifier.0", "Dropout", ((1, 8),), 0, 0, 0)
    assert layers["classifier.1"] == Layer("classifier.1", "Linear", ((1, 3),), 27, 27, 2 * 24)
    assert table.flops == 2 * (36 * 16 + 8 * 36 * 4 + 24)
    tensors = make_net().state_dict().values()
    assert table.num_bytes == sum(tensor.nbytes for tensor in tensors)
    assert table.num_parameters == sum(p.numel() for p in make_net().parameters())


@pytest.mark.parametrize("reads_values", [False, True])
def test_fused_layers_are_counted_on_every_device(reads_values: bool) -> None:
    model = Mixed(reads_values=reads_values).train()
    table = tabulate(model, torch.zeros(1, 5, 16), 1)
    layers = _by_name(table)
    in_and_out, feed_forward, attention = 5 * 16 * 16 * 4, 5 * 16 * 32 * 2, 2 * 5 * 5 * 16
    assert layers["encoder"].flops == 2 * (in_and_out + feed_forward + attention)
    assert layers["gru"].flops == 2 * 5 * 3 * (16 * 8 + 8 * 8)
    assert layers["gru"].outputs == ((1, 5, 8), (1, 1, 8))
    assert layers["lstm"].flops == 2 * 5 * 4 * (8 * 8 + 8 * 8)
    assert layers["spare"] == Layer("spare", "ReLU", None, 0, 0, 0)
    assert table.flops == sum(layer.flops or 0 for layer in table.layers)
    assert not table.fault
    assert all(module.training for module in model.modules())
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_shared_parameters_count_once_and_frozen_ones_do_not_train() -> None:
    model = Mixed()
    table = tabulate(model, None, 1)
    layers = _by_name(table)
    assert (layers["embed"].num_parameters, layers["tied"].num_parameters) == (256, 16)
    assert layers[ROOT] == Layer(ROOT, "Mixed", None, 16, 0, None)
    assert table.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert table.num_trainable == table.num_parameters - 16
    assert table.num_bytes == 4 * table.num_parameters


@pytest.mark.parametrize("depth", [1, 2, 3, 9])
def test_rows_add_up_to_the_same_at_every_depth(depth: int) -> None:
    table = tabulate(Mixed(), torch.zeros(1, 5, 16), depth)
    whole = tabulate(Mixed(), torch.zeros(1, 5, 16), 1)
    assert (table.flops, table.num_parameters) == (whole.flops, whole.num_parameters)
    assert sum(layer.flops or 0 for layer in table.layers) == table.flops
    assert len(table.layers) >= len(whole.layers)


def test_a_layer_that_is_called_twice_works_twice() -> None:
    layer = nn.Linear(4, 4)
    table = tabulate(nn.Sequential(layer, nn.ReLU(), layer), torch.zeros(1, 4), 1)
    assert _by_name(table)["0"].flops == 2 * 2 * 16
    assert table.num_parameters == 20


def test_parameters_are_counted_where_the_model_does_not_take_the_sample() -> None:
    table = tabulate(nn.Sequential(nn.Linear(3, 4)), torch.zeros(1, 16), 2)
    assert table.fault.startswith("RuntimeError: mat1 and mat2 shapes cannot be multiplied")
    assert table.layers == (Layer("0", "Linear", None, 16, 16, None),)
    assert table.flops is None


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning")
def test_a_program_has_parts_with_parameters_and_flops_as_a_whole() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    script = torch.jit.trace(net, torch.zeros(2, 1, 4, 4))  # type: ignore[no-untyped-call]
    table = tabulate(script, torch.zeros(1, 1, 4, 4), 2)
    assert table.layers[0] == Layer(ROOT, "Sequential", ((1, 3),), 0, 0, 2 * 48)
    assert table.layers[2] == Layer("1", "Linear", None, 51, 51, 0)
