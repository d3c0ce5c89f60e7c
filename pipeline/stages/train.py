"""The stage `train`: a dataset becomes a model."""

import importlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from common import vectorised
from common.checkpoint import Checkpoints
from common.dataset import Dataset, open_dataset
from common.file_model import FileModel
from common.loader import Loader
from common.loggers import History, Loggers
from common.parallel import find_processes
from common.saved_model import build_model, copy_weights, read_model, seed_folder, take_state, write_model
from common.trainer import Trainer
from common.vectorising import NotVectorisableError
from pipeline.params import INIT_FROM, INIT_MAP
from pipeline.stages.task import Task, import_class
from pipeline.stages.trackers import make_loggers

log = logging.getLogger("force")


class _Built(NamedTuple):
    """What a training begins with."""

    trainer: Trainer
    train: Loader
    valid: Loader
    model: nn.Module


def run(task: Task) -> dict[str, float]:
    """Train and write the model, its history and the effective config; return the throughput.

    A training that was killed is resumed from the task's checkpoints. Of several processes the first one writes. Of
    several seeds the model is that of the first one, and has those of the others below it.
    """
    with open_dataset(Path(task.inputs["prepare"])) as dataset:
        return _train(task, dataset)


def _train(task: Task, dataset: Dataset) -> dict[str, float]:
    seed = task.config("engine", "runtime").seed
    seeds = range(seed, seed + max(1, getattr(task.config("trainer", "train"), "vectorised_seeds", None) or 1))
    first, *others = [_build(task, dataset, each) for each in seeds]
    trainer, model = first.trainer, first.model
    trainer.checkpoints = checkpoints = _open_checkpoints(task)
    trainer.built_models = _read_built_models(task)
    _start_from(model, trainer.built_models, task.params.get("model", {}))
    is_first = find_processes().is_first
    history = History(task.target_dir)
    trainer.loggers = Loggers(
        [history, *make_loggers(task)] if is_first else [], {"experiment": task.experiment, "params": task.params}
    )
    started = time.perf_counter()
    models = _fit(task, first, others)
    seconds = time.perf_counter() - started
    if is_first:
        _write_models(task, dict(zip(seeds, models, strict=True)), dataset)
        _write_config(task)
    num_samples = _count_samples(history.rows, first.train, getattr(trainer.config, "accumulate", 1))
    if checkpoints:
        seconds += checkpoints.resumed_s
        checkpoints.finish()
    return {"num_samples": num_samples, "samples_per_s": num_samples / seconds}


def _build(task: Task, dataset: Dataset, seed: int) -> _Built:
    """Return what a training with this seed begins with: the trainer seeds what the model draws."""
    runtime = replace(task.config("engine", "runtime"), seed=seed)
    trainer = task.component("trainer")(task.config("trainer", "train"), runtime)
    loader_class, loader_config = task.component("loader"), task.config("loader", "loader")
    train, valid = (
        loader_class(dataset.split(name), loader_config, training=name == "train", seed=seed)
        for name in ("train", "valid")
    )
    file = Path(task.files["model"]) if "model" in task.files else None
    sha256 = task.trust.get("model", "")
    model = build_model(task.component("model"), task.config("model", "model"), dataset.metadata, file, sha256)
    if task.weights:
        _take_weights(model, **task.weights)
    return _Built(trainer, train, valid, model)


def _take_weights(model: nn.Module, path: str, form: str) -> None:
    states = importlib.import_module("common.model_files.states")  # trainings without such weights do not depend on it
    take_state(states.load_state(form, Path(path)), model, Path(path).name)


def _fit(task: Task, first: _Built, others: Sequence[_Built]) -> list[nn.Module]:
    """Train the model of each seed; return them."""
    trainer, train, valid, model = first
    if not others:
        fitted = trainer.fit(model, train, valid)
        return [model if fitted is None else fitted]  # a trainer's own `fit` may train in place, and return nothing
    if task.params.get("model", {}).get(INIT_FROM):
        raise NotVectorisableError(f"model.{INIT_FROM}", "every seed would start from the same weights")
    if task.weights or (isinstance(model, FileModel) and model.has_weights):
        raise NotVectorisableError("the model's file", "every seed would start from the same weights")
    models = [model, *(other.model for other in others)]
    vectorised.fit(trainer, models, [train, *(other.train for other in others)], valid)
    return models


def _count_samples(rows: Sequence[Mapping[str, float]], train: Loader, accumulate: int) -> int:
    """Return how many samples were trained on: an epoch may be cut short, or leave some out."""
    steps = [0, *(int(row.get("step", 0)) for row in rows)]
    step_size = accumulate * train.config.batch_size
    in_epochs = [(done - before) * step_size for before, done in pairwise(steps)]
    return sum(min(train.num_samples, seen) if seen > 0 else train.num_samples for seen in in_epochs)


def _write_models(task: Task, models: Mapping[int, nn.Module], dataset: Dataset) -> None:
    config, folder = task.config("model", "model"), task.make_dir("model")
    for index, (seed, model) in enumerate(models.items()):
        place = seed_folder(folder, seed) if index else folder
        place.mkdir(exist_ok=True)
        write_model(model, config, dataset.metadata, place)


def _open_checkpoints(task: Task) -> Checkpoints | None:
    minutes = task.monitoring.get("checkpoint_minutes")
    return Checkpoints(Path(task.checkpoint_dir), task.params, minutes) if task.checkpoint_dir else None


def _read_built_models(task: Task) -> dict[str, nn.Module]:
    """Return the models that other experiments built; torch's generators are left as they are."""
    with torch.random.fork_rng(devices=[]):
        return {
            name: read_model(import_class(*built["component"]), Path(built["folder"]), built.get("sha256", ""))
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
