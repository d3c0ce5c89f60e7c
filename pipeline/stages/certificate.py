"""Say what metrics mean: on which samples, by which code, with which params. `pipeline.certificates` compares it."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from types import MethodType
from typing import Any

from torch import Tensor

from common.dataset import Batch
from common.evaluator import Evaluator
from common.metrics import Metric, Predictions, TorchMetric
from pipeline.certificates import VERSION
from pipeline.stages.codehash import hash_code


def build_certificate(
    evaluator: Evaluator, metrics: Mapping[str, Metric], predictions: Predictions, test: Batch
) -> dict[str, Any]:
    """Return the certificate of an evaluation.

    The samples are those that the evaluator really predicted, in the order of their ids. The inputs are noted, not
    compared: another preparation of the same samples is a fair comparison.
    """
    order = predictions.ids.argsort()
    params = dataclasses.asdict(evaluator.config)
    params.pop("metrics", None)  # each metric has its own arguments in its definition
    return {
        "version": VERSION,
        "test": {
            "num_samples": len(predictions.ids),
            "ids_sha256": _hash_tensor(predictions.ids[order]),
            "targets_sha256": _hash_tensor(predictions.targets[order]),
            "inputs_sha256": _hash_tensor(test.inputs),
        },
        "procedure": _describe_procedure(type(evaluator)),
        "params": params,
        "dtype": str(predictions.logits.dtype).removeprefix("torch."),
        "seed": evaluator.runtime.seed,
        "metrics": {
            name: {"direction": metric.direction, "unit": metric.unit, **_define(metric.function, predictions)}
            for name, metric in metrics.items()
        },
    }


def _describe_procedure(evaluator_class: type[Evaluator]) -> dict[str, Any]:
    """Return the hash of the code that predicts, and the class that says so: one that only adds metrics does not."""
    sha256 = _hash_procedure(evaluator_class)
    ancestors = [found for found in evaluator_class.__mro__ if issubclass(found, Evaluator)]
    origin = [found for found in ancestors if _hash_procedure(found) == sha256][-1]
    name = f"{origin.__module__}.{origin.__qualname__}"
    return {"class": name, "is_replaced": origin is not Evaluator, "sha256": sha256}


def _hash_procedure(evaluator_class: type[Evaluator]) -> str:
    return hash_code(MethodType(evaluator_class.evaluate, evaluator_class))


def _define(function: Any, predictions: Predictions) -> dict[str, str]:
    """Return what computes a metric, in words and as a hash: of a class of torchmetrics its name and arguments."""
    if not isinstance(function, TorchMetric):
        plain = function.func if isinstance(function, functools.partial) else function
        name = f"{plain.__module__}.{getattr(plain, '__qualname__', type(plain).__qualname__)}"
        return {"definition": name, "definition_sha256": hash_code(function)}
    arguments = function.fill(predictions)
    words = ", ".join(f"{key}={json.dumps(value)}" for key, value in sorted(arguments.items()))
    # The code that makes scores of outputs counts; the version of torchmetrics does not.
    text = json.dumps([function.class_name, arguments, hash_code(function.scores)], sort_keys=True)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return {"definition": f"{function.class_name}({words})", "definition_sha256": sha256}


def _hash_tensor(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
