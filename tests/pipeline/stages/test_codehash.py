"""What a hash of code tells apart, and what it does not."""

import ast
import functools
import itertools
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

from pipeline.stages.codehash import hash_code

MODULE = "experiments.sample.evaluator"
METRIC = """
    def half(value):
        return value / 2

    def metric(predictions, config):
        return half(predictions) + 1
    """

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import a text as the evaluator of an experiment."""
    numbers = itertools.count()

    def call(text: str) -> ModuleType:
        path = tmp_path / f"version_{next(numbers)}.py"
        path.write_text(dedent(text))
        spec = spec_from_file_location(MODULE, path)
        assert spec
        assert spec.loader
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, MODULE, module)
        spec.loader.exec_module(module)
        return module

    return call


def test_hash_is_the_same_when_only_comments_docstrings_and_layout_change(load: Load) -> None:
    tidy = """
    def half(value):
        '''Return a half.'''
        return value / 2


    # A comment.
    def metric(predictions, config):
        '''Return the metric.'''

        return (  # another comment
            half(predictions)
            + 1
        )
    """
    assert hash_code(load(tidy).metric) == hash_code(load(METRIC).metric)


def test_hash_is_the_same_on_every_python(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
    class Top:
        def scale(self, *values, by=None, **options):
            try:
                return [f"{value!r:>{by}}" for value in values if value is not None]
            except ValueError:
                return {**options, "none": None, "": [""]}
    """
    metric, scale = load(METRIC).metric, load(text).Top.scale
    expected = [
        "943b068206407fb4be076736b54f6afc0efbcc124ef2e767dc08e9c0441042c4",
        "8af50bc6aa2340c2230a79b80a827c7a3b1c6bfd7eec9677c5388d32ea89458f",
    ]
    assert [hash_code(metric), hash_code(scale)] == expected
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda *args: _add_what_python_3_12_does(parse(*args)))
    assert [hash_code(metric), hash_code(scale)] == expected


def _add_what_python_3_12_does(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and "type_params" not in node._fields:
            node._fields = (*node._fields, "type_params")
            node.type_params = []  # type: ignore[attr-defined,unused-ignore]
        elif isinstance(node, ast.FormattedValue) and isinstance(node.format_spec, ast.JoinedStr):
            node.format_spec.values.append(ast.Constant(""))
    return tree


@pytest.mark.parametrize(("old", "new"), [("+ 1", "+ 2"), ("value / 2", "value / 3")], ids=["own code", "called code"])
def test_hash_changes_when_the_function_or_one_that_it_calls_does(load: Load, old: str, new: str) -> None:
    assert hash_code(load(METRIC.replace(old, new)).metric) != hash_code(load(METRIC).metric)


def test_hash_is_the_same_when_a_function_changes_that_is_not_called(load: Load) -> None:
    more = METRIC + "\n    def unused(value):\n        return value\n"
    assert hash_code(load(more).metric) == hash_code(load(METRIC).metric)


@pytest.mark.parametrize(
    "body",
    ["sum([half(p) for p in predictions])", "sum(half(p) for p in predictions)", "sum(map(lambda p: half(p), [1]))"],
    ids=["comprehension", "generator", "lambda"],
)
def test_hash_changes_when_a_function_called_from_an_inner_scope_does(load: Load, body: str) -> None:
    text = METRIC.replace("half(predictions) + 1", body)
    assert hash_code(load(text.replace("value / 2", "value / 3")).metric) != hash_code(load(text).metric)


def test_hash_changes_when_a_function_called_below_a_decorator_does(load: Load) -> None:
    text = METRIC.replace("    def metric", "    import torch\n\n    @torch.no_grad()\n    def metric")
    assert hash_code(load(text.replace("value / 2", "value / 3")).metric) != hash_code(load(text).metric)


def test_hash_changes_when_a_constant_of_the_module_does(load: Load) -> None:
    text = METRIC.replace("value / 2", "value / PARTS") + "\n    PARTS = 2\n"
    assert hash_code(load(text.replace("PARTS = 2", "PARTS = 3")).metric) != hash_code(load(text).metric)


def test_hash_changes_when_two_constants_change_places(load: Load) -> None:
    text = METRIC.replace("value / 2", "LEFT * value - RIGHT") + "\n    LEFT, RIGHT = 2, 3\n"
    assert hash_code(load(text.replace("2, 3", "3, 2")).metric) != hash_code(load(text).metric)


def test_hash_is_the_same_when_a_set_has_another_order(load: Load) -> None:
    text = METRIC.replace("value / 2", "value in CHOSEN") + "\n    CHOSEN = {0, 8}\n"
    assert hash_code(load(text.replace("{0, 8}", "{8, 0}")).metric) == hash_code(load(text).metric)


def test_hash_changes_when_a_method_does(load: Load) -> None:
    text = """
    class Top:
        def metric(self, predictions, config):
            return 1
    """
    assert hash_code(load(text.replace("1", "2")).Top().metric) != hash_code(load(text).Top().metric)


@pytest.mark.parametrize("old", ["views = 3", "return 2", "- 1"], ids=["attribute", "super", "property"])
def test_hash_changes_when_what_a_method_uses_of_its_class_does(load: Load, old: str) -> None:
    text = """
    class Base:
        views = 3

        def predict(self, model):
            return 2 * model

        @property
        def last(self):
            return self.views - 1

    class Child(Base):
        def predict(self, model):
            return super().predict(model) * self.views + self.last
    """
    assert hash_code(load(text.replace(old, f"{old}0")).Child().predict) != hash_code(load(text).Child().predict)


def test_hash_follows_a_function_that_is_bound_to_a_partial_function(load: Load) -> None:
    text = METRIC.replace("def metric(predictions, config):", "def metric(predictions, config, by):")
    hashes = []
    for source in (text, text, text.replace("value / 2", "value / 3")):
        module = load(source)
        hashes.append(hash_code(functools.partial(module.metric, by=module.half)))
    assert hashes[0] == hashes[1] != hashes[2]


def test_hash_tells_partial_functions_apart_by_code_and_arguments(load: Load) -> None:
    text = "def top(predictions, config, k):\n    return k"
    changed = "def top(predictions, config, k):\n    return 2 * k"
    hashes = [hash_code(functools.partial(load(source).top, k=k)) for source, k in ((text, 1), (text, 2), (changed, 1))]
    assert len(set(hashes)) == 3


def test_hash_follows_the_functions_of_a_table(load: Load) -> None:
    text = METRIC.replace("half(predictions)", "TABLE['half'](predictions)") + "\n    TABLE = {'half': half}\n"
    once, again, changed = (hash_code(load(t).metric) for t in (text, text, text.replace("value / 2", "value / 3")))
    assert once == again != changed


def test_hash_tells_lambdas_apart_in_a_table_of_metrics(load: Load) -> None:
    text = """
    metrics = {
        "first": (lambda predictions, config: 1, "max"),
    }
    """
    assert hash_code(load(text.replace("1", "2")).metrics["first"][0]) != hash_code(load(text).metrics["first"][0])


def test_hash_is_the_same_when_the_experiment_is_renamed(load: Load) -> None:
    function = load(METRIC).metric
    before = hash_code(function)
    function.__module__ = "experiments.renamed.evaluator"
    assert hash_code(function) == before
