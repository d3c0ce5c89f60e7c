"""Reports as GitHub shows them: every number in its cell, every text harmless."""

from itertools import pairwise
from typing import Any

from markdown_it import MarkdownIt

from pipeline.markdown import render_job, render_log, render_metrics, render_notes
from pipeline.results import Row
from pipeline.statuses import Status

HOSTILE = "a|b\n</pre><img src=x> @team #1 `x` [x](y)"
USES = [("x", "train", "x", "done")]


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


def test_metric_has_a_line_with_its_difference_when_it_compares() -> None:
    row = make_row(
        metrics={"accuracy": 0.75, "loss": 0.5, "same": 1.0, "other": 2.0},
        deltas={"accuracy": 0.25, "loss": 0.125, "same": 0.0},
        better={"accuracy": True, "loss": False, "same": None},
        differences={"other": ["dtype differs"]},
    )
    rows = [row, make_row("common", "", metrics={"accuracy": 0.5}), make_row("y", fault="no result")]
    assert read_table(render_metrics(rows)) == [
        ["experiment", "metric", "value", "against its parent"],
        ["x", "accuracy", "0.7500", "🟢 +0.2500 (common)"],
        ["x", "loss", "0.5000", "🔴 +0.1250 (common)"],
        ["x", "same", "1.0000", "⚪ +0.0000 (common)"],
        ["x", "other", "2.0000", "not comparable"],
        ["common", "accuracy", "0.5000", ""],
        ["y", "", "", ""],
    ]


def test_table_keeps_its_form_when_names_are_hostile() -> None:
    row = make_row(metrics={HOSTILE: 0.5}, deltas={HOSTILE: 0.5}, better={HOSTILE: True})
    text = render_metrics([row])
    assert [len(cells) for cells in read_table(text)] == [4, 4]
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


# Whole texts


def make_history() -> list[dict[str, Any]]:
    return [{"epoch": epoch, "train_loss": 1 / epoch} for epoch in (1, 2, 3)]


def test_log_is_one_block_whatever_is_in_it() -> None:
    text = render_log(f"epoch 1\r\n\n{HOSTILE}\n\n```\n</details>")
    assert read_kinds(f"{text}\n\nafter") == {"html_block", "paragraph_open", "inline", "text", "paragraph_close"}
    assert "&lt;/pre&gt;&lt;img src=x&gt;" in text
    assert "\r" not in text


def test_job_says_how_it_ended_and_shows_what_it_did() -> None:
    status = make_status(message=f"train failed: {HOSTILE}", log="the last line")
    rows = [make_row(metrics={"accuracy": 0.5})]
    text = render_job(status, rows, {"x": make_history(), "y": []}, USES)
    order = ["### x: failed", "train failed", "the last line", "| x | accuracy |", "x: train_loss", "flowchart"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "<img" not in text


def test_job_has_a_line_when_there_is_nothing_more_to_say() -> None:
    assert render_job(make_status(status="ok"), [], {}, []).split() == ["###", "x:", "ok"]
