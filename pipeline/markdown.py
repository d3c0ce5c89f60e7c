"""The summary of a job as GitHub's Markdown: how it ended, metrics, curves, lineage. Reads no files."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.escaping import clean, escape_cell, escape_text
from pipeline.mermaid import draw_curves, draw_lineage
from pipeline.results import Row, format_delta, list_notes
from pipeline.statuses import Status

_ARROWS = {True: "🟢", False: "🔴", None: "⚪"}


def render_metrics(rows: Sequence[Row]) -> str:
    """Return a table: a line a metric of an experiment, and its difference from the parent."""
    header = ["experiment", "metric", "value", "against its parent"]
    lines = [_line(header), _line("---" for _ in header)]
    for row in rows:
        for metric, value in row.metrics.items():
            lines.append(_line([row.experiment, escape_cell(metric), _number(value), _delta(row, metric)]))
        if not row.metrics:
            lines.append(_line([row.experiment, "", "", ""]))
    return "\n".join(lines)


def render_notes(rows: Sequence[Row]) -> str:
    """Return why rows have no result, or none that compares; empty where all do."""
    return "\n".join(f"- {escape_cell(note, 300)}" for note in dict.fromkeys(list_notes(rows)))


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
        lines += [render_metrics(rows), "", render_notes(rows), ""]
    for name, history in histories.items():
        lines += [part for chart in draw_curves({name: history}) for part in (chart, "")]
    return "\n".join([*lines, draw_lineage(uses)] if uses else lines)


def render_log(log: str) -> str:
    """Return the last lines of a log, folded, whatever is in them."""
    text = clean(log).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<details><summary>the last lines of the log</summary>\n\n<pre>\n{text}\n</pre>\n\n</details>"


def _delta(row: Row, metric: str) -> str:
    if metric in row.deltas:
        return f"{_ARROWS[row.better[metric]]} {format_delta(row.deltas[metric])} ({row.baseline})"
    return "not comparable" if metric in row.differences else ""


def _number(value: float) -> str:
    return f"{value:.4f}"


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"
