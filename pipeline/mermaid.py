"""Charts and graphs as Mermaid, which GitHub draws itself."""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import chain, count, pairwise
from typing import Any

_MAX_POINTS = 60  # of a curve: Mermaid draws no more legibly
_MAX_UNEVEN_POINTS = 20  # where each has to be labelled
_MAX_BARS = 10
_MAX_LINEAGES = 50  # experiments: Mermaid draws no more than 500 edges
_MAX_LABEL, _MAX_TITLE = 60, 200  # characters
_LEAST, _INFINITE = 1e-12, 1e15  # numbers that are smaller are 0, and a chart of greater ones is none
_TITLE = re.compile(r"[^\w .,:+-]")  # what might end a title, or the chart
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
    metrics = dict.fromkeys(metric for row in rows for metric in row if metric.startswith(("train_loss", "valid_")))
    charts = (_draw_curve(metric, name, rows, others) for metric in metrics)
    return [chart for chart in charts if chart][:limit]


def draw_bars(title: str, counts: Sequence[tuple[str, int]], axis: str) -> str:
    """Return a chart of counts, the first of them; empty without any."""
    if not counts:
        return ""
    shown = counts[:_MAX_BARS]
    labels: dict[str, None] = {}
    for name, _ in shown:
        label = _clean(name) or "?"
        more = (f"{label} {number}" for number in count(2))
        labels[next(free for free in chain([label], more) if free not in labels)] = None  # equal ones would be one bar
    names = ", ".join(f'"{label}"' for label in labels)
    numbers = ", ".join(str(number) for _, number in shown)
    y_axis = f'    y-axis "{axis}" 0 --> {max(1, *(number for _, number in shown))}'
    return _chart(title, [f"    x-axis [{names}]", y_axis, f"    bar [{numbers}]"])


def draw_lineage(uses: Iterable[tuple[str, str, str, str]]) -> str:
    """Return a flowchart of (experiment, stage, owner, state): whose result goes into what, and what ran."""
    uses = list(uses)
    experiments = list(dict.fromkeys(use[0] for use in uses))[:_MAX_LINEAGES]
    lines = ["```mermaid", "flowchart LR"]
    nodes: dict[tuple[str, str], str] = {}
    for name, stage, owner, state in uses:
        if name in experiments and (owner, stage) not in nodes:
            nodes[owner, stage] = f"s{len(nodes)}"
            lines.append(f'    {nodes[owner, stage]}["{_clean(f"{owner}: {stage}")}<br/>{_clean(state)}"]')
    edges: dict[str, None] = {}
    for experiment in experiments:
        chain = [nodes[owner, stage] for name, stage, owner, _ in uses if name == experiment]
        edges |= dict.fromkeys(f"    {left} --> {right}" for left, right in pairwise(chain))
    return "\n".join([*lines, *edges, "```"])


def _draw_curve(metric: str, name: str, rows: Rows, others: Sequence[tuple[str, Rows]]) -> str:
    """Return the chart of one metric; empty where it has less than two values, or one that cannot be drawn."""
    values = _list_values(metric, rows)
    if len(values) < 2 or not all(map(_is_number, values.values())):
        return ""
    is_even = _is_even(list(values))
    epochs = _thin(list(values), _MAX_POINTS if is_even else _MAX_UNEVEN_POINTS)
    lines, title, colours = [_line(values[epoch] for epoch in epochs)], f"{name}: {metric}", list(_COLOURS)
    for other, theirs in others[:1]:
        if followed := _follow(epochs, _list_values(metric, theirs)):
            lines.append(_line(followed))
            title = f"{metric}: {name} {colours[0]}, {other} {colours[1]}"
    written = [_write(epoch, 9) for epoch in epochs]
    labels = ", ".join(f'"{epoch}"' for epoch in written)
    axis = f"{written[0]} --> {written[-1]}" if is_even else f"[{labels}]"
    return _chart(title, [f'    x-axis "epoch" {axis}', *lines])


def _list_values(metric: str, rows: Rows) -> dict[float, Any]:
    """Return epoch → value in order; of an epoch that comes twice, as after a resume, the later one."""
    values = {row["epoch"]: row[metric] for row in rows if metric in row and _is_number(row.get("epoch"))}
    return dict(sorted(values.items()))


def _is_even(epochs: Sequence[float]) -> bool:
    """Say whether epochs have equal distances: a chart with a scale spaces its points so."""
    gaps = [right - left for left, right in pairwise(epochs)]
    return max(gaps) - min(gaps) <= 1e-6 * max(gaps)


def _thin(epochs: Sequence[float], limit: int) -> list[float]:
    """Return so many epochs, about evenly, the first and the last among them."""
    num = min(limit, len(epochs))
    return [epochs[round(place * (len(epochs) - 1) / (num - 1))] for place in range(num)]


def _follow(epochs: Sequence[float], by_epoch: Mapping[float, Any]) -> list[float]:
    """Return a value for each epoch, the last one before it where it has none; nothing where the first has none."""
    values: list[float] = []
    for epoch in epochs:
        before = [known for known in by_epoch if known <= epoch]
        if not before or not _is_number(by_epoch[max(before)]):
            return []
        values.append(by_epoch[max(before)])
    return values


def _chart(title: str, body: Sequence[str]) -> str:
    return "\n".join(
        ["```mermaid", "---", _HEAD, "---", "xychart-beta", f'    title "{_clean(title, _MAX_TITLE)}"', *body, "```"]
    )


def _line(values: Iterable[float]) -> str:
    return f"    line [{', '.join(map(_write, values))}]"


def _write(value: float, num_digits: int = 4) -> str:
    """Return a number as Mermaid reads it: it knows no exponents.

    >>> _write(20), _write(2.5e-7), _write(123456)
    ('20', '0.00000025', '123500')
    """
    return format(Decimal(f"{0.0 if abs(value) < _LEAST else value:.{num_digits}g}"), "f")


def _clean(text: str, limit: int = _MAX_LABEL) -> str:
    """Return a text that cannot end what it stands in."""
    return _TITLE.sub("?", text)[:limit]


def _is_number(value: Any) -> bool:
    """Say whether a value is one that can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _INFINITE
