"""The examples of docs/data.md do what they say."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from common.data import Config
from common.samples import Samples
from tests.datasets import Dots, prepare

ROOT = Path(__file__).parents[2]


def read_example(name: str) -> Any:
    """Return the class of this name that an example of the page defines."""
    sources = re.findall(r"```python\n(.*?)```", (ROOT / "docs/data.md").read_text(), re.DOTALL)
    (source,) = [source for source in sources if f"class {name}(" in source]
    defined: dict[str, Any] = {"__name__": f"docs_{name}"}
    exec(compile(source, name, "exec", dont_inherit=True), defined)
    return defined[name]


def test_transform_changes_the_inputs() -> None:
    samples = read_example("LogInputs")(Config()).transform(Dots(Config()).read())
    assert torch.equal(samples.inputs, Dots(Config()).read().inputs.log1p())


def test_read_gives_points_of_two_classes() -> None:
    dataset = prepare(read_example("Spirals")(Config()))
    assert dataset.metadata.classes == ("inner", "outer")
    assert sum(dataset.metadata.num_samples.values()) == 2000
    assert isinstance(dataset.train, TensorDataset)


def test_source_of_a_lab_reads_its_files(tmp_path: Path) -> None:
    for place in range(120):
        np.save(tmp_path / f"{'ab'[place % 2]}_{place}.npy", np.full((3, 4), place, dtype=np.float32))
    source = read_example("DepthMaps")(str(tmp_path))
    parts = [source.load(part) for part in source.parts()]
    assert [len(part.ids) for part in parts] == [100, 20]
    assert isinstance(parts[0], Samples)
    assert (parts[0].inputs.shape, parts[0].targets[0], parts[0].ids[0]) == ((100, 1, 3, 4), "a", "a_0.npy")
