"""What a stage's process is told."""

import dataclasses
import json
from pathlib import Path

import pytest

from common.model import Config as ModelConfig
from experiments.focal_loss.trainer import Config, FocalLossTrainer
from pipeline.stages.task import Task, read_task


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """A task that trains with the focal loss."""
    return Task(
        stage="train",
        root="/checkout",
        target=str(tmp_path),
        inputs={"prepare": "/checkout/common/outputs/prepare/data"},
        components={"trainer": ["experiments.focal_loss.trainer", "FocalLossTrainer"]},
        params={"train": {"gamma": 3.0}},
    )


def test_task_comes_back_as_it_was_written(task: Task, tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    path.write_text(json.dumps(dataclasses.asdict(task)))
    assert read_task(path) == task


def test_no_checkpoints_are_kept_when_the_task_names_no_folder(task: Task) -> None:
    assert task.checkpoint_dir == ""


def test_component_is_the_class_of_its_module(task: Task) -> None:
    assert task.component("trainer") is FocalLossTrainer


def test_config_is_filled_from_the_params(task: Task) -> None:
    assert task.config("trainer", "train") == Config(gamma=3.0)


def test_config_has_its_defaults_when_the_params_have_no_such_section(task: Task) -> None:
    assert task.config("trainer", "other") == Config()


def test_config_gets_nothing_of_whose_weights_training_starts_from(task: Task) -> None:
    params = {"model": {"channels": 4, "init_from": "wide", "init_map": {"a.": None}}}
    task = dataclasses.replace(task, components={"model": ["common.model", "ConvNet"]}, params=params)
    assert task.config("model", "model") == ModelConfig(channels=4)


def test_folder_is_made_below_the_target(task: Task, tmp_path: Path) -> None:
    assert task.make_dir("model") == tmp_path / "model"
    assert (tmp_path / "model").is_dir()
