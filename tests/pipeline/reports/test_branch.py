"""The report on a branch: all of it where there is room, in a stated order less where there is not."""

import dataclasses
from typing import Any

import pytest

from pipeline.comments import MAX_TEXT_BYTES, build_body
from pipeline.gates import parse_gate
from pipeline.reports.branch import render_branch
from pipeline.reports.digests import BranchReport, Cost, Digest
from pipeline.reports.findings import Finding
from pipeline.reports.gating import Outcome
from pipeline.reports.intervals import Interval
from pipeline.reports.judging import Judgement, Verdict
from pipeline.statuses import Status
from tests.rendered import Rendered

HOSTILE = "a|b\n</pre></details><img src=x> @team #1 `x` [x](y) ```"
LINES = "\n".join(f"line {number}" for number in range(100))


def make_finding(name: str = "x", verdict: Verdict = "better", **fields: Any) -> Finding:
    made: dict[str, Any] = {"metric": "accuracy", "unit": "fraction", "direction": "max", "value": 0.75}
    made |= {"baseline_value": 0.5, "delta": 0.25, "judgement": Judgement(verdict, verdict)}
    made["interval"] = Interval(0.125, 0.375, 100, 1, 50)
    return Finding(**{"experiment": name, "baseline": "common", **made, **fields})


def make_digest(name: str = "x", verdict: Verdict = "better", **fields: Any) -> Digest:
    history = [{"epoch": epoch, "train_loss": 1 / epoch} for epoch in (1, 2, 3)]
    made = Digest(
        name,
        "common",
        findings=[make_finding(name, verdict)],
        params=[("train.epochs", "5", "7")],
        params_against="common",
        cost=Cost(3600.0, 1.0, 2048.0),
        cost_against=Cost(60.0, 0.0, 1024.0),
        histories={name: history, "common": history},
        mistakes=[("8", "1", 3)],
        uses=[(name, "prepare", "common", "inherited"), (name, "train", name, "done")],
    )
    return dataclasses.replace(made, **fields)


def make_status(name: str = "z", **fields: Any) -> Status:
    return Status(**{"entry": name, "wave": 1, "targets": (name,), "status": "failed", "commit": "", **fields})


def render(*digests: Digest, max_bytes: int = 10**6, **fields: Any) -> str:
    return render_branch(BranchReport("main", digests, commit="0123456789abcdef", **fields), max_bytes)


def test_all_that_a_reviewer_asks_is_there() -> None:
    files = [("experiments/x/model.py", 12, 3), ("experiments/x/weights.bin", None, None)]
    text = render(make_digest(), files=files, run_url="https://git.lab.org/run/1")
    for part in (
        "- **x** beside common: 🟢 better in accuracy\n",
        "| metric | common | x | Δ | 95 % interval | verdict |\n",
        "| accuracy | 0.5000 | 0.7500 | 🟢 +0.2500 | +0.1250 to +0.3750 | better |",
        "**x: params beside common**\n\n- train.epochs: 5 → 7",
        "**x: cost** (in brackets: common): 1.0 h (1 min), 1.00 GPU hours (no GPU), 2,048 MiB at most",
        'title "train_loss: x blue, common orange"',
        'x-axis ["8 as 1"]',
        's1["x: train<br/>done"]',
        "- experiments/x/model.py +12 −3\n- experiments/x/weights.bin (binary)",
        "`git checkout 0123456789ab && force run x`",
        "[the run](https://git.lab.org/run/1)",
    ):
        assert part in text, part
    assert "Cut or left out" not in text


def test_what_is_worse_comes_first_and_the_same_facts_give_the_same_text() -> None:
    digests = [make_digest("a", "equivalent"), make_digest("b", "better"), make_digest("c", "worse")]
    text = render(*digests)
    assert [line[4] for line in text.splitlines() if line.startswith("### ")] == ["c", "b", "a"]
    assert text == render(*digests)


def test_base_has_a_column_when_the_experiment_was_there() -> None:
    before = make_finding(
        baseline="x at main", delta=-0.125, interval=None, judgement=Judgement("unknown", "no interval")
    )
    lost = make_finding(baseline="x at main", metric="loss", delta=None, interval=None, judgement=None, reasons=("no",))
    findings = [make_finding(), make_finding(metric="loss", delta=None, interval=None, judgement=None, reasons=("no",))]
    text = render(make_digest(findings=findings, before=[before, lost]))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[0].endswith("| verdict | against main |")
    assert rows[2].endswith("| ▼ -0.1250 |")
    assert rows[3].endswith("| not comparable |  |  | not comparable |")


def test_difference_without_an_interval_is_named_as_such() -> None:
    finding = make_finding(delta=-0.25, interval=None, judgement=Judgement("unknown", "no interval: one seed"))
    assert "- **x** beside common: ▼ worse, without an interval, in accuracy" in render(make_digest(findings=[finding]))
    assert "| ▼ -0.2500 |" in render(make_digest(findings=[finding]))
    assert "- **x** has nothing to compare with" in render(make_digest(findings=[]))


def test_experiment_without_a_present_result_says_so() -> None:
    finding = make_finding(delta=None, interval=None, judgement=None, baseline_value=None)
    text = render(make_digest(findings=[finding], staleness="model.py changed"))
    assert "- **x** has no present result\n" in text
    assert "| accuracy |  | 0.7500 (out of date) |  |  |  |" in text


def test_headline_and_order_heed_the_base_too() -> None:
    before = make_finding("y", "worse", baseline="y at main", delta=-0.25)
    text = render(make_digest("x"), make_digest("y", before=[before]), make_digest("common", against="", findings=[]))
    assert "- **y** beside common: 🟢 better in accuracy — beside main: 🔴 worse in accuracy\n" in text
    assert [line[4:] for line in text.splitlines() if line.startswith("### ")] == ["y", "x"]
    assert "🔴 -0.2500 (+0.1250 to +0.3750) |" in text


def test_faults_are_cut_too_when_there_is_no_room() -> None:
    text = render(make_digest(), faults=["$" * 300] * 300, max_bytes=MAX_TEXT_BYTES)
    assert len(text.encode()) <= MAX_TEXT_BYTES
    assert "verdicts (" in text


def test_failures_and_gates_come_before_numbers() -> None:
    outcome = Outcome("x", parse_gate("accuracy >= 0.9"), False, "0.75")
    text = render(make_digest(), failures=[make_status(message="no data", log="the end")], outcomes=[outcome])
    order = [
        "- ❌ **z**: no data",
        "the end",
        "1 of 1 gates are not passed",
        "| x | accuracy &#62;= 0.9 | 0.75 | ❌ |",
        "### x",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_report_says_so_when_there_is_nothing_to_report() -> None:
    assert render() == "## Force Build\n\nThe branch changes no experiment."
    assert "changes no experiment" not in render(failures=[make_status()])
    assert "changes no experiment" not in render(faults=["a fault"])


def test_nothing_of_theirs_does_anything_when_it_is_hostile() -> None:
    digest = make_digest(
        findings=[make_finding(metric=HOSTILE, judgement=Judgement("better", HOSTILE))],
        before=[make_finding(metric=HOSTILE, baseline="x at main")],
        params=[(HOSTILE, HOSTILE, HOSTILE)],
        histories={"x": [{"epoch": epoch, f"valid_{HOSTILE}": 1.0} for epoch in (1, 2)]},
        mistakes=[(HOSTILE, HOSTILE, 3)],
        uses=[("x", "train", "x", HOSTILE)],
    )
    text = render(
        digest,
        failures=[make_status(message=HOSTILE)],
        faults=[HOSTILE],
        notes=[HOSTILE],
        files=[(HOSTILE, 1, 1)],
        outcomes=[Outcome("x", dataclasses.replace(parse_gate("accuracy >= 1"), text=HOSTILE), False, HOSTILE)],
    )
    page = Rendered(f"{text}\n\nafter")
    assert not page.tags & {"img", "a", "script"}
    assert page.around("after") == ("p",)
    assert "@team" not in text.replace("&#64;&#8203;team", "")
    assert text.count("```") == 6


KINDS = ("confusion", "learning curves", "lineage", "log", "changes", "verdicts", "table")


def test_parts_go_in_the_stated_order_when_there_is_less_room() -> None:
    parts = {"confusion": "8 as 1", "learning curves": "train_loss", "lineage": "flowchart", "changes": "epochs"}
    parts |= {"log": "line 90", "table": "### x", "verdicts": "beside common"}
    report = [make_digest("x"), make_digest("y", "worse")]
    whole = render(*report, failures=[make_status(message="no", log=LINES)])
    gone: list[str] = []
    for size in range(len(whole.encode()), 500, -20):
        text = render(*report, failures=[make_status(message="no", log=LINES)], max_bytes=size)
        assert len(text.encode()) <= size
        gone += [kind for kind, part in parts.items() if part not in text and kind not in gone]
        for kind in KINDS:
            assert (f"{kind} (" in text) or kind not in gone
    assert gone == ["confusion", "learning curves", "lineage", "changes", "log", "table", "verdicts"]


@pytest.mark.parametrize("log", ["", LINES, "ü" * 100_000, f"{HOSTILE}\x00" * 3000])
def test_comment_is_never_too_long_with_three_hundred_experiments(log: str) -> None:
    digests = [make_digest(f"experiment_{number}") for number in range(300)]
    failures = [make_status(f"failed_{number}", message=HOSTILE * 5, log=log) for number in range(100)]
    notes = [f"experiment_{number} is out of date: {HOSTILE}" for number in range(300)]
    text = render(*digests, failures=failures, notes=notes, faults=[HOSTILE] * 300, max_bytes=MAX_TEXT_BYTES)
    assert MAX_TEXT_BYTES - 3000 < len(text.encode()) <= MAX_TEXT_BYTES
    assert "This report is cut" not in build_body(text)
    assert "confusion (300), learning curves (300), lineage (1)" in text
    assert Rendered(f"{text}\n\nafter").around("after") == ("p",)
