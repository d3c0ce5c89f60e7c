"""The history of an experiment's metrics over commits, as its page shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.certificates import find_differences
from pipeline.history import History, Point
from pipeline.pages.charts import draw_history

_NUM_ROWS = 20  # the newest ones, as numbers
_MAX_REASONS = 3  # in a cell
_SHORT = 8  # characters of a commit


@dataclass(frozen=True)
class HistorySection:
    """All that the template names of a history."""

    folder: str
    charts: Sequence[tuple[str, dict[str, Any]]]
    titles: Sequence[str]  # of the metrics
    rows: Sequence["HistoryRow"]  # the newest first
    is_mixed: bool  # some values in the charts do not compare with the present ones
    is_shallow: bool


@dataclass(frozen=True)
class HistoryRow:
    """A result as a commit left it, in words."""

    commit: str
    date: str
    subject: str
    cells: Sequence[tuple[str, bool]]  # a metric's value, and whether it compares with the present one
    comparable: str  # yes, or why not


def describe_history(
    history: History, folder: str, metrics: Mapping[str, float], certificate: Mapping[str, Any]
) -> HistorySection | None:
    """Return the section of the experiment in `folder`, whose present result these are; None where there is nothing.

    Without a present result, the newest one of the history stands in for it.
    """
    points = history.points.get(folder, ())
    if not points:
        return None
    titles = list(metrics or points[-1].metrics)
    reasons = _find_reasons(points, certificate or points[-1].certificate or {}, titles)
    charts = [(metric, values) for metric in titles if len(values := _list_values(points, reasons, metric)) > 1]
    newest = list(zip(points, reasons, strict=True))[: -_NUM_ROWS - 1 : -1]
    return HistorySection(
        folder,
        [(metric, draw_history(metric, values)) for metric, values in charts],
        titles,
        [_describe(point, titles, found) for point, found in newest],
        any(not value["compares"] for _, values in charts for value in values),
        history.is_shallow,
    )


def _find_reasons(
    points: Sequence[Point], certificate: Mapping[str, Any], metrics: Sequence[str]
) -> list[Mapping[str, Sequence[str]]]:
    """Return for each point: metric → why its value does not compare with that of a certificate."""
    known: dict[tuple[int, str], dict[str, Sequence[str]]] = {}  # points share their certificates
    for point in points:
        key = id(point.certificate), point.fault
        if key in known:
            continue
        if point.certificate is None:
            known[key] = {metric: [f"its certificate {point.fault}"] for metric in metrics}
        else:
            known[key] = {metric: find_differences(point.certificate, certificate, metric) for metric in metrics}
    return [known[id(point.certificate), point.fault] for point in points]


def _list_values(
    points: Sequence[Point], reasons: Sequence[Mapping[str, Sequence[str]]], metric: str
) -> list[dict[str, Any]]:
    """Return what a chart shows of a metric."""
    return [
        {
            "place": place,
            "commit": point.commit[:_SHORT],
            "date": _shorten(point.date),
            "subject": point.subject,
            "value": point.metrics[metric],
            "compares": not found[metric],
        }
        for place, (point, found) in enumerate(zip(points, reasons, strict=True), 1)
        if metric in point.metrics
    ]


def _describe(point: Point, metrics: Sequence[str], reasons: Mapping[str, Sequence[str]]) -> HistoryRow:
    shown = [metric for metric in metrics if metric in point.metrics]
    texts = list(dict.fromkeys(reason for metric in shown for reason in reasons[metric]))
    more = f"; and {len(texts) - _MAX_REASONS} more" if len(texts) > _MAX_REASONS else ""
    return HistoryRow(
        point.commit[:_SHORT],
        _shorten(point.date),
        point.subject,
        [(f"{point.metrics[m]:.6g}" if m in shown else "", not reasons[m]) for m in metrics],
        "; ".join(texts[:_MAX_REASONS]) + more if texts else "yes",
    )


def _shorten(date: str) -> str:
    """Return a date as people read it.

    >>> _shorten("2026-01-02T03:04:05+00:00")
    '2026-01-02 03:04'
    """
    return date[:16].replace("T", " ")
