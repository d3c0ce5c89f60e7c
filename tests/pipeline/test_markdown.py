"""Reports as GitHub shows them: every number in its cell, every text harmless."""

from itertools import pairwise
from typing import Any

import pytest
from markdown_it import MarkdownIt

from pipeline.markdown import (
    render_curve,
    render_job,
    render_lineage,
    render_log,
    render_metrics,
    render_notes,
    render_report,
)
from pipeline.results import Row
from pipeline.statuses import Status

HOSTILE = "a|b\n</pre><img src=x> @team #1 `x` [x](y)"
USES = [
    ("x", "prepare", "common", "up to date"),
    ("x", "train", "x", "done"),
    ("x", "evaluate", "x", "done"),
    ("y", "prepare", "common", "up to date"),
    ("y", "train", "common", "up to date"),
    ("y", "evaluate", "y", "failed"),
]


def make_row(experiment: str = "x", baseline: str = "common", **fields: Any) -> Row:
    empty: dict[str, Any] = {"metrics": {}, "deltas": {}, "better": {}, "differences": {}}
    return Row(experiment, baseline, **{**empty, **fields})


def make_status(**fields: Any) -> Status:
    return Status(**{"entry": "x", "wave": 1, "targets": ("x",), "status": "failed", "commit": "", **fields})


def read_table(markdown: str) -> list[list[str]]:
    """Return the text of the cells of the one table in a Markdown text, as GitHub reads it."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    assert [token.type for token in tokens].count("table_open") == 1
    rows: list[list[str]] = []
    for previous, token in pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif previous.type in ("th_open", "td_open"):
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows


def read_kinds(markdown: str) -> set[str]:
    """Return what kinds of things a Markdown text holds, inside of lines too."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    return {part.type for token in tokens for part in [token, *(token.children or [])]}


# Tables


def test_metric_has_a_line_with_its_differences_when_it_compares() -> None:
    row = make_row(
        metrics={"accuracy": 0.75, "loss": 0.5, "same": 1.0},
        deltas={"accuracy": 0.25, "loss": 0.125, "same": 0.0},
        better={"accuracy": True, "loss": False, "same": None},
    )
    before = make_row(deltas={"accuracy": -0.125}, better={"accuracy": False}, differences={"loss": ["dtype differs"]})
    assert read_table(render_metrics([row], {"x": before}, "main")) == [
        ["experiment", "metric", "value", "against its parent", "against main"],
        ["x", "accuracy", "0.7500", "🟢 +0.2500 (common)", "🔴 -0.1250"],
        ["x", "loss", "0.5000", "🔴 +0.1250 (common)", "not comparable"],
        ["x", "same", "1.0000", "⚪ +0.0000 (common)", ""],
    ]


def test_table_has_no_column_for_the_base_when_nothing_was_there_before() -> None:
    rows = [make_row("common", "", metrics={"accuracy": 0.5}), make_row("x", differences={"accuracy": ["why"]})]
    rows.append(make_row("y", metrics={"accuracy": 0.5}, differences={"accuracy": ["why"]}))
    assert read_table(render_metrics(rows, {}, "main")) == [
        ["experiment", "metric", "value", "against its parent"],
        ["common", "accuracy", "0.5000", ""],
        ["x", "", "", ""],
        ["y", "accuracy", "0.5000", "not comparable"],
    ]


def test_cells_of_the_base_are_empty_when_only_others_were_there_before() -> None:
    rows = [make_row("x", metrics={"accuracy": 0.5}), make_row("y")]
    table = read_table(render_metrics(rows, {"z": make_row("z")}, "main"))
    assert table[1:] == [["x", "accuracy", "0.5000", "", ""], ["y", "", "", "", ""]]


def test_table_keeps_its_form_when_names_are_hostile() -> None:
    row = make_row(metrics={HOSTILE: 0.5}, deltas={HOSTILE: 0.5}, better={HOSTILE: True})
    text = render_metrics([row], {"x": make_row()}, HOSTILE)
    assert [len(cells) for cells in read_table(text)] == [5, 5]
    assert not read_kinds(text) & {"html_inline", "html_block", "code_inline", "link_open", "image"}


def test_notes_say_once_why_there_is_no_number() -> None:
    rows = [
        make_row("x", fault="no result: x is missing", staleness="never said"),
        make_row("y", staleness="train.epochs: 5 → 7"),
        make_row("z", differences={"accuracy": ["dtype differs"], "loss": ["dtype differs", "seed differs"]}),
        make_row("fine"),
    ]
    notes = render_notes(rows).replace("&#58;", ":")
    assert notes.splitlines() == [
        "- x: no result: x is missing",
        "- y is out of date: train.epochs: 5 → 7",
        "- z does not compare with common: dtype differs; seed differs",
    ]
    assert render_notes([make_row("fine")]) == ""


# Charts


def make_history(num_epochs: int, **last: Any) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = [
        {"epoch": epoch, "train_loss": 1 / epoch, "valid_loss": 2 / epoch, "seconds": 3.0}
        for epoch in range(1, num_epochs + 1)
    ]
    history[-1] |= last
    return history


def test_loss_and_validation_are_charts_when_a_training_has_epochs() -> None:
    lines = render_curve(make_history(3), "x").splitlines()
    assert lines[:6] == [
        "```mermaid",
        "xychart-beta",
        '    title "x: train_loss"',
        '    x-axis "epoch" 1 --> 3',
        "    line [1, 0.5, 0.3333]",
        "```",
    ]
    assert [line for line in lines if "title" in line] == ['    title "x: train_loss"', '    title "x: valid_loss"']


@pytest.mark.parametrize("num_epochs", [60, 61, 1000])
def test_curve_has_few_points_when_there_were_many_epochs(num_epochs: int) -> None:
    points = render_curve(make_history(num_epochs), "x").splitlines()[4]
    assert 30 <= points.count(",") + 1 <= 60


@pytest.mark.parametrize(
    "history",
    [
        [],
        make_history(1),
        [{"epoch": 1, "seconds": 1.0}, {"epoch": 2, "seconds": 1.0}],
        [{"train_loss": 1.0}, {"train_loss": 0.5}],
        make_history(3, epoch="last"),
    ],
)
def test_there_is_no_chart_when_there_is_no_curve(history: list[dict[str, Any]]) -> None:
    assert render_curve(history, "x") == ""


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "0.5"])
def test_only_that_chart_is_missing_when_a_training_diverged(value: Any) -> None:
    text = render_curve(make_history(3, train_loss=value), "x")
    assert "train_loss" not in text
    assert "valid_loss" in text


def test_title_cannot_end_itself_when_a_metric_has_a_hostile_name() -> None:
    name = 'valid_"\n```\n# x'
    text = render_curve([{"epoch": 1, name: 1.0}, {"epoch": 2, name: 1.0}], "x")
    assert text.count("```") == 2
    assert '    title "x: valid_??????? x"' in text.splitlines()


def test_each_stage_is_one_node_when_experiments_share_it() -> None:
    lines = render_lineage(USES).splitlines()
    assert lines[:2] == ["```mermaid", "flowchart LR"]
    assert lines[2:-1] == [
        '    s0["common: prepare<br/>up to date"]',
        '    s1["x: train<br/>done"]',
        '    s2["x: evaluate<br/>done"]',
        '    s3["common: train<br/>up to date"]',
        '    s4["y: evaluate<br/>failed"]',
        "    s0 --> s1",
        "    s1 --> s2",
        "    s0 --> s3",
        "    s3 --> s4",
    ]


# Whole texts


def test_log_is_one_block_whatever_is_in_it() -> None:
    text = render_log(f"epoch 1\r\n\n{HOSTILE}\n\n```\n</details>")
    assert read_kinds(f"{text}\n\nafter") == {"html_block", "paragraph_open", "inline", "text", "paragraph_close"}
    assert "&lt;/pre&gt;&lt;img src=x&gt;" in text
    assert "\r" not in text


def test_job_says_how_it_ended_and_shows_what_it_did() -> None:
    status = make_status(message=f"train failed: {HOSTILE}", log="the last line")
    rows = [make_row(metrics={"accuracy": 0.5})]
    text = render_job(status, rows, {"x": make_history(3), "y": []}, USES)
    order = ["### x: failed", "train failed", "the last line", "| x | accuracy |", "x: train_loss", "flowchart"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "<img" not in text


def test_job_has_a_line_when_there_is_nothing_more_to_say() -> None:
    assert render_job(make_status(status="ok"), [], {}, []).split() == ["###", "x:", "ok"]


def test_report_says_failures_then_numbers_then_where_the_run_is() -> None:
    text = render_report(
        [make_row(metrics={"accuracy": 0.5}, staleness="model.py changed")],
        {},
        "main",
        [make_status(message=HOSTILE, log="the last line")],
        [f"experiments/y/experiment.yaml:1:1: {HOSTILE}"],
        "https://git.lab.org/run/1",
    )
    order = ["## Force Build", "experiments/y/", "**x**", "the last line", "| x | accuracy |", "- x is out of", "run/1"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "<img" not in text
    assert "changes no experiment" not in text


def test_report_says_so_when_there_is_nothing_to_report() -> None:
    text = render_report([], {}, "main", [], [], "")
    assert text == "## Force Build\n\nThe branch changes no experiment."
    assert "changes no experiment" not in render_report([], {}, "main", [make_status()], [], "")
    assert "changes no experiment" not in render_report([], {}, "main", [], ["a fault"], "")
