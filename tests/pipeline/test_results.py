"""Results: what stages left, and how two of them compare."""

from typing import Any

import pytest

from pipeline.results import Result, Row, compare, read_history, read_result
from tests.checkouts import Checkout
from tests.recorded import make_certificate, stage_of, write_result


def make_result(name: str, accuracy: float, cross_entropy: float = 0.5, **fields: Any) -> Result:
    metrics = {"accuracy": accuracy, "cross_entropy": cross_entropy}
    return Result(name, **{"metrics": metrics, "certificate": make_certificate(), **fields})


def read(checkout: Checkout, name: str = "common") -> Result:
    return read_result(checkout.root, name, stage_of(checkout, name, "evaluate"), "")


# Reading


def test_result_is_what_the_stage_left_when_it_is_read(checkout: Checkout) -> None:
    write_result(checkout, "common", {"accuracy": 0.9})
    assert read(checkout) == Result("common", {"accuracy": 0.9}, make_certificate())


def test_result_is_the_owners_when_the_evaluation_is_inherited(checkout: Checkout) -> None:
    write_result(checkout, "common", {"accuracy": 0.9})
    stage = stage_of(checkout, "common", "evaluate")
    result = read_result(checkout.root, "heir", stage, "trainer.py changed")
    assert (result.experiment, result.metrics, result.staleness) == ("heir", {"accuracy": 0.9}, "trainer.py changed")


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("metrics", None, "is missing"),
        ("metrics", "{", "cannot be read"),
        ("metrics", '{"accuracy": "high"}', "'accuracy' is \"high\", wanted a number"),
        ("metrics", "[0.9]", "the file is [0.9], wanted a mapping of keys to values"),
        ("certificate", None, "is missing"),
        ("certificate", "", "cannot be read"),
        ("certificate", '{"version": 2}', "the file lacks the key 'dtype'"),
    ],
)
def test_fault_is_named_when_there_is_no_result(checkout: Checkout, name: str, text: str | None, fault: str) -> None:
    write_result(checkout, "common", {"accuracy": 0.9})
    path = checkout.root / f"common/outputs/evaluate/{name}.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    expected = f"no result: common/outputs/evaluate/{name}.json {fault}"
    assert read(checkout) == Result("common", {}, {}, expected)
    stage, index = stage_of(checkout, "common", "evaluate"), checkout.project().index
    assert [read_result(checkout.root, "common", stage, "", index).fault for _ in range(2)] == [expected] * 2


def test_fault_is_named_when_an_index_remembers_that_the_file_was_sound(checkout: Checkout) -> None:
    write_result(checkout, "common", {"accuracy": 0.9})
    stage, index = stage_of(checkout, "common", "evaluate"), checkout.project().index
    assert read_result(checkout.root, "common", stage, "", index) == read(checkout)
    path = checkout.root / "common/outputs/evaluate/metrics.json"
    path.write_text(path.read_text().replace("0.9", "NaN"))  # the index has not looked again
    assert "wanted a number" in read_result(checkout.root, "common", stage, "", index).fault


def test_metrics_are_read_but_do_not_compare_when_the_certificate_is_older(checkout: Checkout) -> None:
    write_result(checkout, "common", {"accuracy": 0.9}, version=1, procedure_sha256="4" * 64)
    older = read(checkout)
    assert (older.metrics, older.fault) == ({"accuracy": 0.9}, "")
    _, row = compare([older, make_result("x", 0.5)], {"x": "common"})
    assert row.differences == {"accuracy": ["older certificate: evaluate again"]}


def test_fault_is_named_when_the_certificate_is_of_a_version_to_come(checkout: Checkout) -> None:
    write_result(checkout, "common", {"accuracy": 0.9}, version=3)
    expected = "no result: common/outputs/evaluate/certificate.json 'version' 2 was expected"
    assert read(checkout).fault == expected


# Comparing


def test_deltas_say_what_is_better_when_metrics_have_a_direction() -> None:
    results = [make_result("common", 0.5, 0.5), make_result("x", 0.75, 0.75), make_result("y", 0.5, 0.25)]
    common, x, y = compare(results, {"x": "common", "y": "common"})
    assert common == Row("common", "", {"accuracy": 0.5, "cross_entropy": 0.5}, {}, {}, {})
    assert (x.baseline, x.deltas, x.better) == (
        "common",
        {"accuracy": 0.25, "cross_entropy": 0.25},
        {"accuracy": True, "cross_entropy": False},
    )
    assert y.better == {"accuracy": None, "cross_entropy": True}


@pytest.mark.parametrize(("delta", "better"), [(0.00004, None), (-0.00004, None), (0.00006, True), (-0.00006, False)])
def test_nothing_is_better_when_the_difference_is_not_shown(delta: float, better: bool | None) -> None:
    _, row = compare([make_result("common", 0.5), make_result("x", 0.5 + delta)], {"x": "common"})
    assert row.better["accuracy"] is better


def test_each_is_compared_with_its_own_baseline_when_they_differ() -> None:
    results = [make_result("common", 0.5), make_result("x", 0.75), make_result("y", 1.0)]
    rows = compare(results, {"x": "common", "y": "x"})
    assert [(row.baseline, row.deltas.get("accuracy")) for row in rows] == [("", None), ("common", 0.25), ("x", 0.25)]


def test_a_result_is_not_compared_with_itself_when_it_is_the_baseline() -> None:
    (row,) = compare([make_result("x", 0.5)], {"x": "x"})
    assert (row.baseline, row.deltas) == ("", {})


def test_a_metric_has_no_delta_when_the_baseline_does_not_know_it() -> None:
    mine = make_result("x", 0.5, metrics={"accuracy": 0.75, "f1": 0.5})
    _, row = compare([make_result("common", 0.5), mine], {"x": "common"})
    assert (row.deltas, row.differences) == ({"accuracy": 0.25}, {})


def test_a_metric_has_no_delta_but_a_reason_when_certificates_differ() -> None:
    certificate = make_certificate(dtype="float16")
    _, row = compare([make_result("common", 0.5), make_result("x", 0.75, certificate=certificate)], {"x": "common"})
    reason = "dtype differs: float16 vs float32"
    assert (row.deltas, row.better) == ({}, {})
    assert row.differences == {"accuracy": [reason], "cross_entropy": [reason]}


def test_a_metric_has_no_delta_but_a_reason_when_no_certificate_defines_it() -> None:
    results = [make_result(name, 0.5, metrics={"f1": 0.5}) for name in ("common", "x")]
    _, row = compare(results, {"x": "common"})
    assert row.deltas == {}
    assert list(row.differences) == ["f1"]


@pytest.mark.parametrize("fields", [{"fault": "no result"}, {"staleness": "trainer.py changed"}])
@pytest.mark.parametrize("at_fault", ["common", "x"])
def test_nothing_is_compared_when_one_of_them_is_no_present_result(at_fault: str, fields: dict[str, str]) -> None:
    results = [make_result(name, 0.5, **(fields if name == at_fault else {})) for name in ("common", "x")]
    _, row = compare(results, {"x": "common"})
    assert (row.deltas, row.better, row.differences) == ({}, {}, {})
    assert (row.fault, row.staleness) == (results[1].fault, results[1].staleness)


# Histories


def test_history_has_a_row_an_epoch_when_the_experiment_trained(checkout: Checkout) -> None:
    checkout.write("experiments/x/outputs/train/history.jsonl", '{"epoch": 1}\n{"epoch": 2}\n')
    checkout.write("common/outputs/train/history.jsonl", '{"epoch": 9}\n')
    assert read_history(checkout.root, "x") == [{"epoch": 1}, {"epoch": 2}]
    assert read_history(checkout.root, "common") == [{"epoch": 9}]


def test_history_ends_before_half_a_line_when_a_training_was_killed(checkout: Checkout) -> None:
    checkout.write("experiments/x/outputs/train/history.jsonl", '{"epoch": 1}\n{"epo')
    assert read_history(checkout.root, "x") == [{"epoch": 1}]


def test_history_is_empty_when_the_experiment_owns_no_training(checkout: Checkout) -> None:
    assert read_history(checkout.root, "x") == []
