"""Checkouts with results that a report can be made of."""

import json
from typing import Any

import numpy as np

from pipeline.outs import PREDICTIONS
from tests.checkouts import Checkout
from tests.predictions import write_predictions
from tests.recorded import make_certificate, override, read_lock, record, resolve, write_lock, write_result

NUM = 400
MICRO = 'MulticlassAccuracy(average="micro", num_classes=10)'


def make_scores(accuracy: float, loss: float) -> dict[str, np.ndarray]:
    """Return scores of samples whose means are these."""
    losses = np.random.default_rng(0).exponential(1, NUM)
    return {
        "scores.correct": (np.arange(NUM) < accuracy * NUM).astype(np.float64),
        "scores.cross_entropy": losses * loss / losses.mean(),
    }


def leave(checkout: Checkout, name: str, accuracy: float, loss: float, **changes: Any) -> None:
    """Leave the result of an evaluation, and record it as what the stage wrote."""
    folder = "common" if name == "common" else f"experiments/{name}"
    metrics = {"accuracy": accuracy, "cross_entropy": loss}
    certificate = make_certificate()
    certificate["metrics"]["accuracy"]["definition"] = MICRO
    write_result(checkout, folder, metrics, **{"metrics": certificate["metrics"], **changes})
    checkout.write(f"{folder}/outputs/evaluate/seeds.json", json.dumps({"0": metrics}))
    write_predictions(checkout.root / folder / PREDICTIONS, make_scores(accuracy, loss))
    settle(checkout, name, folder)


def settle(checkout: Checkout, name: str, folder: str) -> None:
    """Record what is there as what the stage wrote."""
    project, _ = resolve(checkout)
    stages = read_lock(checkout, name)
    for out in (out for stage in stages.values() for out in stage["outs"]):
        out["md5"] = project.index.md5(f"{folder}/{out['path']}") or out["md5"]
    write_lock(checkout, name, stages)


def make_reported(checkout: Checkout) -> None:
    """Leave results of common, of `x` that is better, and of `y` that is hardly another."""
    checkout.experiment("x", evaluator=override("evaluator"))
    checkout.experiment("y", evaluator=override("evaluator"))
    record(checkout)
    leave(checkout, "common", 0.8, 0.5)
    leave(checkout, "x", 0.9, 0.3)
    leave(checkout, "y", 0.805, 0.5)
