"""Render results as GitHub's Markdown: tables of metrics, curves and lineage as Mermaid. Reads no files."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite
from typing import Any

from pipeline.escaping import escape_cell, escape_text
from pipeline.results import Row, format_delta, list_notes
from pipeline.statuses import Status

_MAX_POINTS = 60  # of a curve: Mermaid draws no more legibly
_TITLE = re.compile(r"[^\w .+-]", re.ASCII)  # what might end a title, or the chart
_ARROWS = {True: "🟢", False: "🔴", None: "⚪"}


def render_metrics(rows: Sequence[Row], before: Mapping[str, Row], base: str) -> str:
    """Return a table: a line a metric of an experiment, its difference from the parent, and from `base`.

    `before` has the rows whose baselines are the same experiments at `base`; without any, that column is left out.
    """
    header = [
        "experiment",
        "metric",
        "value",
        "against its parent",
        *([f"against {escape_cell(base)}"] if before else []),
    ]
    lines = [_line(header), _line("---" for _ in header)]
    for row in rows:
        for metric, value in row.metrics.items():
            cells = [row.experiment, escape_cell(metric), _number(value), _delta(row, metric, row.baseline)]
            if before:
                cells.append(_delta(before[row.experiment], metric) if row.experiment in before else "")
            lines.append(_line(cells))
        if not row.metrics:
            lines.append(_line([row.experiment, "", "", *([""] * (len(header) - 3))]))
    return "\n".join(lines)


def render_notes(rows: Sequence[Row]) -> str:
    """Return why rows have no result, or none that compares; empty where all do."""
    return "\n".join(f"- {escape_cell(note, 300)}" for note in dict.fromkeys(list_notes(rows)))


def render_curve(history: Sequence[Mapping[str, Any]], title: str) -> str:
    """Return a chart of what a training recorded an epoch, the loss and each validation metric; empty without two."""
    names = [name for name in (history[0] if history else {}) if name.startswith(("train_loss", "valid_"))]
    if len(history) < 2 or not all(_is_number(row.get("epoch")) for row in history):
        return ""
    step = -(-len(history) // _MAX_POINTS)
    shown = list(history[::step])
    charts = []
    for name in names:
        values = [row.get(name) for row in shown]
        if not all(map(_is_number, values)):
            continue  # a training that diverged: Mermaid draws no chart that has a NaN in it
        numbers = ", ".join(f"{value:.4g}" for value in values)
        charts += [
            "```mermaid",
            "xychart-beta",
            f'    title "{title}: {_TITLE.sub("?", name)}"',
            f'    x-axis "epoch" {shown[0]["epoch"]} --> {shown[-1]["epoch"]}',
            f"    line [{numbers}]",
            "```",
        ]
    return "\n".join(charts)


def render_lineage(uses: Sequence[tuple[str, str, str, str]]) -> str:
    """Return a flowchart of (experiment, stage, owner, state): whose result goes into what, and what ran."""
    lines = ["```mermaid", "flowchart LR"]
    nodes: dict[tuple[str, str], str] = {}
    for _, stage, owner, state in uses:
        if (owner, stage) not in nodes:
            nodes[owner, stage] = f"s{len(nodes)}"
            lines.append(f'    {nodes[owner, stage]}["{owner}: {stage}<br/>{state}"]')
    edges: dict[str, None] = {}
    for experiment in dict.fromkeys(use[0] for use in uses):
        chain = [nodes[owner, stage] for name, stage, owner, _ in uses if name == experiment]
        edges |= dict.fromkeys(f"    {left} --> {right}" for left, right in pairwise(chain))
    return "\n".join([*lines, *edges, "```"])


def render_job(
    status: Status,
    rows: Sequence[Row],
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    uses: Sequence[tuple[str, str, str, str]],
) -> str:
    """Return the summary of a job: how it ended and why, metrics, curves, lineage."""
    lines = [f"### {status.entry}: {status.status}", ""]
    if status.message:
        lines += [escape_text(status.message), ""]
    if status.log:
        lines += [render_log(status.log), ""]
    if rows:
        lines += [render_metrics(rows, {}, ""), "", render_notes(rows), ""]
    curves = [render_curve(history, name) for name, history in histories.items()]
    lines += [part for curve in curves if curve for part in (curve, "")]
    return "\n".join([*lines, render_lineage(uses)] if uses else lines)


def render_report(
    rows: Sequence[Row],
    before: Mapping[str, Row],
    base: str,
    failures: Sequence[Status],
    faults: Sequence[str],
    run_url: str,
) -> str:
    """Return what a branch did to the metrics: failures first, then numbers, then why some do not compare."""
    lines = ["## Force Build", ""]
    for fault in faults:
        lines.append(f"- ❌ {escape_cell(fault, 300)}")
    for status in failures:
        lines += [f"- ❌ **{status.entry}**: {escape_cell(status.message, 300)}"]
        lines += ["", render_log(status.log), ""] if status.log else []
    if rows:
        lines += ["", render_metrics(rows, before, base), "", render_notes(rows)]
    elif not failures and not faults:
        lines.append("The branch changes no experiment.")
    if run_url:
        lines += ["", f"<sub>[the run]({run_url})</sub>"]
    return "\n".join(lines)


def render_log(log: str) -> str:
    """Return the last lines of a log, folded, whatever is in them."""
    text = log.replace("\r", "").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<details><summary>the last lines of the log</summary>\n\n<pre>\n{text}\n</pre>\n\n</details>"


def _delta(row: Row, metric: str, against: str = "") -> str:
    if metric in row.deltas:
        text = f"{_ARROWS[row.better[metric]]} {format_delta(row.deltas[metric])}"
        return f"{text} ({against})" if against else text
    return "not comparable" if metric in row.differences else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def _number(value: float) -> str:
    return f"{value:.4f}"


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"
