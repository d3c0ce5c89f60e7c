"""Functions as sources."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from common.config import DataPath
from common.data import Config, DataModule
from common.samples import BadSourceError, Samples
from common.sources.function import Function
from tests.common.test_unpacking import write
from tests.datasets import prepare


def draw(num: int, sizes: tuple[int, ...] = (2,)) -> Samples:
    """Return points whose coordinates differ."""
    assert isinstance(sizes, tuple)
    inputs = torch.arange(num * sizes[0], dtype=torch.float32).view(num, *sizes)
    return Samples(inputs, torch.arange(num) % 2, torch.arange(num), ("even", "odd"))


def draw_parts(num: int) -> Iterator[Samples]:
    """Yield points in two parts."""
    whole = draw(num)
    for rows in (slice(None, num // 2), slice(num // 2, None)):
        yield whole._replace(inputs=whole.inputs[rows], targets=whole.targets[rows], ids=whole.ids[rows])


def read_lines(path: DataPath) -> Samples:
    """Return numbers that stand in a file."""
    numbers = torch.tensor([float(line) for line in Path(path).read_text().split()])
    return draw(len(numbers))._replace(inputs=numbers[:, None])


def give_rows(what: Any) -> Any:
    """Return what it gets, which is no samples."""
    return what


@pytest.fixture(autouse=True)
def _shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("shapes")
    for function in (draw, draw_parts, read_lines, give_rows):
        setattr(module, function.__name__, function)
    monkeypatch.setitem(sys.modules, "shapes", module)


def make_module(function: str, **arguments: Any) -> DataModule:
    """Return a data module that calls a function."""
    return DataModule(Config(source={"name": "function", "call": f"shapes:{function}", "arguments": arguments}))


def test_samples_that_a_function_returns_are_prepared() -> None:
    dataset = prepare(make_module("draw", num=60, sizes=[3]))
    assert (dataset.metadata.name, dataset.metadata.input_shape) == ("shapes:draw", (3,))
    assert (sum(dataset.metadata.num_samples.values()), dataset.metadata.classes) == (60, ("even", "odd"))


def test_samples_may_come_in_parts() -> None:
    whole, parts = (prepare(make_module(name, num=60)) for name in ("draw", "draw_parts"))
    assert whole.metadata.files == parts.metadata.files


def test_file_of_an_argument_is_found_and_described(tmp_path: Path) -> None:
    content = "\n".join(map(str, range(60))).encode()
    archive = write(tmp_path / "x.zip", {"x.txt": content})
    metadata = prepare(make_module("read_lines", path=str(archive))).metadata
    assert metadata.sources == (
        {"name": str(archive), "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()},
        {"name": f"{archive}/x.txt", "sha256": hashlib.sha256(content).hexdigest()},
    )


@pytest.mark.parametrize(("what", "kind"), [(3, "int"), ([1], "int"), (None, "NoneType"), ({"a": 1}, "dict")])
def test_anything_but_samples_is_refused(what: Any, kind: str) -> None:
    with pytest.raises(BadSourceError) as caught:
        list(Function("shapes:give_rows", {"what": what}).parts())
    assert str(caught.value) == f"shapes:give_rows gives {kind}, wanted common.samples.Samples"
