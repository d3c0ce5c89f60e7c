"""The transformer encoder."""

import pytest
import torch

from common.zoo.fitting import MisfitError
from common.zoo.transformer import Config, TransformerEncoder
from tests.common.zoo.cases import make_metadata

TOKENS = make_metadata((6,), "int64")


def test_order_counts() -> None:
    torch.manual_seed(0)
    model = TransformerEncoder(Config(vocabulary=9), TOKENS).eval()
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]])
    assert not torch.allclose(model(tokens), model(tokens.flip(1)), atol=1e-4)


def test_parameters_of_blocks_are_those_of_bert_when_sizes_are() -> None:
    with torch.device("meta"):
        model = TransformerEncoder(Config(30522, dim=768, depth=12, heads=12), TOKENS)
    # BERT-base: 85,054,464 in its 12 layers (Devlin et al. 2018); our last norm stands outside of them.
    assert sum(parameter.numel() for parameter in model.blocks.parameters()) == 85_054_464


@pytest.mark.parametrize(
    ("config", "shape", "dtype", "message"),
    [
        (Config(), (6,), "int64", "found int64 inputs without a vocabulary, wanted `model.vocabulary`"),
        (Config(9), (6, 3), "float32", "found a vocabulary of 9 with float32 inputs, wanted a vocabulary for tokens"),
        (Config(9), (1, 8, 8), "float32", r"found float32 inputs of shape \(1, 8, 8\), wanted tokens \(length,\)"),
        (Config(9), (6, 3), "int64", r"found int64 inputs of shape \(6, 3\), wanted tokens \(length,\)"),
        (Config(9, padding=9), (6,), "int64", "found padding 9 with a vocabulary of 9, wanted a padding inside"),
        (Config(9, dim=30), (6,), "int64", "found dim 30 with 4 heads"),
    ],
)
def test_error_says_what_does_not_fit(config: Config, shape: tuple[int, ...], dtype: str, message: str) -> None:
    with pytest.raises(MisfitError, match=message):
        TransformerEncoder(config, make_metadata(shape, dtype))
