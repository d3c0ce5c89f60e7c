"""Imports are followed through the repository's own modules, without running them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.index import FileIndex
from pipeline.modules import ModuleGraph

MODEL = "experiments/net/model.py"
COMMON = {
    "common/__init__.py": '"""The common build."""\n',
    "common/blocks.py": "class Block: pass\n",
    "common/model.py": "from common.blocks import Block\n\nclass Model(Block): pass\n\nclass ConvNet(Model): pass\n",
}
Build = Callable[[Mapping[str, str]], ModuleGraph]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Write files and return the graph of the modules that they are."""

    def write(files: Mapping[str, str]) -> ModuleGraph:
        for path, source in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(source)
        return ModuleGraph(str(tmp_path), FileIndex(tmp_path, tmp_path / "index.json"))

    return write


def find_problems(graph: ModuleGraph, path: str = MODEL) -> list[str]:
    """Return the faults of all files that `path` reaches."""
    reached = graph.closure(path)
    return [str(problem) for file in sorted(reached) for problem in graph.problems[file]]


@pytest.mark.parametrize(
    ("module", "path"),
    [
        ("common.model", "common/model.py"),
        ("common", "common/__init__.py"),
        ("common.model.ConvNet", None),
        ("experiments", None),
        ("torch", None),
        ("pipeline.errors", None),
    ],
)
def test_module_is_found_when_it_is_first_party_and_there(build: Build, module: str, path: str | None) -> None:
    assert build({**COMMON, "pipeline/errors.py": ""}).find(module) == path


@pytest.mark.parametrize(
    ("source", "reached"),
    [
        ("", set()),
        ("import os, torch\nfrom torch import nn\n", set()),
        ("from common.blocks import Block\n", {"common/blocks.py"}),
        ("from common.model import ConvNet\n", {"common/model.py", "common/blocks.py"}),
        ("import common.blocks\n", {"common/blocks.py"}),
        ("from common import blocks\n", {"common/blocks.py"}),
        ("from common.blocks import *\n", {"common/blocks.py"}),
        ("def build():\n    from common.blocks import Block\n", {"common/blocks.py"}),
        ("try:\n    import common.blocks\nexcept ImportError:\n    pass\n", {"common/blocks.py"}),
        ("from . import layers\n", {"experiments/net/layers.py"}),
        ("from .layers import Layer\n", {"experiments/net/layers.py"}),
        ("from experiments.net import layers\n", {"experiments/net/layers.py"}),
        (
            "from experiments.net.parts import deep\n",
            {"experiments/net/parts/__init__.py", "experiments/net/parts/deep.py"},
        ),
        ("import experiments.net.parts.deep\n", {"experiments/net/parts/__init__.py", "experiments/net/parts/deep.py"}),
        ("from experiments.net.parts import size\n", {"experiments/net/parts/__init__.py"}),
    ],
)
def test_file_is_reached_when_an_import_runs_it(build: Build, source: str, reached: set[str]) -> None:
    own = {
        "experiments/net/layers.py": "class Layer: pass\n",
        "experiments/net/parts/__init__.py": "size = 3\n",
        "experiments/net/parts/deep.py": "",
    }
    graph = build({**COMMON, **own, MODEL: source})
    assert graph.closure(MODEL) == {MODEL, *reached}
    assert find_problems(graph) == []


def test_files_are_reached_once_when_they_import_each_other(build: Build) -> None:
    graph = build(
        {"common/a.py": "import common.b\n", "common/b.py": "import common.c\n", "common/c.py": "import common.a\n"}
    )
    everything = {"common/a.py", "common/b.py", "common/c.py"}
    assert [graph.closure(path) for path in sorted(everything)] == [everything] * 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import common.modle\n", "no module 'common.modle'; did you mean 'common.model'?"),
        ("from common.modle import ConvNet\n", "no module 'common.modle'; did you mean 'common.model'?"),
        ("from common import modle\n", "'common' has no 'modle'; did you mean 'model'?"),
        ("import common.zzz\n", "no module 'common.zzz'"),
        ("from . import layers\n", "no module 'experiments.net.layers'"),
        ("from experiments.nett.model import Net\n", "no module 'experiments.nett.model'"),
        ("from experiments import nett\n", "no module 'experiments.nett'; did you mean 'experiments.net'?"),
        ("from common.model import ConvNt\n", "'common.model' has no 'ConvNt'; did you mean 'ConvNet'?"),
        ("from common.model import zzz\n", "'common.model' has no 'zzz'"),
        ("import not_installed_anywhere.sub\n", "no module 'not_installed_anywhere' is installed"),
        ("from not_installed_anywhere import x\n", "no module 'not_installed_anywhere' is installed"),
        ("import pipeline\n", "imports 'pipeline': components know torch and common, not the tooling"),
        (
            "from pipeline.errors import x\n",
            "imports 'pipeline.errors': components know torch and common, not the tooling",
        ),
    ],
)
def test_import_is_at_fault_when_it_would_fail_or_stray(build: Build, source: str, message: str) -> None:
    assert find_problems(build({**COMMON, MODEL: f"\n{source}"})) == [f"{MODEL}:2:1: {message}"]


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    import not_installed_anywhere\nexcept ImportError:\n    not_installed_anywhere = None\n",
        "try:\n    import not_installed_anywhere\nexcept (ModuleNotFoundError, OSError):\n    pass\n",
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import not_installed_anywhere\n",
        "from experiments import net\n",
        "from common.dynamic import anything\n",
        "from common.starred import anything\n",
    ],
)
def test_import_is_no_fault_when_it_may_succeed_or_its_failure_is_caught(build: Build, source: str) -> None:
    unseen = {
        "common/dynamic.py": "def __getattr__(name):\n    return name\n",
        "common/starred.py": "from os import *\n",
    }
    assert find_problems(build({**COMMON, **unseen, MODEL: source})) == []


def test_every_fault_is_found_when_several_files_have_some(build: Build) -> None:
    files = {MODEL: "import common.zzz\nfrom . import layers\n", "experiments/net/layers.py": "def (\n"}
    assert find_problems(build({**COMMON, **files})) == [
        "experiments/net/layers.py:1:5: syntax error: invalid syntax",
        f"{MODEL}:1:1: no module 'common.zzz'",
    ]


@pytest.mark.parametrize(
    ("source", "dotted", "found"),
    [
        ("class Own: pass", "Own", (MODEL, "Own")),
        ("from common.model import ConvNet", "ConvNet", ("common/model.py", "ConvNet")),
        ("from common.model import ConvNet as Base", "Base", ("common/model.py", "ConvNet")),
        ("from common import model", "model.ConvNet", ("common/model.py", "ConvNet")),
        ("import common.model", "common.model.ConvNet", ("common/model.py", "ConvNet")),
        ("import common.model as m", "m.ConvNet", ("common/model.py", "ConvNet")),
        ("from common.model import Block", "Block", ("common/blocks.py", "Block")),
        ("from torch import nn", "nn.Module", ("", "torch.nn.Module")),
        ("import torch.nn as nn", "nn.Module", ("", "torch.nn.Module")),
        ("from torch.nn import Module", "Module", ("", "torch.nn.Module")),
        ("import torch", "torch.nn.Module", ("", "torch.nn.Module")),
        ("from common.zzz import A", "A", ("", "common.zzz.A")),
        ("", "int", ("", "int")),
    ],
)
def test_name_is_followed_to_its_definition_when_imports_lead_there(
    build: Build, source: str, dotted: str, found: tuple[str, str]
) -> None:
    assert build({**COMMON, MODEL: source}).resolve(MODEL, dotted) == found


def test_name_is_not_found_when_files_import_it_from_each_other(build: Build) -> None:
    graph = build({"common/a.py": "from common.b import Net\n", "common/b.py": "from common.a import Net\n"})
    assert graph.resolve("common/a.py", "Net")[0] == ""


@pytest.mark.parametrize(
    ("source", "name", "is_subclass"),
    [
        ("from common.model import Model\n\nclass Net(Model): pass\n", "Net", True),
        ("from common.model import ConvNet\n\nclass Net(ConvNet): pass\n", "Net", True),
        ("from common.model import ConvNet\n\nclass A(ConvNet): pass\n\nclass Net(object, A): pass\n", "Net", True),
        ("from common.model import ConvNet\n\nclass Net(ConvNet[int]): pass\n", "Net", True),
        ("from common.model import Model\n\nclass Model(Model): pass\n", "Model", True),
        ("from common.blocks import Block\n\nclass Net(Block): pass\n", "Net", False),
        ("class Net: pass\n", "Net", False),
        ("class Net(Unknown): pass\n", "Net", False),
        ("class A(B): pass\n\nclass B(A): pass\n", "A", False),
    ],
)
def test_class_is_a_subclass_when_its_bases_lead_to_the_base(
    build: Build, source: str, name: str, is_subclass: bool
) -> None:
    graph = build({**COMMON, MODEL: source})
    assert graph.is_subclass(MODEL, name, ("common/model.py", "Model")) is is_subclass


def test_base_is_no_subclass_when_it_is_asked_of_itself(build: Build) -> None:
    assert not build(COMMON).is_subclass("common/model.py", "Model", ("common/model.py", "Model"))


def test_facts_are_refused_when_the_source_is_no_python(build: Build) -> None:
    with pytest.raises(ConfigError) as raised:
        build({MODEL: "def (\n"}).facts(MODEL)
    assert raised.value.message == f"{MODEL}:1:5: syntax error: invalid syntax"
