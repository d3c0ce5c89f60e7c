"""What a branch did, as GitHub's Markdown: verdicts first, then numbers, changes, costs, charts; within a budget.

Where there is no room for all of it, parts go in the order of `_STEPS`, of the last experiments first, and the end says
what is missing. The same facts give the same text.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.costs import format_s
from pipeline.escaping import escape_cell
from pipeline.markdown import render_log
from pipeline.mermaid import draw_bars, draw_curves, draw_lineage
from pipeline.reports.digests import BranchReport, Cost, Digest
from pipeline.reports.findings import Finding
from pipeline.reports.rendering import ARROWS, render_gates, render_row
from pipeline.results import format_delta, is_nothing

_MAX_NOTICE = 400  # bytes of what says what is missing
_MAX_CURVES = 4  # charts of an experiment
_MAX_LISTED = 30  # params of an experiment, or files
_MAX_NAMED = 8  # experiments in a command
_SHORT_LOG = 20  # lines
_LOG, _CHANGES, _LINEAGE, _CURVES, _CONFUSION, _TABLE, _HEADLINE, _NOTE = (
    "log",
    "changes",
    "lineage",
    "learning curves",
    "confusion",
    "table",
    "verdicts",
    "note",
)
# What goes first where there is no room, and which of its shorter forms takes its place.
_STEPS = (
    (_CONFUSION, 1),
    (_CURVES, 1),
    (_LINEAGE, 1),
    (_LOG, 1),
    (_CHANGES, 1),
    (_NOTE, 1),
    (_LOG, 2),
    (_TABLE, 1),
    (_HEADLINE, 1),
)
_UP, _DOWN = "▲", "▼"  # better and worse by the sign alone: there is no interval
# What stands before a difference, and in words; what has to be seen first comes first.
_MARKS = {
    ARROWS["worse"]: "worse in",
    _DOWN: "worse, without an interval, in",
    ARROWS["better"]: "better in",
    _UP: "better, without an interval, in",
    ARROWS["inconclusive"]: "inconclusive in",
    ARROWS["equivalent"]: "equivalent in",
}


@dataclass(frozen=True)
class _Part:
    """A part of the text, and what may take its place, the last of which is nothing."""

    kind: str  # empty for what always stays
    forms: tuple[str, ...]


def render_branch(report: BranchReport, max_bytes: int) -> str:
    """Return the report in no more than so many bytes of UTF-8, as long as a few lines fit into them."""
    parts = [part for part in _list_parts(report) if part.forms[0]]
    chosen = [0] * len(parts)
    sizes = [[len(form.encode()) + 2 if form else 0 for form in part.forms] for part in parts]
    size = sum(found[0] for found in sizes)
    room = max_bytes - _MAX_NOTICE
    for kind, form in _STEPS:
        for place in reversed(range(len(parts))):
            if size <= (room if any(chosen) else max_bytes):
                break
            if parts[place].kind == kind:
                size += sizes[place][form] - sizes[place][chosen[place]]
                chosen[place] = form
    missing = Counter(part.kind for part, form in zip(parts, chosen, strict=True) if form)
    texts = [part.forms[form] for part, form in zip(parts, chosen, strict=True)]
    return _join([*texts, _say_missing(missing)])


def _join(texts: Sequence[str]) -> str:
    """Return texts as paragraphs; entries of one list stand together."""
    shown = [text for text in texts if text]
    gaps = ["\n" if left.startswith("- ") and right.startswith("- ") else "\n\n" for left, right in pairwise(shown)]
    return "".join(text + gap for text, gap in zip(shown, [*gaps, ""], strict=True))


def _say_missing(missing: Counter[str]) -> str:
    if not missing:
        return ""
    kinds = dict.fromkeys(kind for kind, _ in _STEPS)
    counts = ", ".join(f"{kind} ({missing[kind]})" for kind in kinds if kind in missing)
    return f"<sub>Cut or left out, as there is no room: {counts}. The summary of the run has more.</sub>"


def _list_parts(report: BranchReport) -> Iterator[_Part]:
    digests = sorted(report.digests, key=_rank)
    yield _keep("## Force Build")
    for fault in report.faults:
        yield _Part(_HEADLINE, (f"- ❌ {escape_cell(fault, 300)}", ""))
    for status in report.failures:
        yield _Part(_HEADLINE, (f"- ❌ **{escape_cell(status.entry)}**: {escape_cell(status.message, 300)}", ""))
        if status.log:
            short = "\n".join(status.log.splitlines()[-_SHORT_LOG:])
            yield _Part(_LOG, (render_log(status.log), render_log(short), ""))
    if report.outcomes:
        failed = [outcome for outcome in report.outcomes if not outcome.is_passed]
        gates = render_gates(report.outcomes)
        yield _Part(_TABLE, (f"{len(failed)} of {len(report.outcomes)} gates are not passed:\n\n{gates}", ""))
    if not digests and not report.failures and not report.faults:
        yield _keep("The branch changes no experiment.")
    for digest in digests:
        yield _Part(_HEADLINE, (_render_headline(digest, report.base), ""))
    for note in dict.fromkeys(report.notes):
        yield _Part(_NOTE, (f"- {escape_cell(note, 300)}", ""))
    for digest in digests:
        yield from _list_parts_of(digest, report.base)
    if digests:
        yield _Part(_LINEAGE, (_fold("lineage", draw_lineage([use for digest in digests for use in digest.uses])), ""))
        yield _Part(_CHANGES, (_render_files(report.files), ""))
    yield _keep(_render_end(report, [digest.name for digest in digests]))


def _list_parts_of(digest: Digest, base: str) -> Iterator[_Part]:
    yield _Part(_TABLE, (_render_table(digest, base), ""))
    yield _Part(_CHANGES, ("\n\n".join(filter(None, [_render_params(digest), _render_cost(digest)])), ""))
    curves = draw_curves(digest.histories, _MAX_CURVES)
    yield _Part(_CURVES, (_fold(f"learning curves of {escape_cell(digest.name)}", "\n\n".join(curves)), ""))
    counts = [(f"{actual} as {predicted}", count) for actual, predicted, count in digest.mistakes]
    bars = draw_bars(f"{digest.name}: what was taken for what most often", counts, "samples")
    yield _Part(_CONFUSION, (_fold(f"confusion of {escape_cell(digest.name)}", bars), ""))


def _keep(text: str) -> _Part:
    return _Part("", (text,))


def _rank(digest: Digest) -> int:
    """Return what experiments are sorted by: what is worse has to be seen first."""
    marks = {_mark(finding) for finding in (*digest.findings, *digest.before)}
    return next((place for place, mark in enumerate(_MARKS) if mark in marks), len(_MARKS))


def _mark(finding: Finding) -> str:
    """Return what a difference is: proven, or only better or worse by its sign; empty where there is none."""
    if finding.delta is None:
        return ""
    verdict = finding.judgement.verdict if finding.judgement else "unknown"
    if verdict != "unknown":
        return ARROWS[verdict]
    if not finding.direction or is_nothing(finding.delta):
        return ARROWS["unknown"]
    return _UP if (finding.delta > 0) == (finding.direction == "max") else _DOWN


def _render_headline(digest: Digest, base: str) -> str:
    """Return a line: what became better or worse beside the parent, and beside itself at the base."""
    if digest.staleness:
        return f"- **{escape_cell(digest.name)}** has no present result"
    sides = [(digest.against, digest.findings), (base, digest.before)]
    told = [f"beside {escape_cell(name)}: {text}" for name, found in sides if name and (text := _list_changes(found))]
    return f"- **{escape_cell(digest.name)}** {' — '.join(told) or 'has nothing to compare with'}"


def _list_changes(findings: Sequence[Finding]) -> str:
    told = []
    for mark, words in _MARKS.items():
        metrics = [escape_cell(finding.metric) for finding in findings if _mark(finding) == mark]
        told += [f"{mark} {words} {', '.join(metrics)}"] if metrics else []
    return "; ".join(told)


def _render_table(digest: Digest, base: str) -> str:
    before = {finding.metric: finding for finding in digest.before}
    names = escape_cell(digest.against or "baseline"), escape_cell(digest.name)
    header = ["metric", *names, "Δ", "95 % interval", "verdict"] + ([f"against {escape_cell(base)}"] if before else [])
    lines = [f"### {names[1]}", "", render_row(header), render_row("---" for _ in header)]
    for finding in digest.findings:
        cells = [
            escape_cell(finding.metric),
            "" if finding.baseline_value is None else f"{finding.baseline_value:.4f}",
            f"{finding.value:.4f}" + (" (out of date)" if digest.staleness else ""),
            _render_delta(finding),
            _render_interval(finding),
            escape_cell(finding.judgement.text) if finding.judgement else "",
        ]
        if before:
            cells.append(_render_at_base(before.get(finding.metric)))
        lines.append(render_row(cells))
    return "\n".join(lines) if digest.findings else ""


def _render_at_base(finding: Finding | None) -> str:
    """Return the difference from the base in one cell."""
    if finding is None:
        return ""
    interval = _render_interval(finding)
    return _render_delta(finding) + (f" ({interval})" if interval else "")


def _render_interval(finding: Finding) -> str:
    interval = finding.interval
    return f"{format_delta(interval.low)} to {format_delta(interval.high)}" if interval else ""


def _render_delta(finding: Finding) -> str:
    if finding.reasons:
        return "not comparable"
    return "" if finding.delta is None else f"{_mark(finding)} {format_delta(finding.delta)}"


def _render_params(digest: Digest) -> str:
    if not digest.params:
        return ""
    lines = [f"- {escape_cell(k)}: {_say(there)} → {_say(here)}" for k, there, here in digest.params[:_MAX_LISTED]]
    more = len(digest.params) - len(lines)
    lines += [f"- and {more} more"] if more else []
    against = "" if digest.params_against == digest.name else f"beside {escape_cell(digest.params_against)}"
    return "\n".join([f"**{escape_cell(digest.name)}: params {against or 'changed'}**", "", *lines])


def _say(value: str | None) -> str:
    return "*not set*" if value is None else escape_cell(value, 80) or "*empty*"


def _render_cost(digest: Digest) -> str:
    if digest.cost is None:
        return ""
    texts: tuple[Callable[[Cost], str], ...] = (
        lambda cost: format_s(cost.wall_time_s),
        lambda cost: f"{cost.gpu_hours:.2f} GPU hours" if cost.gpu_hours else "no GPU",
        lambda cost: f"{cost.peak_memory_mib:,.0f} MiB at most",
    )
    other = digest.cost_against
    told = [f"{text(digest.cost)} ({text(other)})" if other else text(digest.cost) for text in texts]
    beside = f" (in brackets: {escape_cell(digest.against)})" if other else ""
    return f"**{escape_cell(digest.name)}: cost**{beside}: {', '.join(told)}"


def _render_files(files: Sequence[tuple[str, int | None, int | None]]) -> str:
    if not files:
        return ""
    lines = [
        f"- {escape_cell(path, 300)} {'(binary)' if added is None else f'+{added} −{taken}'}"
        for path, added, taken in files[:_MAX_LISTED]
    ]
    lines += [f"- and {len(files) - _MAX_LISTED} more"] if len(files) > _MAX_LISTED else []
    return _fold(f"files that changed ({len(files)})", "\n".join(lines))


def _render_end(report: BranchReport, names: Sequence[str]) -> str:
    lines = []
    if names and report.commit:
        command = " ".join(["force run", *(sorted(names) if len(names) <= _MAX_NAMED else ())])
        lines.append(f"To have the same here: `git checkout {report.commit[:12]} && {command}`")
    if report.run_url:
        lines.append(f"<sub>[the run]({report.run_url})</sub>")
    return "\n\n".join(lines)


def _fold(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>" if text else ""
