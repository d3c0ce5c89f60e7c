"""Rows of tokens that are their own targets."""

import pytest
import torch

from common.samples import BadSourceError, Samples
from common.transforms.next_token import NextToken

ROWS = torch.tensor([[5, 6, 7], [8, 0, 0]])


def test_target_is_the_token_that_follows() -> None:
    found = NextToken()(Samples(ROWS, ["a", "b"], [0, 1], ("a", "b")))  # type: ignore[arg-type]
    assert found.inputs.tolist() == [[5, 6], [8, 0]]
    assert found.targets.tolist() == [[6, 7], [-100, -100]]  # type: ignore[union-attr]
    assert found.classes == ()


def test_every_number_is_predicted_when_nothing_fills_up() -> None:
    found = NextToken(padding=None)(Samples(ROWS, torch.zeros(2), torch.arange(2)))
    assert found.targets.tolist() == [[6, 7], [0, 0]]  # type: ignore[union-attr]


@pytest.mark.parametrize("inputs", [["text"], torch.zeros(1, 3), torch.zeros(1, 1, dtype=torch.int64)])
def test_what_is_no_row_of_tokens_is_refused(inputs: object) -> None:
    with pytest.raises(BadSourceError, match="wants rows of two tokens or more"):
        NextToken()(Samples(inputs, torch.zeros(1), torch.arange(1)))
