"""Read the metrics and certificates that stages left, and compare them. A report only reads files."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from pipeline.certificates import find_differences, is_older
from pipeline.index import FileIndex
from pipeline.ownership import Stage, folder_of
from pipeline.validation import find_faults, named_schema

_INFINITE = 1e300  # what no chart shows
_MAX_REASONS = 3  # in a line; `force compare --json` has all


@dataclass(frozen=True)
class Result:
    """What an experiment's evaluation left."""

    experiment: str
    metrics: Mapping[str, float]
    certificate: Mapping[str, Any]
    fault: str = ""  # why there is no result, where there is none
    staleness: str = ""  # why it is not the result of the present files, where it is not


@dataclass(frozen=True)
class Row:
    """A result beside its baseline."""

    experiment: str
    baseline: str  # empty for the first
    metrics: Mapping[str, float]
    deltas: Mapping[str, float]  # only of metrics that compare
    better: Mapping[str, bool | None]  # by metric that compares; None for no difference
    differences: Mapping[str, list[str]]  # metric → why it does not compare
    fault: str = ""
    staleness: str = ""


def read_result(root: Path, experiment: str, evaluate: Stage, staleness: str, index: FileIndex | None = None) -> Result:
    """Read the result of an experiment from the folder of whoever owns its evaluation; `index` as `read_document`."""
    documents = {}
    for name in ("metrics", "certificate"):
        path = f"{evaluate.folder}/outputs/evaluate/{name}.json"
        documents[name], fault = read_document(root, path, name, index)
        if fault:
            return Result(experiment, {}, {}, f"no result: {path} {fault}")
    return Result(experiment, documents["metrics"], documents["certificate"], staleness=staleness)


def read_document(root: Path, path: str, name: str, index: FileIndex | None = None) -> tuple[Any, str]:
    """Return what a file that the schema called `name` describes holds, and what is wrong with it, if anything is.

    `index` remembers what is wrong with these very bytes, so that they are not checked again.
    """
    try:
        content = (root / path).read_bytes()
    except OSError as error:
        return None, "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
    if index is None or not index.exists(path):
        return parse_document(name, content)
    digest = hashlib.sha256(content + named_schema(name).digest.encode()).hexdigest()
    fault: str = index.remember(path, f"fault:{digest}", lambda: _find_fault(name, content))
    return None if fault else _parse(name, content), fault


def parse_document(name: str, content: bytes) -> tuple[Any, str]:
    """Return what the bytes of such a file say, and what is wrong with them."""
    fault = _find_fault(name, content)
    return None if fault else _parse(name, content), fault


@cache
def _find_fault(name: str, content: bytes) -> str:
    """Return what is wrong with a file; of equal files, as certificates often are, once."""
    try:
        document = _parse(name, content)
    except (ValueError, RecursionError):
        return "cannot be read"
    if name == "certificate" and is_older(document):
        return ""  # its metrics can be read all the same
    if b"\\u" in content and not _is_text(document):
        return "has a name that is no text"
    return next(iter(find_faults(name, document)), "") or _find_infinite(name, document)


def _is_text(document: Any) -> bool:
    """Say whether all texts of a document can be written: halves of a pair of characters cannot."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _parse(name: str, content: bytes) -> Any:
    """Return the document in a file; of a certificate of an older version just that. Raises what `json.loads` does."""
    document = json.loads(content)
    return {"version": document["version"]} if name == "certificate" and is_older(document) else document


def _find_infinite(name: str, document: Mapping[str, Any]) -> str:
    """Return which metric is no number to compute with."""
    values = {"metrics": [document], "seeds": document.values()}.get(name, ())
    for metric, value in (pair for metrics in values for pair in metrics.items()):
        try:
            is_finite = isfinite(value)
        except OverflowError:
            is_finite = False
        if not is_finite:
            return f"'{metric}' is not finite"
    return ""


def read_history(root: Path, experiment: str) -> list[dict[str, Any]]:
    """Return what the training of an experiment recorded, a row an epoch; nothing where it owns none."""
    return read_rows(root / folder_of(experiment) / "outputs" / "train" / "history.jsonl")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a history.jsonl, without what is no finite number; nothing where there is no such file."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        with suppress(ValueError, RecursionError):  # a training that was killed may have left half a line
            row = json.loads(line)
            if isinstance(row, dict):
                rows.append(keep_finite(row))
    return rows


def keep_finite(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a row of a history, without what JSON has no number for.

    >>> keep_finite({"epoch": 1, "train_loss": float("nan"), "is_last": True, "note": "-"})
    {'epoch': 1}
    """
    return {
        name: value
        for name, value in row.items()
        if not isinstance(value, bool) and isinstance(value, int | float) and abs(value) < _INFINITE
    }


def compare(results: Iterable[Result], baselines: Mapping[str, str]) -> list[Row]:
    """Return a row a result; `baselines` names the experiment that each is compared with."""
    by_name = {result.experiment: result for result in results}
    return [_compare(result, by_name.get(baselines.get(name, ""))) for name, result in by_name.items()]


def list_notes(rows: Iterable[Row]) -> list[str]:
    """Return, a line each, why rows have no result, or one that does not compare."""
    notes = []
    for row in rows:
        if row.fault:
            notes.append(f"{row.experiment}: {row.fault}")
        elif row.staleness:
            notes.append(f"{row.experiment} is out of date: {row.staleness}")
        reasons = list(dict.fromkeys(reason for found in row.differences.values() for reason in found))
        if reasons:
            more = f"; and {len(reasons) - _MAX_REASONS} more" if len(reasons) > _MAX_REASONS else ""
            first = "; ".join(reasons[:_MAX_REASONS])
            notes.append(f"{row.experiment} does not compare with {row.baseline}: {first}{more}")
    return notes


def is_nothing(delta: float) -> bool:
    """Say whether a difference is none in the digits that are shown."""
    return abs(delta) < 0.5e-4


def format_delta(delta: float) -> str:
    """Return a difference as it is shown; one that is none has no direction.

    >>> format_delta(0.01), format_delta(-0.00001)
    ('+0.0100', '+0.0000')
    """
    return f"{0.0 if is_nothing(delta) else delta:+.4f}"


def _compare(result: Result, baseline: Result | None) -> Row:
    if baseline is None or baseline is result:
        return Row(result.experiment, "", result.metrics, {}, {}, {}, result.fault, result.staleness)
    if any((result.fault, baseline.fault, result.staleness, baseline.staleness)):
        # The change that made one of them stale would be counted as the experiment's own.
        return Row(result.experiment, baseline.experiment, result.metrics, {}, {}, {}, result.fault, result.staleness)
    deltas, better, differences = {}, {}, {}
    for metric, value in result.metrics.items():
        if metric not in baseline.metrics:
            continue
        if reasons := find_differences(result.certificate, baseline.certificate, metric):
            differences[metric] = reasons
            continue
        deltas[metric] = delta = value - baseline.metrics[metric]
        is_up_good = result.certificate["metrics"][metric]["direction"] == "max"
        better[metric] = None if is_nothing(delta) else (delta > 0) == is_up_good
    return Row(result.experiment, baseline.experiment, result.metrics, deltas, better, differences)
