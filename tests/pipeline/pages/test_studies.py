"""Studies: what the heirs of an experiment change, side by side."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.pages import studies
from pipeline.pages.studies import find_studies, list_changes
from pipeline.reports.findings import Finding
from pipeline.reports.intervals import Interval
from pipeline.reports.judging import Judgement
from tests.checkouts import Checkout, Ended
from tests.recorded import override
from tests.reported import make_reported


def find(experiment: str, delta: float | None, baseline: str = "common") -> Finding:
    """Return a finding with this difference."""
    judgement = Judgement("better", "better") if delta is not None else None
    interval = Interval(-1.0, 1.0, 10, 1) if delta is not None else None
    return Finding(experiment, baseline, "accuracy", "", "max", 0.5, 0.5, delta, interval, judgement)


@pytest.fixture
def family(checkout: Checkout) -> Checkout:
    """Leave two heirs of common, and one of these."""
    checkout.experiment("x", "params: {train: {epochs: 5, loss: {label_smoothing: 0.1}}}\n", model=override("model"))
    checkout.experiment("y", "params: {train: {epochs: 6}}\n")
    checkout.experiment("z", "inherits: x\nparams: {train: {epochs: 7}}\n")
    return checkout


def test_those_that_several_inherit_from_have_a_study(family: Checkout) -> None:
    found = find_studies(family.project().select(()), {})
    assert list(found) == ["common"]
    assert list(found["common"].changes) == ["x", "y"]
    assert found["common"].charts == []


def test_changes_are_components_and_params_that_differ(family: Checkout) -> None:
    experiments = family.project().select(())
    epochs = experiments["common"].settings["train.epochs"].value
    assert list_changes(experiments["x"]) == [
        f"model: {experiments['x'].components['model'].class_name}",
        f"train.epochs: {epochs} → 5",
        "train.loss.label_smoothing: 0.0 → 0.1",
    ]
    assert list_changes(experiments["z"]) == ["train.epochs: 5 → 7"]
    assert list_changes(experiments["common"]) == []


def test_what_compares_is_drawn_the_greatest_gain_first(family: Checkout) -> None:
    findings = {"x": [find("x", 0.1), find("x", 0.9, "x at main")], "y": [find("y", 0.2)], "z": [find("z", 0.3, "x")]}
    ((metric, chart),) = find_studies(family.project().select(()), findings)["common"].charts
    values = chart["data"]["values"]
    assert metric == "accuracy"
    assert [(value["experiment"], value["difference"], value["low"]) for value in values] == [
        ("y", 0.2, -1),
        ("x", 0.1, -1),
    ]
    findings["y"] = [find("y", None)]
    ((_, chart),) = find_studies(family.project().select(()), findings)["common"].charts
    assert [value["experiment"] for value in chart["data"]["values"]] == ["x"]


def test_of_too_many_the_greatest_differences_are_drawn(family: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "_MAX_DRAWN", 1)
    found = find_studies(family.project().select(()), {"x": [find("x", -0.5)], "y": [find("y", 0.2)]})["common"]
    assert [value["experiment"] for value in found.charts[0][1]["data"]["values"]] == ["x"]
    assert found.is_cut


def test_page_of_a_study_has_its_heirs(checkout: Checkout, force: Callable[..., Ended]) -> None:
    make_reported(checkout)
    assert force("report", "--format", "html", "--output", "page").status == 0
    index, page = (Path(checkout.root, "page", name).read_text() for name in ("index.html", "studies/common.html"))
    assert '<a href="studies/common.html">What the 2 heirs of common change</a>' in index
    assert page.count('<th scope="row">') == 2
    assert "evaluator: " in page
    assert '<figure data-chart="difference-1"' in page
    checkout.experiment("y", "description: <script>alert(1)</script>\n", evaluator=override("evaluator"))
    assert force("report", "--format", "html", "--output", "page").status == 0
    assert "<script>alert" not in Path(checkout.root, "page/studies/common.html").read_text()


def test_there_is_no_study_of_one_heir(checkout: Checkout, force: Callable[..., Ended]) -> None:
    make_reported(checkout)
    assert force("report", "common", "x", "--format", "html", "--output", "page").status == 0
    assert list(Path(checkout.root, "page/studies").iterdir()) == []
    assert "Studies" not in Path(checkout.root, "page/index.html").read_text()
