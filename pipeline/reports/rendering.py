"""Findings as Markdown, CSV, LaTeX, or values for JSON."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.escaping import escape_cell
from pipeline.reports.findings import Finding
from pipeline.reports.gating import Outcome
from pipeline.results import format_delta

COLUMNS = ("experiment", "against", "metric", "baseline", "value", "difference", "95 % interval", "verdict")
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
ARROWS = {"better": "🟢", "worse": "🔴", "equivalent": "⚪", "inconclusive": "🟡", "unknown": "⚪"}


def list_cells(finding: Finding) -> tuple[str, ...]:
    """Return a finding as text, a cell a column."""
    interval = finding.interval
    return (
        finding.experiment,
        finding.baseline,
        finding.metric,
        "" if finding.baseline_value is None else f"{finding.baseline_value:.4f}",
        f"{finding.value:.4f}",
        "n/c" if finding.reasons else "" if finding.delta is None else format_delta(finding.delta),
        f"{format_delta(interval.low)} to {format_delta(interval.high)}" if interval else "",
        finding.judgement.text if finding.judgement else "",
    )


def describe_findings(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return findings as JSON values."""
    return [
        {
            "experiment": finding.experiment,
            "baseline": finding.baseline or None,
            "metric": finding.metric,
            "unit": finding.unit,
            "direction": finding.direction or None,
            "value": finding.value,
            "baseline_value": finding.baseline_value,
            "delta": finding.delta,
            "low": finding.interval.low if finding.interval else None,
            "high": finding.interval.high if finding.interval else None,
            "num_samples": finding.interval.num_samples if finding.interval else None,
            "num_seeds": finding.interval.num_seeds if finding.interval else None,
            "verdict": finding.judgement.verdict if finding.judgement else None,
            "text": finding.judgement.text if finding.judgement else None,
            "not_comparable": list(finding.reasons),
        }
        for finding in findings
    ]


def render_csv(findings: Iterable[Finding]) -> str:
    """Return a table with a header, numbers in full."""
    described = describe_findings(findings)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = [*describe_findings([Finding("", "", "", "", "", 0.0)])[0]]
    writer.writerow(columns)
    for row in described:
        cells = ["; ".join(row[name]) if isinstance(row[name], list) else row[name] for name in columns]
        writer.writerow(["'" + cell if _is_formula(cell) else cell for cell in cells])
    return stream.getvalue()


def render_markdown(findings: Sequence[Finding], notes: Sequence[str], outcomes: Sequence[Outcome]) -> str:
    """Return a table, why some do not compare, and the gates; harmless whoever wrote its parts."""
    lines = [render_row(COLUMNS), render_row("---" for _ in COLUMNS)]
    for finding in findings:
        cells = [escape_cell(cell) for cell in list_cells(finding)]
        if finding.judgement:
            cells[-1] = f"{ARROWS[finding.judgement.verdict]} {cells[-1]}"
        lines.append(render_row(cells))
    lines += ["", *(f"- {escape_cell(note, 300)}" for note in notes)] if notes else []
    lines += ["", render_gates(outcomes)] if outcomes else []
    return "\n".join(lines) + "\n"


def render_gates(outcomes: Iterable[Outcome]) -> str:
    """Return a table of gates, and whether they are passed."""
    lines = [render_row(("gate of", "gate", "has", "")), render_row(["---"] * 4)]
    lines += [render_row([*map(escape_cell, _list_gate(o)), "✅" if o.is_passed else "❌"]) for o in outcomes]
    return "\n".join(lines)


def render_latex(findings: Iterable[Finding]) -> str:
    """Return a tabular for the package booktabs."""
    lines = [r"\begin{tabular}{lllrrrrl}", r"\toprule"]
    lines += [f"{' & '.join(map(_escape_latex, COLUMNS))} \\\\", r"\midrule"]
    lines += [f"{' & '.join(map(_escape_latex, list_cells(finding)))} \\\\" for finding in findings]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def describe_outcomes(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """Return what became of gates as JSON values."""
    return [
        {"experiment": o.experiment, "gate": o.gate.text, "has": o.text, "is_passed": o.is_passed} for o in outcomes
    ]


def _list_gate(outcome: Outcome) -> tuple[str, str, str]:
    return outcome.experiment, outcome.gate.text, outcome.text


def _is_formula(cell: Any) -> bool:
    """Say whether a spreadsheet would compute a text."""
    return isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t"))


def _escape_latex(text: str) -> str:
    escaped = re.sub(r"[\\~^&%$#_{}]", lambda match: _LATEX.get(match[0], f"\\{match[0]}"), text)
    return " ".join(escaped.split())


def render_row(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table; cells are Markdown already."""
    return f"| {' | '.join(cells)} |"
