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
    """Return the class or function of this name that an example of the page defines."""
    sources = re.findall(r"```python\n(.*?)```", (ROOT / "docs/data.md").read_text(), re.DOTALL)
    (source,) = [source for source in sources if re.search(rf"^(class|def) {name}\(", source, re.MULTILINE)]
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


def test_function_gives_points_of_two_rings() -> None:
    samples = read_example("draw")(10)
    assert (samples.inputs.shape, samples.classes) == ((10, 2), ("inner", "outer"))
    assert torch.allclose(samples.inputs.norm(dim=1), torch.tensor([1.0, 2.0]).repeat(5))


def test_every_source_is_in_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/data.md").read_text(), re.MULTILINE)
    sources = {path.stem for path in (ROOT / "common/sources").glob("*.py")} - {"__init__"}
    assert sources <= set(rows)


def test_source_of_a_lab_reads_its_files(tmp_path: Path) -> None:
    for place in range(120):
        np.save(tmp_path / f"{'ab'[place % 2]}_{place}.npy", np.full((3, 4), place, dtype=np.float32))
    source = read_example("DepthMaps")(str(tmp_path))
    parts = [source.load(part) for part in source.parts()]
    assert [len(part.ids) for part in parts] == [100, 20]
    assert isinstance(parts[0], Samples)
    assert (parts[0].inputs.shape, parts[0].targets[0], parts[0].ids[0]) == ((100, 1, 3, 4), "a", "a_0.npy")
