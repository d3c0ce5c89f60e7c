"""What `force model show` prints, computed where torch is."""

import dataclasses
import json
from pathlib import Path

from common.conversion import unwrap
from common.layer_table import Layer, LayerTable, make_sample, tabulate
from common.model_files.onnx_models import list_nodes
from common.model_files.states import State
from pipeline.stages.model_loading import find_metadata, load_alone, load_subject, read_weights
from pipeline.stages.task import Task

RESULT = "result.json"


def run(task: Task) -> dict[str, float]:
    """Write the table of a model's layers."""
    table = dataclasses.asdict(_tabulate(task))
    sample = find_metadata(task)
    shapes = {
        "sample": [1, *sample.input_shape] if sample else None,
        "classes": len(sample.classes) if sample else None,
    }
    (task.target_dir / RESULT).write_text(json.dumps({**table, **shapes}))
    return {}


def _tabulate(task: Task) -> LayerTable:
    metadata, form = find_metadata(task), task.request["form"]
    if form == "onnx":
        return _list_graph(Path(task.files["model"]))
    if not task.components and task.weights:
        return _list_tensors(read_weights(task))
    if metadata is None:
        return tabulate(unwrap(load_alone(task)), None, task.request["depth"])
    subject = load_subject(task, metadata)
    return tabulate(subject.find_named(subject.model), make_sample(metadata), task.request["depth"])


def _list_graph(path: Path) -> LayerTable:
    nodes, num_bytes = list_nodes(path)
    rows = (Layer(n.name, n.operator, (n.shape,) if n.shape else None, n.num_parameters, 0, None) for n in nodes)
    return LayerTable(tuple(rows), sum(node.num_parameters for node in nodes), 0, num_bytes, None)


def _list_tensors(state: State) -> LayerTable:
    """Return a row for each tensor: which layers they are of, nobody says."""
    layers = tuple(
        Layer(name, str(tensor.dtype).removeprefix("torch."), (tuple(tensor.shape),), tensor.numel(), 0, None)
        for name, tensor in state.items()
    )
    num_bytes = sum(tensor.nbytes for tensor in state.values())
    return LayerTable(layers, sum(layer.num_parameters for layer in layers), 0, num_bytes, None)
