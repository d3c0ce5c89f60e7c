"""The stage `prepare`: a source becomes a dataset."""

from common.dataset import write_dataset
from pipeline.stages.task import Task


def run(task: Task) -> dict[str, float]:
    """Write the dataset; return nothing worth a record but the number of samples."""
    module = task.component("data")(task.config("data", "data"))
    dataset = module.prepare()
    write_dataset(dataset, task.make_dir("data"))
    return {"num_samples": sum(dataset.metadata.num_samples.values())}
