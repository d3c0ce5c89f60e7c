"""Targets of every kind, from params to metrics, in real runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.checkouts import Checkout
from tests.flows.commands import force

pytestmark = pytest.mark.slow

SCENES = """\
description: pixels with a class each
params:
  data:
    source: {name: image_folder, path: data/scenes, masks: data/masks, classes: [dark, bright], colours: grey}
  loader: {batch_size: 8}
  train: {epochs: 5}
  evaluate:
    metrics: {overlap: {name: MulticlassJaccardIndex}}
"""
PIXEL_NET = {
    "layers": [
        {"Conv2d": {"out_channels": 8, "kernel_size": 3, "padding": 1}},
        "ReLU",
        {"Conv2d": {"out_channels": "classes", "kernel_size": 1}},
    ]
}
SYMPTOMS = """\
description: several labels a sample
components: {model: "common.zoo.mlp:MLP"}
params:
  data:
    source: {name: table, path: data/symptoms.csv, target: [fever, cough], id: patient, one_hot: [sex], missing: keep}
    transforms: [{name: impute}, {name: normalise}]
    duplicates: allow
  model: {hidden: [16], outputs: 2}
  loader: {batch_size: 8}
  train:
    epochs: 40
    loss: {name: binary_cross_entropy_with_logits}
    monitor: valid_loss
  evaluate:
    metrics: {accuracy: {name: MultilabelAccuracy}, calibration_error: null, cross_entropy: null}
"""
VERSES = """\
description: the next token of each
params:
  data:
    source: {name: text, path: data/verses.txt, sample: line}
    transforms: [{name: tokenise, length: 8, max_words: 30}, {name: next_token}]
    duplicates: allow
  loader: {batch_size: 8}
  train: {epochs: 10}
  evaluate:
    metrics: {calibration_error: null}
"""
READER = """\
from dataclasses import dataclass

from torch import Tensor, nn

from common.dataset import Metadata
from common.model import Model


@dataclass(frozen=True)
class Config:
    vocabulary: int = 32


class Reader(Model):
    def __init__(self, config: Config, metadata: Metadata) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary, 16)
        self.memory = nn.GRU(16, 32, batch_first=True)
        self.head = nn.Linear(32, config.vocabulary)

    def forward(self, inputs: Tensor) -> Tensor:
        states, _ = self.memory(self.embedding(inputs))
        logits: Tensor = self.head(states)
        return logits.transpose(1, 2)
"""
UNLABELLED = """\
description: nothing to predict but the inputs themselves
components: {model: "common.zoo.mlp:MLP"}
params:
  data:
    source: {name: table, path: data/points.csv}
    duplicates: allow
  model: {hidden: [4], outputs: 3}
  train: {epochs: 3, monitor: valid_loss}
  evaluate:
    metrics: {accuracy: null, calibration_error: null, cross_entropy: null}
"""
REBUILD = """\
from torch import Tensor, nn

from common.dataset import Batch
from common.trainer import Config, Trainer


class Rebuild(Trainer):
    def compute_loss(self, model: nn.Module, batch: Batch, role: str) -> Tensor:
        return nn.functional.mse_loss(model(batch.inputs), batch.inputs)

    def valid_step(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"loss": nn.functional.mse_loss(model(batch.inputs), batch.inputs)}
"""
REBUILT = """\
from torch import Tensor, nn

from common.evaluator import Config, Evaluator, Metric, Predictions
from common.loader import Loader


def error(predictions: Predictions, config: Config) -> float:
    return (predictions.logits - predictions.targets).square().mean().item()


class Rebuilt(Evaluator):
    def metrics(self) -> dict[str, Metric]:
        return {**super().metrics(), "error": Metric(error, "min", "")}

    def evaluate(self, model: nn.Module, test: Loader) -> Predictions:
        return super().evaluate(model, test)._replace(targets=test.samples.inputs)
"""


def run(checkout: Checkout, name: str) -> dict[str, float]:
    """Run an experiment; return its metrics."""
    done = force(checkout, "run", name)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, float] = json.loads((outputs(checkout, name) / "evaluate/metrics.json").read_text())
    return found


def outputs(checkout: Checkout, name: str) -> Path:
    """Return where an experiment's outputs are."""
    return checkout.root / f"experiments/{name}/outputs"


def read_metadata(checkout: Checkout, name: str) -> dict[str, Any]:
    """Return what is known of the data of an experiment."""
    found: dict[str, Any] = json.loads((outputs(checkout, name) / "prepare/data/metadata.json").read_text())
    return found


def test_every_pixel_may_have_a_class(built: Checkout) -> None:
    generator = np.random.default_rng(0)
    for kind in ("scenes", "masks"):
        (built.root / f"data/{kind}").mkdir(parents=True)
    for place in range(80):
        pixels = generator.integers(0, 256, (6, 8), dtype=np.uint8)
        mask = (pixels > 127).astype(np.uint8)
        mask[0] = 255
        Image.fromarray(pixels, "L").save(built.root / f"data/scenes/{place}.png")
        Image.fromarray(mask, "L").save(built.root / f"data/masks/{place}.png")
    built.experiment("scenes", SCENES)
    (built.root / "experiments/scenes/model.json").write_text(json.dumps(PIXEL_NET))
    metrics = run(built, "scenes")
    assert sorted(metrics) == ["accuracy", "calibration_error", "cross_entropy", "overlap"]
    assert metrics["accuracy"] > 0.7
    metadata = read_metadata(built, "scenes")
    assert (metadata["target_shape"], metadata["classes"]) == ([6, 8], ["dark", "bright"])
    confusion = (outputs(built, "scenes") / "evaluate/confusion.csv").read_text().splitlines()
    assert len(confusion) == 1 + 5 * 8 * metadata["num_samples"]["test"]  # the first row of pixels has no class


def test_sample_may_have_several_labels(built: Checkout) -> None:
    rows = [f"p{n},{n % 10 if n % 9 else ''},{'fm'[n % 2]},{n % 10 // 5},{n % 2}\n" for n in range(200)]
    built.write("data/symptoms.csv", "patient,weight,sex,fever,cough\n" + "".join(rows))
    built.experiment("symptoms", SYMPTOMS)
    assert run(built, "symptoms")["accuracy"] > 0.8
    metadata = read_metadata(built, "symptoms")
    assert (metadata["input_shape"], metadata["target_shape"]) == ([3], [2])
    assert [choice["name"] for choice in metadata["transforms"]] == ["impute", "normalise"]


def test_every_place_of_a_sequence_may_have_a_class(built: Checkout) -> None:
    built.write(
        "data/verses.txt", "".join(f"one two three four {'five six' if n % 2 else 'seven'}\n" for n in range(150))
    )
    built.experiment("verses", VERSES, model=READER)
    assert run(built, "verses")["accuracy"] > 0.6
    metadata = read_metadata(built, "verses")
    assert (metadata["input_shape"], metadata["target_shape"], metadata["classes"]) == ([7], [7], [])
    assert metadata["transforms"][0]["words"][:2] == ["four", "one"]


def test_there_may_be_nothing_to_predict(built: Checkout) -> None:
    built.write("data/points.csv", "a,b,c\n" + "".join(f"{n % 7},{n % 5},{n % 3}\n" for n in range(100)))
    built.experiment("points", UNLABELLED, trainer=REBUILD, evaluator=REBUILT)
    assert sorted(run(built, "points")) == ["error"]
    assert read_metadata(built, "points")["target_shape"] == [0]
