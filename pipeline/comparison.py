"""Print how results compare: a row an experiment, a column a metric, and the change against the baseline."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from pipeline.experiments import Experiment
from pipeline.ownership import Ownership
from pipeline.planning import Planner
from pipeline.results import Row, compare, format_delta, list_notes, read_result
from pipeline.tables import make_console


def compare_experiments(
    root: Path, experiments: Mapping[str, Experiment], ownership: Ownership, planner: Planner, baseline: str = ""
) -> list[Row]:
    """Return the rows of these experiments, each beside `baseline`, or its parent where none is named.

    Baselines that were not asked for follow at the end.
    """
    parents = {name: e.parent.name for name, e in experiments.items() if e.parent}
    baselines = dict.fromkeys(experiments, baseline) if baseline else parents
    results = []
    for name in dict.fromkeys([*experiments, *baselines.values()]):
        evaluate = ownership.effective(name, "evaluate")
        staleness = "; ".join(reason.text for reason in planner.find_staleness(evaluate))
        results.append(read_result(root, name, evaluate, staleness, planner.index))
    return compare(results, baselines)


def describe_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows as JSON values."""
    return [
        {
            "experiment": row.experiment,
            "baseline": row.baseline or None,
            "metrics": dict(row.metrics),
            "deltas": dict(row.deltas),
            "better": dict(row.better),
            "not_comparable": dict(row.differences),
            "fault": row.fault or None,
            "out_of_date": row.staleness or None,
        }
        for row in rows
    ]


def print_comparison(rows: Sequence[Row]) -> None:
    """Print the rows; what does not compare has no delta, and its reason stands below."""
    metrics = list(dict.fromkeys(metric for row in rows for metric in row.metrics))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("experiment", no_wrap=True)
    table.add_column("against", no_wrap=True)
    for metric in metrics:
        table.add_column(metric, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row.experiment, row.baseline, *(_format(row, metric) for metric in metrics))
    make_console().print(table)
    for note in list_notes(rows):
        click.echo(note)


def _format(row: Row, metric: str) -> Text:
    if metric not in row.metrics:
        return Text("")
    text = Text(f"{row.metrics[metric]:.4f}", style="dim" if row.staleness else "")
    if metric in row.deltas:
        style = {True: "green", False: "red", None: "dim"}[row.better[metric]]
        text.append(f" {format_delta(row.deltas[metric])}", style=style)
    elif metric in row.differences:
        text.append("     n/c", style="dim")
    return text
