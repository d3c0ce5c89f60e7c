"""The stage `prepare`: a source becomes a dataset."""

import logging

import torch

from pipeline.stages.task import Task

log = logging.getLogger("force")


def run(task: Task) -> dict[str, float]:
    """Write the dataset; return the number of samples."""
    torch.set_num_threads(1)  # as params.yaml says of training: more change the last bits of a sum
    module = task.component("data")(task.config("data", "data"))
    metadata = module.prepare(task.make_dir("data"))
    counts = ", ".join(f"{count} {split}" for split, count in metadata.num_samples.items())
    log.info("%s: %s", metadata.name, counts)
    return {"num_samples": sum(metadata.num_samples.values())}
