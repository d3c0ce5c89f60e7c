"""The stage `prepare`: a source becomes a dataset."""

import logging

import torch

from common.dataset import write_dataset
from pipeline.stages.task import Task

log = logging.getLogger("force")


def run(task: Task) -> dict[str, float]:
    """Write the dataset; return the number of samples."""
    torch.set_num_threads(1)  # as params.yaml says of training: more change the last bits of a sum
    module = task.component("data")(task.config("data", "data"))
    dataset = module.prepare()
    write_dataset(dataset, task.make_dir("data"))
    counts = ", ".join(f"{count} {split}" for split, count in dataset.metadata.num_samples.items())
    log.info("%s: %s", dataset.metadata.name, counts)
    return {"num_samples": sum(dataset.metadata.num_samples.values())}
