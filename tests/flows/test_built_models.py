"""Trainings that start from, or use, what another experiment built: real runs, in the right order."""

import json
from typing import Any

import pytest

from tests.checkouts import Checkout
from tests.flows.commands import dvc, force

pytestmark = pytest.mark.slow

STARTED = """\
inherits: wide
params:
  model:
    init_from: wide
    init_map: {"features.": "features.", "features.0.": null}
  train: {epochs: 1}
"""
DISTILLER = """\
from dataclasses import dataclass

from common import trainer
from common.config import BuiltModel
from common.trainer import Trainer


@dataclass(frozen=True)
class Config(trainer.Config):
    teacher: BuiltModel | None = None


class Distiller(Trainer):
    def compute_loss(self, model, batch, role):
        assert self.built_models[self.config.teacher](batch.inputs).shape == (len(batch.ids), 10)
        return super().compute_loss(model, batch, role)
"""


@pytest.fixture
def started(built: Checkout) -> Checkout:
    """The built checkout with `started`, which starts from a part of the model of `wide`, and has not run."""
    built.experiment("started", STARTED)
    return built


def list_ended(stdout: str) -> list[tuple[str, ...]]:
    """Return (how it ended, experiment, stage) of the stages of a run, in the order in which they ended."""
    lines = [line.split() for line in stdout.splitlines()]
    return [(line[0], line[1].rstrip(":"), line[2]) for line in lines if len(line) > 2 and line[1].endswith(":")]


def read_plan(checkout: Checkout, name: str) -> dict[str, tuple[str, list[str]]]:
    """Return state and reasons of the stages of an experiment."""
    rows: list[dict[str, Any]] = json.loads(force(checkout, "plan", name, "--json").stdout)
    return {row["stage"]: (row["state"], [reason["text"] for reason in row["reasons"]]) for row in rows}


def test_training_starts_from_the_model_of_another_and_follows_it(started: Checkout) -> None:
    done = force(started, "run", "started:train")
    assert done.returncode == 0, done.stdout + done.stderr
    log = (started.root / "experiments/started/outputs/train/train.log").read_text()
    assert "starting from the model of wide\ntook 11 of 14 tensors, left features.0.weight, " in log
    assert force(started, "run", "started:train").stdout.startswith("nothing to do")
    assert dvc(started, "status", "experiments/started/dvc.yaml:train").stdout.endswith("are up to date.\n")
    edges = dvc(started, "dag", "--dot").stdout
    assert '"experiments/wide/dvc.yaml:train" -> "experiments/started/dvc.yaml:train";' in edges
    before = (started.root / "experiments/started/dvc.lock").read_text()

    wide = started.root / "experiments/wide/experiment.yaml"
    text = wide.read_text()
    wide.write_text(text + "  train: {epochs: 3}\n")
    assert read_plan(started, "started")["train"] == ("run", ["train of wide runs first"])
    done = force(started, "run", "--jobs", "2", "started")
    assert list_ended(done.stdout) == [
        ("done", "wide", "train"),
        ("done", "started", "train"),
        ("done", "started", "evaluate"),
    ]
    assert (started.root / "experiments/started/dvc.lock").read_text() != before
    assert read_plan(started, "started")["train"] == ("up to date", [])

    wide.write_text(text)
    done = force(started, "run", "started:train")
    assert list_ended(done.stdout) == [("cached", "wide", "train"), ("cached", "started", "train")]


def test_trainer_uses_the_model_of_another_experiment(built: Checkout) -> None:
    built.experiment("distilled", "params: {train: {teacher: wide, epochs: 1}}\n", trainer=DISTILLER)
    done = force(built, "run", "distilled:train")
    assert done.returncode == 0, done.stdout + done.stderr


def test_stage_says_in_one_line_what_does_not_fit(built: Checkout) -> None:
    built.experiment("started", "params: {model: {init_from: wide}}\n")
    done = force(built, "run", "started")
    assert done.returncode == 6
    (line, hint) = done.stderr.splitlines()
    assert line.startswith("error: train of started failed: WeightsError: ")
    assert (
        "WeightsError: the weights do not fit: 'features.0.weight' is (32, 1, 3, 3) here and (40, 1, 3, 3) there; "
        in line
    )
    assert line.endswith("model.init_map says which parts to take, and which to leave as they are")
    assert hint == "hint: the log is experiments/started/outputs/train/failed.log"
