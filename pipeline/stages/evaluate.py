"""The stage `evaluate`: a model becomes metrics, with a certificate of what they mean."""

import csv
import json
import logging
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from common.dataset import Batch, read_dataset
from common.saved_model import read_model
from pipeline.stages.certificate import build_certificate
from pipeline.stages.task import Task

log = logging.getLogger("force")


def run(task: Task) -> dict[str, float]:
    """Write metrics, certificate, predictions and confusion plot; return the number of samples.

    Raises ValueError where a metric is not a finite number: JSON has no word for it, and no report could compare it.
    """
    dataset = read_dataset(Path(task.inputs["prepare"]))
    runtime = task.config("engine", "runtime")
    config = task.config("evaluator", "evaluate")
    evaluator = task.component("evaluator")(config, runtime)
    loader = task.component("loader")(dataset.test, task.config("loader", "loader"), training=False, seed=runtime.seed)
    model = read_model(task.component("model"), Path(task.inputs["train"]))
    predictions = evaluator.evaluate(model, loader)
    metrics = evaluator.metrics()
    values = {name: float(metric.compute(predictions, config)) for name, metric in metrics.items()}
    strange = {name: value for name, value in values.items() if value - value != 0}
    if strange:
        raise ValueError(f"metrics that are no finite numbers: {strange}")
    log.info("%s", "  ".join(f"{name} {value:.4f}" for name, value in values.items()))
    _write_json(task.target_dir / "metrics.json", values)
    certificate = build_certificate(evaluator, predictions, Batch(*dataset.test.tensors), task.params)
    _write_json(task.target_dir / "certificate.json", certificate)
    save_file(
        {name: tensor.contiguous() for name, tensor in predictions._asdict().items()},
        task.target_dir / "predictions.safetensors",
    )
    _write_confusion(
        task.target_dir / "confusion.csv", predictions.logits, predictions.targets, dataset.metadata.classes
    )
    return {"num_samples": len(predictions.ids)}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def _write_confusion(path: Path, logits: Tensor, targets: Tensor, classes: tuple[str, ...]) -> None:
    """Write one row a sample: `dvc plots` counts them into a matrix."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["actual", "predicted"])
        pairs = zip(targets.tolist(), logits.argmax(dim=1).tolist(), strict=True)
        writer.writerows((classes[actual], classes[predicted]) for actual, predicted in pairs)
