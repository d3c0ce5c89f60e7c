"""Say what metrics mean: on which samples, by which code, with which params. `pipeline.certificates` compares it."""

import hashlib
from typing import Any

from torch import Tensor

from common.dataset import Batch
from common.evaluator import Evaluator, Predictions
from pipeline.stages.codehash import hash_code

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
        "procedure_sha256": hash_code(evaluator.evaluate),
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


def _hash_tensor(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
