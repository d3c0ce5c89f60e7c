"""A function of tensors as the list of operations that it comes to.

What Python, autograd and vmap cost at every operation is paid once, where the list is made; it is then run as it is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.graph import CodeGen

_ATEN = torch.ops.aten
_RESHAPES = (_ATEN.expand.default, _ATEN.view.default, _ATEN._unsafe_view.default)


def trace(function: Callable[..., Sequence[Tensor]], *arguments: Tensor) -> GraphModule:
    """Return the operations of a function for arguments of these shapes; what it decides by anything else is fixed."""
    module: GraphModule = make_fx(lambda *given: function(*given))(*arguments)
    module.graph.set_codegen(CodeGen())  # tensors come and go as they are: nothing is packed or unpacked
    simplify(module)
    return module


def simplify(module: GraphModule) -> None:
    """Leave out operations that change nothing, or compute what is there; one that writes in place keeps all."""
    nodes = [node for node in module.graph.nodes if node.op == "call_function"]
    if any(node.target._schema.is_mutable for node in nodes if hasattr(node.target, "_schema")):
        return
    known: dict[tuple[Any, str, str], Node] = {}
    for node in nodes:
        same = _find_unchanged(node) or known.setdefault((node.target, str(node.args), str(node.kwargs)), node)
        if same is not node:
            node.replace_all_uses_with(same)
    module.graph.eliminate_dead_code()
    for node in module.graph.nodes:
        if node.op == "call_function" and not node.all_input_nodes:
            _keep_constant(module, node)
    module.graph.eliminate_dead_code()
    module.recompile()


def _find_unchanged(node: Node) -> Node | None:
    """Return the argument that an operation returns as it is."""
    first = node.args[0] if node.args else None
    if not isinstance(first, Node):
        return None
    ours, theirs = node.meta.get("tensor_meta"), first.meta.get("tensor_meta")
    if ours is None or theirs is None:
        return None
    is_same = (ours.shape, ours.stride, ours.dtype) == (theirs.shape, theirs.stride, theirs.dtype)
    if is_same and (node.target in _RESHAPES or (node.target is _ATEN.mul.Scalar and node.args[1] == 1)):
        return first
    inner = first.args[0] if first.target is node.target is _ATEN.transpose.int else None
    return inner if isinstance(inner, Node) and first.args[1:] == node.args[1:] else None


def _keep_constant(module: GraphModule, node: Node) -> None:
    """Compute once what depends on no argument."""
    name = f"constant_{node.name}"
    assert callable(node.target)
    module.register_buffer(name, node.target(*node.args, **node.kwargs))
    with module.graph.inserting_before(node):
        node.replace_all_uses_with(module.graph.get_attr(name))
