"""Traced operations compute what the function does, and fewer of them are left."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from common.tracing import trace

INPUTS = torch.arange(6.0).view(2, 3)


def list_operations(function: Callable[..., tuple[Tensor, ...]], *arguments: Tensor) -> list[str]:
    """Return the names of the operations that are left, once they were found to compute the same."""
    module = trace(function, *arguments)
    for ours, theirs in zip(module.forward(*arguments), function(*arguments), strict=True):
        assert torch.equal(ours, theirs)
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda x: (x.view(2, 3).expand(2, 3) + 1,), ["aten.add.Tensor"]),
        (lambda x: (x.view(3, 2) + 1,), ["aten.view.default", "aten.add.Tensor"]),
        (lambda x: (x.expand(4, 2, 3) + 1,), ["aten.expand.default", "aten.add.Tensor"]),
        (lambda x: (torch.ops.aten.mul.Scalar(x, 1) + 1,), ["aten.add.Tensor"]),
        (lambda x: (torch.ops.aten.mul.Scalar(x, 2) + 1,), ["aten.mul.Scalar", "aten.add.Tensor"]),
        (lambda x: (x.transpose(0, 1).transpose(0, 1) + 1,), ["aten.add.Tensor"]),
        (
            lambda x: (x[None].transpose(0, 1).transpose(1, 2) + 1,),
            ["aten.unsqueeze.default", *["aten.transpose.int"] * 2, "aten.add.Tensor"],
        ),
        (lambda x: (x.sin() + x.sin(),), ["aten.sin.default", "aten.add.Tensor"]),
        (lambda x: (x.sum(0), x.sum(1)), ["aten.sum.dim_IntList", "aten.sum.dim_IntList"]),
        (lambda x: (x + torch.ones(3),), ["aten.add.Tensor"]),
        (lambda x: (x.cos(), x.sin() * 0 + 1)[:1], ["aten.cos.default"]),
    ],
)
def test_operations_that_change_nothing_are_left_out(
    function: Callable[..., tuple[Tensor, ...]], left: list[str]
) -> None:
    assert list_operations(function, INPUTS) == left


def test_operations_stay_when_one_writes_in_place() -> None:
    def change(inputs: Tensor) -> tuple[Tensor, ...]:
        first, second = inputs.sin(), inputs.sin()
        return first.add_(1), second

    assert list_operations(change, INPUTS).count("aten.sin.default") == 2


def test_what_was_traced_is_what_other_values_go_through() -> None:
    module = trace(lambda x: (x.relu() + torch.ones(3),), INPUTS)
    assert torch.equal(module.forward(-INPUTS)[0], torch.ones(2, 3))
