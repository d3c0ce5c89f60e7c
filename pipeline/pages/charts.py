"""Charts of an experiment as Vega-Lite specifications: learning curves, confusion, and metrics over commits."""

from collections.abc import Mapping, Sequence
from typing import Any

_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_SIDE = "datum.verdict == 'better' || datum.verdict == 'worse' ? datum.verdict : 'other'"
_NO_CURVES = ("epoch", "step")
_MAX_POINTS = 500  # of a curve, evenly spaced
_MAX_CLASSES = 50  # of a confusion matrix that is drawn


def list_curves(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of what a training recorded by epoch."""
    names = dict.fromkeys(name for row in history for name, value in row.items() if isinstance(value, int | float))
    return [name for name in names if name not in _NO_CURVES]


def draw_curve(
    name: str, histories: Mapping[str, Sequence[Mapping[str, Any]]], has_legend: bool = True
) -> dict[str, Any]:
    """Return the chart of a curve; `histories` has the rows of each experiment that it is drawn for."""
    values = [
        {"epoch": row["epoch"], "value": row[name], "experiment": experiment}
        for experiment, history in histories.items()
        for row in _thin([row for row in history if name in row and "epoch" in row])
    ]
    by_experiment = {"field": "experiment", "type": "nominal", "sort": list(histories), "title": None}
    by_experiment |= {} if has_legend else {"legend": None}
    return {
        "$schema": _SCHEMA,
        "width": 280,
        "height": 160,
        "title": name,
        "data": {"values": values},
        "mark": {"type": "line", "point": len(values) < 100},
        "encoding": {
            "x": {"field": "epoch", "type": "quantitative", "axis": {"tickMinStep": 1, "format": "d"}},
            "y": {"field": "value", "type": "quantitative", "title": None, "scale": {"zero": False}},
            "color": by_experiment,
            "strokeDash": by_experiment,
        },
    }


def draw_confusion(counts: Mapping[tuple[str, str], int]) -> dict[str, Any] | None:
    """Return the chart of a confusion matrix; None where it has too many classes to be read."""
    classes = sorted({name for pair in counts for name in pair}, key=_read_class)
    if not classes or len(classes) > _MAX_CLASSES:
        return None
    values = [{"actual": a, "predicted": p, "samples": count} for (a, p), count in counts.items()]
    side = max(160, min(600, 28 * len(classes)))
    axis = {"type": "nominal", "sort": classes, "scale": {"domain": classes}}
    count = {"field": "samples", "type": "quantitative"}
    is_dark = f"datum.samples > {max(counts.values()) ** 0.5}"  # half of the scale, which is logarithmic
    ink = {"condition": {"test": is_dark, "value": "white"}, "value": "black"}
    return {
        "$schema": _SCHEMA,
        "width": side,
        "height": side,
        "data": {"values": values},
        "encoding": {"x": {"field": "predicted", **axis}, "y": {"field": "actual", **axis}},
        "layer": [
            {"mark": "rect", "encoding": {"color": {**count, "scale": {"type": "symlog", "scheme": "blues"}}}},
            {"mark": "text", "encoding": {"text": count, "color": ink}},
        ],
    }


def draw_history(name: str, values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the chart of a metric over commits, in their order; what does not compare is on no line, and hollow.

    `values` have the value, commit, date and subject, the place in the order, and whether the value compares.
    """
    commits = [value["commit"] for value in values]
    axis = {"labelOverlap": True, "labelAngle": -45}
    tooltip = [{"field": field, "type": "nominal"} for field in ("value", "commit", "date", "subject")]
    return {
        "$schema": _SCHEMA,
        "width": 280,
        "height": 160,
        "title": name,
        "data": {"values": list(values)},
        "encoding": {
            "x": {"field": "commit", "type": "ordinal", "title": None, "scale": {"domain": commits}, "axis": axis},
            "y": {"field": "value", "type": "quantitative", "title": None, "scale": {"zero": False}},
        },
        "layer": [
            {
                "transform": [{"filter": "datum.compares"}],
                "mark": "line",
                "encoding": {"order": {"field": "place", "type": "quantitative"}},
            },
            _mark_points("datum.compares", tooltip, shape="circle", filled=True),
            _mark_points("!datum.compares", tooltip, shape="diamond", filled=False),
        ],
    }


def draw_differences(metric: str, values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the chart of the differences of a metric, one below the other, each with its interval if it has one.

    `values` have the experiment, the difference, low and high of its interval, the verdict and why.
    """
    names = [value["experiment"] for value in values]
    tooltip = [{"field": field, "type": "nominal"} for field in ("experiment", "difference", "low", "high", "why")]
    colours = {"domain": ["better", "worse", "other"], "range": ["#2da44e", "#cf222e", "#8c959f"]}
    colour = {"field": "side", "type": "nominal", "scale": colours, "legend": None}
    x_axis = {"field": "difference", "type": "quantitative", "title": None}
    return {
        "$schema": _SCHEMA,
        "width": 320,
        "height": {"step": 18},
        "title": metric,
        "data": {"values": list(values)},
        "transform": [{"calculate": _SIDE, "as": "side"}],
        "encoding": {"y": {"field": "experiment", "type": "nominal", "sort": names, "title": None}},
        "layer": [
            {"mark": {"type": "rule", "strokeDash": [2, 2]}, "encoding": {"x": {"datum": 0}, "y": None}},
            {
                "transform": [{"filter": "isValid(datum.low)"}],
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"x": {**x_axis, "field": "low"}, "x2": {"field": "high"}, "color": colour},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
                "encoding": {"x": x_axis, "color": colour, "tooltip": tooltip},
            },
        ],
    }


def _mark_points(test: str, tooltip: Sequence[Mapping[str, Any]], **look: Any) -> dict[str, Any]:
    """Return a layer with those points that pass a test."""
    mark = {"type": "point", "size": 60, "opacity": 1, **look}
    return {"transform": [{"filter": test}], "mark": mark, "encoding": {"tooltip": tooltip}}


def _thin(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return so many rows that a chart can show them, the last one with them."""
    step = -(-len(rows) // _MAX_POINTS) or 1
    return [row for place, row in enumerate(rows) if place % step == 0 or place == len(rows) - 1]


def _read_class(name: str) -> tuple[float, str]:
    try:
        return float(name), name
    except ValueError:
        return float("inf"), name
