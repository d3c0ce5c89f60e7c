"""The comparison as people and programs read it."""

import pytest

from pipeline.comparison import compare_experiments, describe_rows, print_comparison
from pipeline.results import Row
from tests.checkouts import Checkout
from tests.recorded import override, record, resolve, write_result

METRICS = {"accuracy": 0.75, "loss": 0.5}


@pytest.fixture
def recorded(checkout: Checkout) -> Checkout:
    """A checkout with results: `x` inherits from common and `y` from x."""
    checkout.experiment("x", model=override("model"))
    checkout.experiment("y", "inherits: x\nparams: {train: {epochs: 1}}\n")
    record(checkout)
    return checkout


def compare(checkout: Checkout, *names: str, baseline: str = "") -> list[tuple[str, str]]:
    """Return which experiment is compared with which, in order."""
    project, ownership = resolve(checkout)
    planner = project.planner(ownership)
    rows = compare_experiments(project.root, project.select(names), ownership, planner, baseline)
    return [(row.experiment, row.baseline) for row in rows]


def test_each_stands_beside_its_parent_when_no_baseline_is_named(recorded: Checkout) -> None:
    assert compare(recorded) == [("common", ""), ("x", "common"), ("y", "x")]


def test_the_parent_follows_when_it_was_not_asked_for(recorded: Checkout) -> None:
    assert compare(recorded, "y") == [("y", "x"), ("x", "")]


def test_all_stand_beside_the_baseline_when_one_is_named(recorded: Checkout) -> None:
    assert compare(recorded, "x", "y", baseline="common") == [("x", "common"), ("y", "common"), ("common", "")]
    assert compare(recorded, "common", "y", baseline="common") == [("common", ""), ("y", "common")]


def test_results_are_out_of_date_when_the_files_are_not_those_that_made_them(recorded: Checkout) -> None:
    for folder in ("common", "experiments/x", "experiments/y"):
        write_result(recorded, folder, {"accuracy": 0.5})
    project, ownership = resolve(recorded)
    planner = project.planner(ownership)
    row = compare_experiments(project.root, project.select(("x",)), ownership, planner)[0]
    assert "outputs/evaluate/metrics.json is not what the stage wrote" in row.staleness


def test_every_field_is_there_when_programs_read_the_rows() -> None:
    rows = [
        Row("common", "", METRICS, {}, {}, {}),
        Row("x", "common", METRICS, {"accuracy": 0.25}, {"accuracy": True}, {"loss": ["dtype differs"]}),
        Row("y", "common", {}, {}, {}, {}, "no result", "model.py changed"),
    ]
    assert describe_rows(rows) == [
        {
            "experiment": "common",
            "baseline": None,
            "metrics": METRICS,
            "deltas": {},
            "better": {},
            "not_comparable": {},
            "fault": None,
            "out_of_date": None,
        },
        {
            "experiment": "x",
            "baseline": "common",
            "metrics": METRICS,
            "deltas": {"accuracy": 0.25},
            "better": {"accuracy": True},
            "not_comparable": {"loss": ["dtype differs"]},
            "fault": None,
            "out_of_date": None,
        },
        {
            "experiment": "y",
            "baseline": "common",
            "metrics": {},
            "deltas": {},
            "better": {},
            "not_comparable": {},
            "fault": "no result",
            "out_of_date": "model.py changed",
        },
    ]


def test_values_have_their_change_beside_them_when_they_compare(capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(
        [
            Row("common", "", METRICS, {}, {}, {}),
            Row("x", "common", METRICS, {"accuracy": 0.25, "loss": -0.125}, {"accuracy": True, "loss": None}, {}),
        ]
    )
    header, common, x = capsys.readouterr().out.splitlines()
    assert header.split() == ["experiment", "against", "accuracy", "loss"]
    assert common.split() == ["common", "0.7500", "0.5000"]
    assert x.split() == ["x", "common", "0.7500", "+0.2500", "0.5000", "-0.1250"]


def test_reasons_stand_below_once_when_nothing_compares(capsys: pytest.CaptureFixture[str]) -> None:
    reasons = ["dtype differs: float16 vs float32"]
    print_comparison([Row("x", "common", METRICS, {}, {}, {"accuracy": reasons, "loss": [*reasons, "unit differs"]})])
    _, x, below = capsys.readouterr().out.splitlines()
    assert x.split() == ["x", "common", "0.7500", "n/c", "0.5000", "n/c"]
    assert below == "x does not compare with common: dtype differs: float16 vs float32; unit differs"
    print_comparison([Row("x", "common", METRICS, {}, {}, {"loss": [*reasons, "a differs", "b differs", "c", "d"]})])
    assert capsys.readouterr().out.splitlines()[-1].endswith("vs float32; a differs; b differs; and 2 more")


def test_what_is_wrong_stands_below_when_there_is_no_present_result(capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(
        [
            Row("x", "common", {}, {}, {}, {}, fault="no result: metrics.json is missing"),
            Row("y", "common", METRICS, {}, {}, {}, staleness="model.py changed"),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["x: no result: metrics.json is missing", "y is out of date: model.py changed"]


def test_names_are_not_cut_when_they_are_long(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a_rather_long_name_of_an_experiment_about_something"
    metrics = {f"metric_number_{number}": 0.5 for number in range(6)}
    print_comparison([Row(name, "", metrics, {}, {}, {})])
    out = capsys.readouterr().out
    assert name in out
    assert all(metric in out for metric in metrics)
