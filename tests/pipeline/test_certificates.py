"""Certificates: when two results compare, and which field says that they do not."""

from typing import Any

import pytest

from pipeline.certificates import find_differences
from pipeline.validation import find_faults
from tests.recorded import make_certificate

TEST = make_certificate()["test"]
METRICS = make_certificate()["metrics"]
ACCURACY = METRICS["accuracy"]
OLDER = make_certificate(version=1, procedure_sha256="4" * 64)


def test_certificate_of_the_tests_is_one_that_a_stage_could_write() -> None:
    assert find_faults("certificate", make_certificate()) == []


def test_there_is_no_difference_when_certificates_are_equal() -> None:
    assert find_differences(make_certificate(), make_certificate(), "accuracy") == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"test": {**TEST, "ids_sha256": "a" * 64, "num_samples": 400}},
            "test split differs: 400 samples aaaaaaaa vs 381 samples 11111111",
        ),
        (
            {"test": {**TEST, "targets_sha256": "b" * 64}},
            "test targets differs: 381 samples bbbbbbbb vs 381 samples 22222222",
        ),
        (
            {"procedure": {"class": "experiments.crops.evaluator.TenCrop", "is_replaced": True, "sha256": "c" * 64}},
            "evaluation procedure differs: experiments.crops.evaluator.TenCrop cccccccc vs "
            "common.evaluator.Evaluator 44444444",
        ),
        ({"dtype": "float16"}, "dtype differs: float16 vs float32"),
        ({"params": {"num_crops": 5}}, "evaluate.num_crops differs: 5 vs 1"),
        (
            {"metrics": {**METRICS, "accuracy": {**ACCURACY, "definition_sha256": "e" * 64, "definition": "TopTwo()"}}},
            "definition of accuracy differs: TopTwo() vs TopOne()",
        ),
        (
            {"metrics": {**METRICS, "accuracy": {**ACCURACY, "definition_sha256": "e" * 64}}},
            "definition of accuracy differs: code of TopOne()",
        ),
        (
            {"metrics": {**METRICS, "accuracy": {**ACCURACY, "direction": "min"}}},
            "direction of accuracy differs: min vs max",
        ),
        (
            {"metrics": {**METRICS, "accuracy": {**ACCURACY, "unit": "%"}}},
            "unit of accuracy differs: % vs fraction",
        ),
    ],
)
def test_the_field_is_named_when_it_alone_differs(changes: dict[str, Any], expected: str) -> None:
    assert find_differences(make_certificate(**changes), make_certificate(), "accuracy") == [expected]


@pytest.mark.parametrize(
    "changes",
    [
        {"test": {**TEST, "inputs_sha256": "a" * 64}},
        {"seed": 1},
        {"params": {"num_crops": 1, "worst_classes": 3}},
        {"params": {}},
        {"metrics": {**METRICS, "cross_entropy": {**METRICS["cross_entropy"], "definition_sha256": "e" * 64}}},
        {"metrics": {**METRICS, "f1": ACCURACY}},
        {"metrics": {"accuracy": ACCURACY}},
    ],
)
def test_results_compare_when_what_differs_does_not_touch_the_metric(changes: dict[str, Any]) -> None:
    assert find_differences(make_certificate(**changes), make_certificate(), "accuracy") == []


def test_every_field_is_named_when_several_differ() -> None:
    ours = make_certificate(dtype="float16", params={"num_crops": 5})
    reasons = find_differences(ours, make_certificate(), "accuracy")
    assert reasons == ["dtype differs: float16 vs float32", "evaluate.num_crops differs: 5 vs 1"]


@pytest.mark.parametrize("certificate", [{}, {"test": None}, {"test": "x", "metrics": []}])
def test_results_do_not_compare_when_a_certificate_lacks_what_counts(certificate: dict[str, Any]) -> None:
    assert find_differences(certificate, make_certificate(), "accuracy")
    assert find_differences(make_certificate(), certificate, "accuracy")


def test_results_do_not_compare_when_no_certificate_defines_the_metric() -> None:
    assert find_differences(make_certificate(), make_certificate(), "f1")


@pytest.mark.parametrize(("ours", "theirs"), [(OLDER, make_certificate()), (make_certificate(), OLDER), (OLDER, OLDER)])
def test_results_do_not_compare_when_a_certificate_is_older(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert find_differences(ours, theirs, "accuracy") == ["older certificate: evaluate again"]
