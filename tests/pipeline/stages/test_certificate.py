"""What a certificate tells apart, and what it does not."""

import functools
import itertools
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common import engine
from common.dataset import Batch
from common.evaluator import Config, Evaluator, Metric, Predictions, accuracy
from common.loader import Loader
from experiments.worst_class.evaluator import WorstClassEvaluator
from pipeline.stages.certificate import build_certificate, hash_code
from pipeline.validation import find_faults

MODULE = "experiments.sample.evaluator"
METRIC = """
    def half(value):
        return value / 2

    def metric(predictions, config):
        return half(predictions) + 1
    """

Load = Callable[[str], ModuleType]


class DoublingEvaluator(Evaluator):
    """Predicts otherwise than the common one."""

    def predict(self, model: nn.Module, loader: Loader) -> tuple[Tensor, Tensor, Tensor]:
        """Return doubled logits."""
        logits, targets, ids = super().predict(model, loader)
        return 2 * logits, targets, ids


class ThriceEvaluator(Evaluator):
    """Predicts several times."""

    def evaluate(self, model: nn.Module, test: Loader) -> Predictions:
        """Return the predictions of the last time."""
        return [super(ThriceEvaluator, self).evaluate(model, test) for _ in range(self.num_times())][-1]

    def num_times(self) -> int:
        """Return how often."""
        return 3


class FourTimesEvaluator(ThriceEvaluator):
    """Predicts once more."""

    def num_times(self) -> int:
        """Return how often."""
        return 4


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


def _certify(evaluator_class: type[Evaluator] = Evaluator, rows: tuple[int, ...] = (0, 1, 2, 3), **changes: Any) -> Any:
    ids = torch.tensor(rows)
    predictions = Predictions(torch.eye(4)[ids], ids % 2, ids)._replace(**changes)
    test = Batch(torch.ones(4, 1, 2, 2), torch.arange(4) % 2, torch.arange(4))
    evaluator = evaluator_class(Config(), engine.Config(device="cpu"))
    return build_certificate(evaluator, predictions, test, {"evaluate": {"calibration_bins": 10}})


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


def test_hash_changes_when_a_method_does(load: Load) -> None:
    text = """
    class Top:
        def metric(self, predictions, config):
            return 1
    """
    assert hash_code(load(text.replace("1", "2")).Top().metric) != hash_code(load(text).Top().metric)


def test_hash_tells_partial_functions_apart_by_code_and_arguments(load: Load) -> None:
    text = "def top(predictions, config, k):\n    return k"
    changed = "def top(predictions, config, k):\n    return 2 * k"
    hashes = [hash_code(functools.partial(load(source).top, k=k)) for source, k in ((text, 1), (text, 2), (changed, 1))]
    assert len(set(hashes)) == 3


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


def test_procedure_is_the_same_when_a_subclass_only_adds_metrics() -> None:
    ours, theirs = _certify(WorstClassEvaluator), _certify()
    assert ours["procedure_sha256"] == theirs["procedure_sha256"]
    assert {name: ours["metrics"][name] for name in theirs["metrics"]} == theirs["metrics"]
    assert "worst_class_recall" in ours["metrics"]


def test_procedure_differs_when_a_subclass_predicts_otherwise() -> None:
    assert _certify(DoublingEvaluator)["procedure_sha256"] != _certify()["procedure_sha256"]


def test_procedure_differs_when_a_method_that_it_calls_does() -> None:
    assert _certify(FourTimesEvaluator)["procedure_sha256"] != _certify(ThriceEvaluator)["procedure_sha256"]


def test_definition_is_that_of_the_function_not_of_its_name() -> None:
    class Renaming(Evaluator):
        """Calls the accuracy by another name."""

        def metrics(self) -> dict[str, Metric]:
            """Return the metrics by name."""
            return {"hits": Metric(accuracy, "max", "fraction")}

    definition = _certify(Renaming)["metrics"]["hits"]["definition_sha256"]
    assert definition == _certify()["metrics"]["accuracy"]["definition_sha256"]
    assert definition != _certify()["metrics"]["cross_entropy"]["definition_sha256"]


def test_samples_are_the_same_when_predicted_in_another_order() -> None:
    assert _certify(rows=(2, 0, 3, 1))["test"] == _certify()["test"]


def test_samples_differ_when_one_is_left_out() -> None:
    assert _certify(rows=(0, 1, 2))["test"]["num_samples"] == 3
    assert _certify(rows=(0, 1, 2))["test"]["ids_sha256"] != _certify()["test"]["ids_sha256"]


def test_targets_differ_when_a_label_does() -> None:
    relabelled = _certify(targets=torch.tensor([0, 1, 0, 0]))["test"]
    assert relabelled["targets_sha256"] != _certify()["test"]["targets_sha256"]
    assert relabelled["ids_sha256"] == _certify()["test"]["ids_sha256"]


def test_certificate_fits_its_schema_and_says_params_dtype_and_seed() -> None:
    certificate = _certify()
    assert find_faults("certificate", certificate) == []
    assert certificate["params"] == {"calibration_bins": 10}
    assert (certificate["dtype"], certificate["seed"]) == ("float32", 0)
    assert certificate["metrics"]["cross_entropy"]["direction"] == "min"
