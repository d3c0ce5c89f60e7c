"""The block that transformers are made of."""

import torch
from torch import nn

from common.zoo.attention import Attention, Block


def test_attention_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = Attention(12, 3, 0.0), nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.project_in.weight,
            "in_proj_bias": ours.project_in.bias,
            "out_proj.weight": ours.project_out.weight,
            "out_proj.bias": ours.project_out.bias,
        }
    )
    inputs = torch.randn(2, 5, 12)
    seen = torch.tensor([[True, True, True, True, True], [True, True, False, True, False]])
    expected, _ = theirs(inputs, inputs, inputs, key_padding_mask=~seen)
    torch.testing.assert_close(ours(inputs, seen), expected)


def test_block_passes_its_input_on_when_its_last_layers_are_zero() -> None:
    block = Block(8, 2, 4, 0.0)
    for layer in (block.attention.project_out, block.mlp[3]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    inputs = torch.randn(2, 5, 8)
    assert torch.equal(block(inputs), inputs)
