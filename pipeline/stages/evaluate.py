"""The stage `evaluate`: a model becomes metrics, with a certificate of what they mean."""

import csv
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save_file
from torch import Tensor, nn

from common.curves import Curves, list_places
from common.dataset import NO_CLASS, Batch, Dataset, open_dataset
from common.evaluator import Evaluator
from common.loader import Loader
from common.metrics import Metric, MetricError, Predictions, TorchMetric
from common.performance import measure_performance
from common.saved_model import find_seeds, read_model
from pipeline.stages.certificate import build_certificate
from pipeline.stages.task import Task

log = logging.getLogger("force")


class BadPredictionsError(ValueError):
    """What an evaluation predicted, or was to predict, is not what metrics can be computed from."""


class _Evaluated(NamedTuple):
    """What the model of one seed reaches."""

    evaluator: Evaluator
    loader: Loader
    model: nn.Module
    predictions: Predictions
    values: dict[str, float]  # of the metrics

    def score(self, prefix: str) -> dict[str, Tensor]:
        """Return `PREFIX.NAME` → numbers of each sample. Raises MetricError where they are not one a sample."""
        scores = self.evaluator.scores(self.predictions)
        for name, score in scores.items():
            if tuple(score.shape) != tuple(self.predictions.ids.shape):
                shape, wanted = tuple(score.shape), (len(self.predictions.ids),)
                raise MetricError(f"the scores '{name}' have the shape {shape}, wanted {wanted}: one a sample")
        return {f"{prefix}.{name}": score for name, score in scores.items()}


def run(task: Task) -> dict[str, float]:
    """Write metrics, certificate, performance, predictions and plots; return the number of samples.

    Raises BadPredictionsError and MetricError, in one line, where there is nothing to compute or to compare.
    """
    with open_dataset(Path(task.inputs["prepare"])) as dataset:
        return _run(task, dataset)


def _run(task: Task, dataset: Dataset) -> dict[str, float]:
    if not len(dataset.test):
        raise BadPredictionsError("the test split is empty: raise data.test_fraction, or change the data component")
    seed, folder = task.config("engine", "runtime").seed, Path(task.inputs["train"])
    first = _evaluate(task, dataset, seed, folder)
    others = {other: _evaluate(task, dataset, other, place) for other, place in find_seeds(folder).items()}
    evaluator, loader, model, predictions, values = first
    _write_json(task.target_dir / "metrics.json", values)
    seeds = {seed: values, **{other: evaluated.values for other, evaluated in others.items()}}
    _write_json(task.target_dir / "seeds.json", {str(each): of_seed for each, of_seed in seeds.items()})
    _write_json(
        task.target_dir / "certificate.json",
        build_certificate(evaluator, evaluator.kept_metrics(), predictions, Batch(*dataset.test.tensors)),
    )
    batch = next(iter(evaluator.batches(loader)))
    _write_json(task.target_dir / "performance.json", measure_performance(model.to(evaluator.device), batch.inputs))
    scores = first.score("scores")
    for other, evaluated in others.items():
        scores |= evaluated.score(f"seed_{other}.scores")
    _write_predictions(task.target_dir / "predictions.safetensors", predictions, scores)
    _write_plots(task.target_dir, predictions, dataset.metadata.classes)
    return {"num_samples": len(predictions.ids)}


def _evaluate(task: Task, dataset: Dataset, seed: int, folder: Path) -> _Evaluated:
    """Return what the model in `folder`, the one of this seed, predicts, and its metrics."""
    runtime = replace(task.config("engine", "runtime"), seed=seed)
    evaluator = task.component("evaluator")(task.config("evaluator", "evaluate"), runtime)
    metrics = evaluator.kept_metrics()
    loader = task.component("loader")(dataset.test, task.config("loader", "loader"), training=False, seed=seed)
    model = read_model(task.component("model"), folder, task.trust.get("model", ""))
    predictions = sort_predictions(evaluator.evaluate(model, loader), dataset.metadata.classes)
    values = compute_metrics(metrics, predictions, evaluator.config)
    log.info("seed %d: %s", seed, "  ".join(f"{name} {value:.4f}" for name, value in values.items()))
    return _Evaluated(evaluator, loader, model, predictions, values)


def sort_predictions(predictions: Predictions, classes: Sequence[str]) -> Predictions:
    """Return the predictions in the order of their ids, so that row i of two results is the same sample.

    Raises BadPredictionsError, naming what was found and wanted, where they do not fit each other or the classes;
    without classes (a regression) any outputs will do.
    """
    logits, targets, ids = predictions
    shape, wanted = tuple(logits.shape), f"({len(ids)}, {len(classes) or 'outputs'})"
    if logits.ndim < 2 or len(logits) != len(ids) or (classes and shape[1] != len(classes)):
        raise BadPredictionsError(f"the model's outputs have the shape {shape}, wanted (samples, classes) = {wanted}")
    without = (shape[0], *shape[2:])
    if tuple(targets.shape) not in (without, shape):
        found = tuple(targets.shape)
        wanted = wanted if logits.ndim == 2 else str(shape)
        raise BadPredictionsError(f"the targets have the shape {found}, wanted {without}, or {wanted} of 0 and 1")
    _check_values(predictions, len(classes))
    order = ids.argsort(stable=True)
    return Predictions(*(tensor[order] for tensor in predictions))


def _check_values(predictions: Predictions, num_classes: int) -> None:
    logits, targets, ids = predictions
    is_strange = ~logits.isfinite().flatten(1).all(dim=1)
    if is_strange.any():
        count, first = int(is_strange.sum()), int(ids[is_strange][0])
        raise BadPredictionsError(f"outputs of {count} of {len(ids)} samples are not finite; the first has id {first}")
    highest = num_classes - 1 if predictions.has_one_class else 1
    allowed = NO_CLASS if predictions.has_one_class and targets.ndim > 1 else 0  # places may have no class
    is_outside = ((targets < 0) & (targets != allowed)) | (targets > highest)
    outside = is_outside.nonzero() if num_classes else targets[:0]
    if len(outside):
        found, first = targets[tuple(outside[0])].item(), int(ids[outside[0, 0]])
        raise BadPredictionsError(f"the target of the sample with id {first} is {found}, wanted 0 to {highest}")


def compute_metrics(metrics: Mapping[str, Metric], predictions: Predictions, config: Any) -> dict[str, float]:
    """Return the value of each metric. Raises MetricError, naming it, where one fails or is not finite."""
    values = {}
    for name, metric in metrics.items():
        try:
            values[name] = float(metric.function(predictions, config))
        except Exception as error:
            kind = "" if isinstance(error, MetricError) else f"{type(error).__name__}: "
            failure = MetricError(f"metric '{name}': {kind}{' '.join(str(error).split())}")
            # The place in a metric of ours helps; one in the code that calls torchmetrics does not.
            place = None if isinstance(metric.function, TorchMetric) else error.__traceback__
            raise failure.with_traceback(place) from error
    strange = [f"'{name}' is {value}" for name, value in values.items() if not math.isfinite(value)]
    if strange:
        raise MetricError(f"metric {', '.join(strange)}, wanted a finite number")
    return values


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def _write_predictions(path: Path, predictions: Predictions, scores: Mapping[str, Tensor]) -> None:
    tensors = {**predictions._asdict(), **scores}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def _write_plots(folder: Path, predictions: Predictions, classes: Sequence[str]) -> None:
    """Write the data of the plots; without classes there is nothing in them, but DVC wants the files."""
    curves = Curves(predictions) if classes else None
    reliability, roc = (curves.reliability(), curves.roc()) if curves else ([], [])
    _write_table(folder / "reliability.csv", ("confidence", "accuracy", "num_samples"), reliability)
    _write_table(folder / "roc.csv", ("false_positive_rate", "true_positive_rate"), roc)
    precision_recall = curves.precision_recall() if curves else []
    _write_table(folder / "precision_recall.csv", ("recall", "precision"), precision_recall)
    _write_table(folder / "confusion.csv", ("actual", "predicted"), _list_pairs(predictions, classes))


def _list_pairs(predictions: Predictions, classes: Sequence[str]) -> list[dict[str, str]]:
    """Return a row for each sample, or place: `dvc plots` counts them into a matrix."""
    if not classes or not predictions.has_one_class:
        return []
    logits, targets = list_places(predictions)
    pairs = zip(targets.tolist(), logits.argmax(dim=1).tolist(), strict=True)
    return [{"actual": classes[actual], "predicted": classes[predicted]} for actual, predicted in pairs]


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in map(row.get, columns)])
