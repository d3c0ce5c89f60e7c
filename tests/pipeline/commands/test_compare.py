"""`force compare`."""

import json
import shutil
from collections.abc import Callable

import pytest

from tests.checkouts import Checkout, Ended
from tests.recorded import override, read_lock, record, resolve, write_lock, write_result


@pytest.fixture
def compared(checkout: Checkout) -> Checkout:
    """A checkout with results of common and `x` that compare."""
    checkout.experiment("x", evaluator=override("evaluator"))
    record(checkout)
    set_result(checkout, "common", "common", {"accuracy": 0.5, "cross_entropy": 0.5})
    set_result(checkout, "x", "experiments/x", {"accuracy": 0.75, "cross_entropy": 0.75})
    return checkout


def set_result(checkout: Checkout, name: str, folder: str, metrics: dict[str, float], **changes: object) -> None:
    """Write a result, and record it as what the stage wrote."""
    write_result(checkout, folder, metrics, **changes)
    project, _ = resolve(checkout)
    stages = read_lock(checkout, name)
    for out in stages["evaluate"]["outs"]:
        if out["path"].endswith(("metrics.json", "certificate.json")):
            out["md5"] = project.index.md5(f"{folder}/{out['path']}")
    write_lock(checkout, name, stages)


def test_change_stands_beside_each_value_when_results_compare(compared: Checkout, force: Callable[..., Ended]) -> None:
    ended = force("compare")
    assert (ended.status, ended.err) == (0, "")
    assert [line.split() for line in ended.out.splitlines()] == [
        ["experiment", "against", "accuracy", "cross_entropy"],
        ["common", "0.5000", "0.5000"],
        ["x", "common", "0.7500", "+0.2500", "0.7500", "+0.2500"],
    ]


def test_rows_have_every_field_when_programs_ask(compared: Checkout, force: Callable[..., Ended]) -> None:
    x, common = json.loads(force("compare", "x", "--json").out)
    assert x == {
        "experiment": "x",
        "baseline": "common",
        "metrics": {"accuracy": 0.75, "cross_entropy": 0.75},
        "deltas": {"accuracy": 0.25, "cross_entropy": 0.25},
        "better": {"accuracy": True, "cross_entropy": False},
        "not_comparable": {},
        "fault": None,
        "out_of_date": None,
    }
    assert (common["experiment"], common["baseline"]) == ("common", None)


def test_the_field_is_named_when_results_do_not_compare(compared: Checkout, force: Callable[..., Ended]) -> None:
    set_result(compared, "x", "experiments/x", {"accuracy": 0.75}, dtype="float16")
    ended = force("compare")
    assert ended.status == 0
    assert ended.out.splitlines()[-1] == "x does not compare with common: dtype differs: float16 vs float32"


def test_baseline_is_the_named_one_when_there_is_one(compared: Checkout, force: Callable[..., Ended]) -> None:
    compared.experiment("y", "inherits: x\nparams: {evaluate: {metrics: {calibration_error: {n_bins: 5}}}}\n")
    record(compared)
    set_result(compared, "y", "experiments/y", {"accuracy": 1.0})
    y, common = json.loads(force("compare", "y", "--baseline", "common", "--json").out)
    assert (y["baseline"], y["deltas"]) == ("common", {"accuracy": 0.5})
    assert common["experiment"] == "common"


def test_it_is_said_when_there_is_no_result_yet(checkout: Checkout, force: Callable[..., Ended]) -> None:
    ended = force("compare")
    assert ended.status == 0
    expected = "common: no result: common/outputs/evaluate/metrics.json is missing"
    assert ended.out.splitlines()[-1] == expected


def test_a_result_is_out_of_date_when_a_file_changed_since(compared: Checkout, force: Callable[..., Ended]) -> None:
    path = compared.root / "experiments/x/evaluator.py"
    path.write_text(path.read_text() + "# changed\n")
    ended = force("compare")
    assert "x is out of date: experiments/x/evaluator.py changed" in ended.out.splitlines()
    assert "+0.2500" not in ended.out


def test_results_of_a_fresh_clone_compare_when_only_git_has_them(
    compared: Checkout, force: Callable[..., Ended]
) -> None:
    for folder in ("common/outputs/prepare", "common/outputs/train", ".dvc/cache"):
        shutil.rmtree(compared.root / folder)
    assert "+0.2500" in force("compare").out


def test_usage_is_told_when_there_is_no_such_baseline(checkout: Checkout, force: Callable[..., Ended]) -> None:
    ended = force("compare", "--baseline", "nobody")
    assert (ended.status, ended.err) == (2, "error: no experiment 'nobody'\nhint: force ls lists them\n")
