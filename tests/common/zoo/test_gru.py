"""The recurrent network."""

import pytest
import torch

from common.zoo.fitting import MisfitError
from common.zoo.gru import GRU, Config
from tests.common.zoo.cases import make_metadata


def test_each_direction_ends_at_its_end() -> None:
    torch.manual_seed(0)
    model = GRU(Config(vocabulary=9, bidirectional=True), make_metadata((6,), "int64")).eval()
    tokens = torch.tensor([[3, 1, 4, 1]])
    outputs, _ = model.recurrent(model.embed(tokens)[0])
    ends = torch.cat([outputs[:, -1, :128], outputs[:, 0, 128:]], dim=1)
    torch.testing.assert_close(model(tokens), model.classifier(ends))


def test_recurrent_matrices_are_orthogonal_at_the_start() -> None:
    model = GRU(Config(hidden=16, layers=2), make_metadata((6, 3)))
    for gate in model.recurrent.weight_hh_l1.chunk(3):
        torch.testing.assert_close(gate @ gate.T, torch.eye(16), atol=1e-5, rtol=0)


def test_padding_inside_a_sequence_is_read_over() -> None:
    model = GRU(Config(vocabulary=9), make_metadata((6,), "int64")).eval()
    assert not torch.allclose(model(torch.tensor([[3, 0, 4, 0]])), model(torch.tensor([[3, 0, 5, 0]])), atol=1e-5)


def test_error_says_what_does_not_fit() -> None:
    with pytest.raises(MisfitError, match=r"found float32 inputs of shape \(6,\), wanted tokens \(length,\) or floats"):
        GRU(Config(), make_metadata((6,)))
