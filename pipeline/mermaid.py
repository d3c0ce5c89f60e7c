"""Charts and graphs as Mermaid, which GitHub draws itself."""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

_MAX_POINTS = 60  # of a curve: Mermaid draws no more legibly
_MAX_BARS = 10
_LEAST, _INFINITE = 1e-12, 1e15  # numbers that are smaller are 0, and a chart of greater ones is none
_TITLE = re.compile(r"[^\w .,:+-]", re.ASCII)  # what might end a title, or the chart
_COLOURS = {"blue": "#0969da", "orange": "#bc4c00"}  # legible on white and on black
# A title of the chart is all that says which line is whose: Mermaid has no legend.
_HEAD = f"config: {{themeVariables: {{xyChart: {{plotColorPalette: '{', '.join(_COLOURS.values())}'}}}}}}"

Rows = Sequence[Mapping[str, Any]]


def draw_curves(histories: Mapping[str, Rows], limit: int = 100) -> list[str]:
    """Return a chart for the loss and each validation metric that the first training recorded by epoch.

    `histories` has the rows of that training by its experiment's name, and maybe of one other, which is drawn over the
    same epochs; where it ended earlier, its last value goes on. Nothing of less than two epochs.
    """
    (name, rows), *others = histories.items() or [("", [])]
    shown = [row for row in rows if _is_number(row.get("epoch"))]
    if len(shown) < 2 or len(shown) < len(rows):
        return []
    shown = list(shown[:: -(-len(shown) // _MAX_POINTS)])
    metrics = [metric for metric in rows[0] if metric.startswith(("train_loss", "valid_"))][:limit]
    return [chart for metric in metrics if (chart := _draw_curve(metric, name, shown, others))]


def draw_bars(title: str, counts: Sequence[tuple[str, int]], axis: str) -> str:
    """Return a chart of counts, the first of them; empty without any."""
    if not counts:
        return ""
    names = ", ".join(f'"{_clean(name) or "?"}"' for name, _ in counts[:_MAX_BARS])
    numbers = ", ".join(str(count) for _, count in counts[:_MAX_BARS])
    return _chart(title, [f"    x-axis [{names}]", f'    y-axis "{axis}"', f"    bar [{numbers}]"])


def draw_lineage(uses: Iterable[tuple[str, str, str, str]]) -> str:
    """Return a flowchart of (experiment, stage, owner, state): whose result goes into what, and what ran."""
    uses = list(uses)
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


def _draw_curve(metric: str, name: str, shown: Rows, others: Sequence[tuple[str, Rows]]) -> str:
    """Return the chart of one metric; empty where a value is none, as after a divergence."""
    values = [row.get(metric) for row in shown]
    if not all(map(_is_number, values)):
        return ""
    lines, title, colours = [_line(values)], f"{name}: {metric}", list(_COLOURS)
    for other, rows in others[:1]:
        by_epoch = {row["epoch"]: row[metric] for row in rows if _is_number(row.get("epoch")) and metric in row}
        if theirs := _follow([row["epoch"] for row in shown], by_epoch):
            lines.append(_line(theirs))
            title = f"{metric}: {name} {colours[0]}, {other} {colours[1]}"
    axis = f'    x-axis "epoch" {_write(shown[0]["epoch"], 9)} --> {_write(shown[-1]["epoch"], 9)}'
    return _chart(title, [axis, *lines])


def _follow(epochs: Sequence[float], by_epoch: Mapping[float, float]) -> list[float]:
    """Return a value for each epoch, the last one before it where it has none; nothing where the first has none."""
    values: list[float] = []
    for epoch in epochs:
        before = [known for known in by_epoch if known <= epoch]
        if not before:
            return []
        values.append(by_epoch[max(before)])
    return values


def _chart(title: str, body: Sequence[str]) -> str:
    return "\n".join(["```mermaid", "---", _HEAD, "---", "xychart-beta", f'    title "{_clean(title)}"', *body, "```"])


def _line(values: Sequence[Any]) -> str:
    return f"    line [{', '.join(map(_write, values))}]"


def _write(value: float, num_digits: int = 4) -> str:
    """Return a number as Mermaid reads it: it knows no exponents.

    >>> _write(20), _write(2.5e-7), _write(123456)
    ('20', '0.00000025', '123500')
    """
    return format(Decimal(f"{0.0 if abs(value) < _LEAST else value:.{num_digits}g}"), "f")


def _clean(title: str) -> str:
    return _TITLE.sub("?", title)


def _is_number(value: Any) -> bool:
    """Say whether a value is one that can be drawn."""
    return isinstance(value, int | float) and abs(value) < _INFINITE
