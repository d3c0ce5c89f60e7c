"""The stage `train`: a dataset becomes a model."""

import json
import time
from pathlib import Path
from typing import Any

from common.checkpoint import Checkpoints
from common.dataset import read_dataset
from common.loggers import History, Loggers
from common.saved_model import write_model
from pipeline.stages.task import Task
from pipeline.stages.trackers import make_loggers


def run(task: Task) -> dict[str, float]:
    """Train and write the model, its history and the effective config; return the throughput.

    A training that was killed is resumed from the task's checkpoints.
    """
    dataset = read_dataset(Path(task.inputs["prepare"]))
    runtime = task.config("engine", "runtime")
    trainer = task.component("trainer")(task.config("trainer", "train"), runtime)
    loader_class, loader_config = task.component("loader"), task.config("loader", "loader")
    checkpoints = Checkpoints(Path(task.checkpoint_dir)) if task.checkpoint_dir else None
    trainer.checkpoints = checkpoints
    batches = {
        name: loader_class(dataset.split(name), loader_config, training=name == "train", seed=runtime.seed)
        for name in ("train", "valid")
    }
    model_class = task.component("model")
    config = task.config("model", "model")
    model = model_class(config, dataset.metadata)
    history = History(task.target_dir)
    loggers = Loggers([history, *make_loggers(task)])
    loggers.start({"experiment": task.experiment, "params": task.params, "num_steps": None})
    started = time.perf_counter()
    num_epochs = trainer.config.epochs

    def record(row: dict[str, Any]) -> None:
        fraction = row["epoch"] / num_epochs
        seconds_left = (time.perf_counter() - started) / fraction * (1 - fraction)
        loggers.log_epoch(row)
        loggers.log_step(row["epoch"], {**row, "fraction": fraction, "seconds_left": seconds_left})

    try:
        trainer.fit(model, batches["train"], batches["valid"], record)
    except Exception:
        loggers.finish("failed")
        raise
    seconds = time.perf_counter() - started
    loggers.finish("finished")
    write_model(model, config, task.make_dir("model"))
    _write_config(task)
    num_samples = len(history.rows) * dataset.metadata.num_samples["train"]
    if checkpoints:
        seconds += checkpoints.resumed_s
        checkpoints.finish()
    return {"num_samples": num_samples, "samples_per_s": num_samples / seconds}


def _write_config(task: Task) -> None:
    classes = {kind: class_name for kind, (_, class_name) in task.components.items()}
    text = json.dumps({"components": classes, "params": task.params}, indent=1, sort_keys=True)
    (task.target_dir / "config.json").write_text(text + "\n")
