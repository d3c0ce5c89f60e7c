"""Who may import whom, proved from the sources: facts in, plan out, effects last."""

import ast
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from pipeline.documents import parse_yaml
from tests.checkouts import ROOT, Checkout
from tests.recorded import override
from tests.reported import make_reported

PACKAGES = ("pipeline", "common", "experiments")
HEAVY = ("torch", "torchmetrics", "safetensors", "sklearn", "numpy", "scipy", "dvc")
STATISTICS = ("numpy", "scipy")  # what reports and their pages compute with
BANNED_NAMES = ("utils", "helpers", "misc", "base", "core", "manager", "types")

# Which layers a module of each layer may import, its own aside.
ALLOWED = {
    "core": (),
    "tools": ("core",),
    "cli": ("core",),
    "reports": ("core",),
    "pages": ("core", "reports"),
    "commands": ("core", "tools", "cli", "reports", "pages"),
    "stages": ("core", "common"),
    "common": (),
    "experiments": ("common",),
}

# Runs `force` and says which of some packages it loaded.
PROBE = """
import sys
import time
from pipeline import cli
names, sys.argv = sys.argv[1].split(","), ["force", *sys.argv[2:]]
try:
    cli.main()
except SystemExit as ended:
    print(ended.code or 0, *sorted({name.partition(".")[0] for name in sys.modules} & set(names)), file=sys.stderr)
"""


@dataclass(frozen=True)
class Import:
    """One name that an import statement brings."""

    module: str
    target: str  # the module, or a name in it
    line: int
    is_relative: bool
    is_in_function: bool


@dataclass(frozen=True)
class Sources:
    """The modules of a repository, and what they import."""

    root: Path
    modules: frozenset[str]
    imports: tuple[Import, ...]

    def find(self, target: str) -> str | None:
        """Return the module of ours that a dotted name is, or stands in."""
        while target and target not in self.modules:
            target = target.rpartition(".")[0]
        return target or None


def read_sources(root: Path) -> Sources:
    """Parse every module of the packages; a package is called as its folder."""
    imports: dict[str, list[Import]] = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            imports[name] = list(find_imports(name, ast.parse(path.read_text(), str(path)), is_in_function=False))
    return Sources(root, frozenset(imports), tuple(found for many in imports.values() for found in many))


def find_imports(module: str, parent: ast.AST, *, is_in_function: bool) -> Iterator[Import]:
    """Yield every import below a node of a module."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.Import | ast.ImportFrom):
            base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            is_relative = isinstance(node, ast.ImportFrom) and node.level > 0
            for alias in node.names:
                yield Import(module, f"{base}{alias.name}", node.lineno, is_relative, is_in_function)
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from find_imports(module, node, is_in_function=is_in_function or is_function)


def layer_of(module: str) -> str:
    """Return the layer of a module. What executes plans through the tools is an effect, as commands are."""
    package, _, rest = module.partition(".")
    if package != "pipeline":
        return package
    first = rest.partition(".")[0]
    return {"execution": "commands", "__main__": "commands"}.get(
        first, first if first in ("cli", "commands", "pages", "reports", "stages", "tools") else "core"
    )


def find_wrong_directions(sources: Sources) -> Iterator[str]:
    """Yield the imports that go up, or from one experiment to another that is no ancestor."""
    for found in sources.imports:
        target = sources.find(found.target)
        if target is None:
            continue
        mine, theirs = layer_of(found.module), layer_of(target)
        if mine == theirs != "experiments" or theirs in ALLOWED[mine]:
            continue
        if mine == theirs and target.split(".")[1] in find_lineage(sources.root, found.module.split(".")[1]):
            continue
        yield f"{found.module}:{found.line} imports {target}"


def find_lineage(root: Path, experiment: str) -> list[str]:
    """Return an experiment and its ancestors, as their files say."""
    lineage = []
    while experiment != "common" and experiment not in lineage:
        lineage.append(experiment)
        document = parse_yaml((root / "experiments" / experiment / "experiment.yaml").read_bytes(), "")
        experiment = document.get("inherits", "common")
    return lineage


def find_heavy_imports(sources: Sources) -> Iterator[str]:
    """Yield imports of what takes seconds to load outside of what runs in a stage's own process."""
    for found in sources.imports:
        top = found.target.partition(".")[0]
        is_in_stage = layer_of(found.module) in ("stages", "common", "experiments")
        is_statistics = top in STATISTICS and layer_of(found.module) in ("reports", "pages")
        if top in HEAVY and (top == "dvc" or not is_in_stage) and not is_statistics:
            yield f"{found.module}:{found.line} imports {top}"


def find_subprocesses(sources: Sources) -> Iterator[str]:
    """Yield imports of subprocess anywhere but behind the one door."""
    for found in sources.imports:
        if found.target.partition(".")[0] == "subprocess" and found.module != "pipeline.tools.process":
            yield f"{found.module}:{found.line} imports subprocess"


# What takes a second to load, and few trainings need.
SLOW_IMPORTS = {("common.trainer", "common.sharding.Shards")}


def find_bad_forms(sources: Sources) -> Iterator[str]:
    """Yield relative imports and imports inside functions."""
    for found in sources.imports:
        if found.is_relative:
            yield f"{found.module}:{found.line} imports relative to itself"
        if found.is_in_function and (found.module, found.target) not in SLOW_IMPORTS:
            yield f"{found.module}:{found.line} imports inside a function"


def find_cycles(sources: Sources) -> Iterator[str]:
    """Yield the first circle in which modules import each other."""
    graph: dict[str, set[str]] = {}
    for found in sources.imports:
        target = sources.find(found.target)
        if target and target != found.module:
            graph.setdefault(found.module, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"import cycle: {', '.join(sorted(set(error.args[1])))}"


def find_logic_in_inits(sources: Sources) -> Iterator[str]:
    """Yield `__init__.py` files of the tooling and the common build that hold more than a docstring."""
    for path in sorted(path for package in PACKAGES[:2] for path in (sources.root / package).rglob("__init__.py")):
        if any(not isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body):
            yield f"{path.relative_to(sources.root)} has logic"


def find_bad_names(sources: Sources) -> Iterator[str]:
    """Yield modules whose name says nothing."""
    for module in sources.modules:
        if module.rpartition(".")[2] in BANNED_NAMES:
            yield f"{module} is a name that says nothing"


RULES: tuple[Callable[[Sources], Iterator[str]], ...] = (
    find_wrong_directions,
    find_heavy_imports,
    find_subprocesses,
    find_bad_forms,
    find_cycles,
    find_logic_in_inits,
    find_bad_names,
)


def make_small_repository(root: Path) -> None:
    """Write a repository of a few modules that keeps all rules."""
    files = {
        "pipeline/__init__.py": '"""The tooling."""\n',
        "pipeline/cli.py": "from pipeline.errors import Error\n",
        "pipeline/errors.py": "class Error(Exception): ...\n",
        "pipeline/execution.py": "from pipeline.tools import process\n",
        "pipeline/planning.py": "from pipeline import errors\n",
        "pipeline/commands/run.py": "from pipeline.execution import process\nfrom pipeline.cli import Error\n",
        "pipeline/stages/train.py": "import torch\nfrom common.model import Model\nfrom pipeline import errors\n",
        "pipeline/tools/process.py": "import subprocess\nfrom pipeline.errors import Error\n",
        "common/model.py": "import torch\n\nclass Model: ...\n",
        "experiments/a/experiment.yaml": "description: a test\n",
        "experiments/a/model.py": "from common.model import Model\n",
        "experiments/b/experiment.yaml": "inherits: a\n",
        "experiments/b/model.py": "from experiments.a.model import Model\n",
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


@pytest.fixture(scope="module")
def sources() -> Sources:
    """The modules of this repository."""
    return read_sources(ROOT)


def test_modules_of_every_package_are_found(sources: Sources) -> None:
    assert {name.partition(".")[0] for name in sources.modules} == set(PACKAGES)
    assert {"pipeline.cli", "pipeline.tools.process", "common.model"} <= sources.modules


@pytest.mark.parametrize("rule", RULES)
def test_sources_keep_the_rule(rule: Callable[[Sources], Iterator[str]], sources: Sources) -> None:
    assert list(rule(sources)) == []


def test_no_rule_is_broken_when_a_repository_keeps_them(tmp_path: Path) -> None:
    make_small_repository(tmp_path)
    assert [violation for rule in RULES for violation in rule(read_sources(tmp_path))] == []


@pytest.mark.parametrize(
    ("path", "line", "expected"),
    [
        (
            "pipeline/errors.py",
            "from pipeline.tools import process",
            "pipeline.errors:1 imports pipeline.tools.process",
        ),
        ("pipeline/errors.py", "import pipeline.execution", "pipeline.errors:1 imports pipeline.execution"),
        ("pipeline/errors.py", "from pipeline import cli", "pipeline.errors:1 imports pipeline.cli"),
        (
            "pipeline/planning.py",
            "from pipeline.commands.run import x",
            "pipeline.planning:1 imports pipeline.commands.run",
        ),
        (
            "pipeline/planning.py",
            "from pipeline.stages import train",
            "pipeline.planning:1 imports pipeline.stages.train",
        ),
        ("pipeline/planning.py", "from common import model", "pipeline.planning:1 imports common.model"),
        ("pipeline/planning.py", "import torch.nn", "pipeline.planning:1 imports torch"),
        ("pipeline/planning.py", "import subprocess", "pipeline.planning:1 imports subprocess"),
        ("pipeline/planning.py", "from .errors import Error", "pipeline.planning:1 imports relative to itself"),
        ("pipeline/planning.py", "def f():\n    import os", "pipeline.planning:2 imports inside a function"),
        ("pipeline/errors.py", "import pipeline.planning", "import cycle: pipeline.errors, pipeline.planning"),
        (
            "pipeline/tools/process.py",
            "import pipeline.commands.run",
            "pipeline.tools.process:1 imports pipeline.commands.run",
        ),
        (
            "pipeline/stages/train.py",
            "import pipeline.tools.process",
            "pipeline.stages.train:1 imports pipeline.tools.process",
        ),
        ("pipeline/stages/train.py", "import dvc.api", "pipeline.stages.train:1 imports dvc"),
        ("pipeline/__init__.py", "VERSION = 1", "pipeline/__init__.py has logic"),
        ("pipeline/helpers.py", "", "pipeline.helpers is a name that says nothing"),
        ("common/model.py", "import pipeline.errors", "common.model:1 imports pipeline.errors"),
        ("common/model.py", "import experiments.a.model", "common.model:1 imports experiments.a.model"),
        ("experiments/a/model.py", "import experiments.b.model", "experiments.a.model:1 imports experiments.b.model"),
        ("experiments/a/model.py", "from pipeline import errors", "experiments.a.model:1 imports pipeline.errors"),
    ],
)
def test_rule_is_broken_when_a_line_is_planted(tmp_path: Path, path: str, line: str, expected: str) -> None:
    make_small_repository(tmp_path)
    planted = tmp_path / path
    planted.write_text(f"{line}\n{planted.read_text() if planted.exists() else ''}")
    assert expected in [violation for rule in RULES for violation in rule(read_sources(tmp_path))]


@pytest.mark.parametrize("args", [("--help",), ("plan",), ("ls",)])
def test_neither_torch_nor_dvc_is_loaded_when_nothing_runs(checkout: Checkout, args: tuple[str, ...]) -> None:
    checkout.experiment("x", model=override("model"))
    command = [sys.executable, "-P", "-c", PROBE, ",".join(("click", *HEAVY)), *args]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=checkout.root, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == "0 click\n"


def test_what_is_slow_to_load_is_not_loaded_when_everything_was_found_sound_before(checkout: Checkout) -> None:
    make_reported(checkout)
    command = [sys.executable, "-P", "-c", PROBE, "numpy,jsonschema,rich", "report", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    loaded = []
    for _ in range(2):
        time.sleep(0.1)  # what just changed is not remembered
        done = subprocess.run(command, cwd=checkout.root, env=environment, capture_output=True, text=True, check=True)
        loaded.append(done.stderr)
    assert loaded == ["0 jsonschema numpy\n", "0 numpy\n"]
