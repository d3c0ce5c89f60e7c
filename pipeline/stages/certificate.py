"""Say what metrics mean: on which samples, by which code, with which params. `pipeline.certificates` compares it."""

import ast
import hashlib
import inspect
import textwrap
from types import FunctionType
from typing import Any

from torch import Tensor

from common.dataset import Batch
from common.evaluator import Evaluator, Predictions

VERSION = 1


def build_certificate(
    evaluator: Evaluator, predictions: Predictions, test: Batch, params: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Return the certificate of an evaluation.

    The samples are those that the evaluator really predicted, in the order of their ids. The inputs are noted, not
    compared: another preparation of the same samples is a fair comparison.
    """
    order = predictions.ids.argsort()
    return {
        "version": VERSION,
        "test": {
            "num_samples": len(predictions.ids),
            "ids_sha256": _hash_tensor(predictions.ids[order]),
            "targets_sha256": _hash_tensor(predictions.targets[order]),
            "inputs_sha256": _hash_tensor(test.inputs),
        },
        "procedure_sha256": hash_code(type(evaluator).evaluate, type(evaluator).predict, type(evaluator).batches),
        "params": params.get("evaluate", {}),
        "dtype": str(predictions.logits.dtype).removeprefix("torch."),
        "seed": evaluator.runtime.seed,
        "metrics": {
            name: {
                "direction": metric.direction,
                "unit": metric.unit,
                "definition_sha256": hash_code(metric.compute),
            }
            for name, metric in evaluator.metrics().items()
        },
    }


def hash_code(*functions: Any) -> str:
    """Return the sha256 of functions and of the first-party functions that they call by name.

    Comments, docstrings and layout do not count.
    """
    seen: dict[str, str] = {}
    waiting = list(functions)
    while waiting:
        function = waiting.pop()
        name = f"{function.__module__}.{function.__qualname__}"
        if name in seen or not isinstance(function, FunctionType):
            continue
        seen[name] = _dump_source(function)
        called = (function.__globals__.get(name) for name in function.__code__.co_names)
        waiting += [f for f in called if getattr(f, "__module__", "").startswith(("common.", "experiments."))]
    # A renamed or copied experiment computes the same thing: where the code stands does not count, what it says does.
    return hashlib.sha256("\n".join(sorted(seen.values())).encode()).hexdigest()


def _dump_source(function: FunctionType) -> str:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def _hash_tensor(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
