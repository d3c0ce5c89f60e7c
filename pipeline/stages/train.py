"""The stage `train`: a dataset becomes a model."""

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.checkpoint import Checkpoints
from common.dataset import read_dataset
from common.loggers import History, Loggers
from common.parallel import find_processes
from common.saved_model import copy_weights, read_model, write_model
from pipeline.params import INIT_FROM, INIT_MAP
from pipeline.stages.task import Task, import_class
from pipeline.stages.trackers import make_loggers

log = logging.getLogger("force")


def run(task: Task) -> dict[str, float]:
    """Train and write the model, its history and the effective config; return the throughput.

    A training that was killed is resumed from the task's checkpoints. Of several processes the first one writes.
    """
    dataset = read_dataset(Path(task.inputs["prepare"]))
    runtime = task.config("engine", "runtime")
    trainer = task.component("trainer")(task.config("trainer", "train"), runtime)
    loader_class, loader_config = task.component("loader"), task.config("loader", "loader")
    trainer.checkpoints = checkpoints = _open_checkpoints(task)
    batches = {
        name: loader_class(dataset.split(name), loader_config, training=name == "train", seed=runtime.seed)
        for name in ("train", "valid")
    }
    config = task.config("model", "model")
    model = task.component("model")(config, dataset.metadata)
    trainer.built_models = _read_built_models(task)
    _start_from(model, trainer.built_models, task.params.get("model", {}))
    is_first = find_processes().is_first
    history = History(task.target_dir)
    trainer.loggers = Loggers(
        [history, *make_loggers(task)] if is_first else [], {"experiment": task.experiment, "params": task.params}
    )
    started = time.perf_counter()
    model = trainer.fit(model, batches["train"], batches["valid"])
    seconds = time.perf_counter() - started
    if is_first:
        write_model(model, config, dataset.metadata, task.make_dir("model"))
        _write_config(task)
    num_samples = len(history.rows) * dataset.metadata.num_samples["train"]
    if checkpoints:
        seconds += checkpoints.resumed_s
        checkpoints.finish()
    return {"num_samples": num_samples, "samples_per_s": num_samples / seconds}


def _open_checkpoints(task: Task) -> Checkpoints | None:
    minutes = task.monitoring.get("checkpoint_minutes")
    return Checkpoints(Path(task.checkpoint_dir), task.params, minutes) if task.checkpoint_dir else None


def _read_built_models(task: Task) -> dict[str, nn.Module]:
    """Return the models that other experiments built; torch's generators are left as they are."""
    with torch.random.fork_rng(devices=[]):
        return {
            name: read_model(import_class(*built["component"]), Path(built["folder"]))
            for name, built in task.built_models.items()
        }


def _start_from(model: nn.Module, built_models: Mapping[str, nn.Module], params: Mapping[str, Any]) -> None:
    """Give a new model the weights of the built one that the params name, if they do."""
    if name := params.get(INIT_FROM):
        log.info("starting from the model of %s", name)
        copy_weights(built_models[name], model, params.get(INIT_MAP))


def _write_config(task: Task) -> None:
    classes = {kind: class_name for kind, (_, class_name) in task.components.items()}
    text = json.dumps({"components": classes, "params": task.params}, indent=1, sort_keys=True)
    (task.target_dir / "config.json").write_text(text + "\n")
