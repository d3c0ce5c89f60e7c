"""What a page of an experiment shows, read from the files that its stages left."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.certificates import FIELDS, describe_field, get_field, is_older
from pipeline.experiments import Experiment
from pipeline.ownership import STAGES, TRAIN, Ownership
from pipeline.pages.charts import count_confusions, draw_confusion, draw_curve, keep_finite, list_curves
from pipeline.pages.mistakes import Mistake
from pipeline.reports.findings import Finding
from pipeline.reports.rendering import list_cells
from pipeline.results import Result, read_history

_NUM_EPOCHS = 20  # the last ones, as numbers
_NUM_CONFUSIONS = 20  # the most frequent ones, as numbers
_MAX_LOG_BYTES = 20_000  # of the end of a log
_LOGS = ("prepare.log", "train.log", "evaluate.log", "failed.log")


@dataclass(frozen=True)
class ExperimentPage:
    """All that the template of an experiment names."""

    name: str
    description: str
    faults: Sequence[str]  # why there is no result, or none of the present files
    findings: Sequence[tuple[tuple[str, ...], str]]  # cells, and the verdict
    curves: Sequence[tuple[str, dict[str, Any]]]
    curves_of: Sequence[str]
    history_titles: Sequence[str]
    history_rows: Sequence[Sequence[str]]
    confusion: dict[str, Any] | None
    confusions: Sequence[tuple[str, str, int]]
    mistakes: Sequence[Mistake]
    lineage: Sequence[str]
    stages: Sequence[Mapping[str, str]]
    components: Sequence[Sequence[str]]
    params: Sequence[Sequence[str]]
    logs: Sequence[tuple[str, str]]


def build_page(
    root: Path,
    experiment: Experiment,
    ownership: Ownership,
    result: Result,
    findings: Sequence[Finding],
    mistakes: Sequence[Mistake] = (),
) -> ExperimentPage:
    """Return the page of an experiment."""
    name = experiment.name
    baseline = next((found.baseline for found in findings), experiment.parent.name if experiment.parent else "")
    compared = [other for other in (name, baseline) if other in ownership]
    trained = dict.fromkeys(ownership.owner(other, TRAIN) for other in compared)
    histories = {owner: history for owner in trained if (history := list(_read_finite(root, owner)))}
    own = next(iter(histories.values()), [])
    curves = list_curves(own)
    evaluate = ownership.effective(name, "evaluate").folder
    counts = count_confusions(_read_confusions(root / evaluate / "outputs/evaluate/confusion.csv"))
    wrong = sorted(((a, p, n) for (a, p), n in counts.items() if a != p), key=lambda row: -row[2])
    titles = ["epoch", *curves]
    return ExperimentPage(
        name,
        experiment.description,
        [*filter(None, (result.fault, result.staleness and f"out of date: {result.staleness}"))],
        [(list_cells(found), found.judgement.verdict if found.judgement else "") for found in findings],
        [(curve, draw_curve(curve, histories)) for curve in curves],
        list(histories),
        titles,
        [[_show(row.get(title)) for title in titles] for row in own[-_NUM_EPOCHS:]],
        draw_confusion(counts),
        wrong[:_NUM_CONFUSIONS] if wrong else [(a, p, n) for (a, p), n in counts.items()][:_NUM_CONFUSIONS],
        mistakes,
        experiment.lineage,
        [_describe_stage(name, stage, ownership) for stage in STAGES],
        [[kind, part.class_name, part.source] for kind, part in experiment.components.items()],
        [[key, str(setting.value), setting.file] for key, setting in experiment.settings.items()],
        list(_read_logs(root, [ownership.effective(name, stage).folder for stage in STAGES])),
    )


def describe_certificate(certificate: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what pages compare certificates by: of each field what has to agree, and how to call it."""
    if not certificate or is_older(certificate):
        return None
    return {
        "fields": {
            name: [str(get_field(certificate, path)), describe_field(path, certificate)]
            for path, name in FIELDS.items()
        },
        "params": {key: [_spell(value), str(value)] for key, value in certificate.get("params", {}).items()},
        "metrics": {
            metric: {
                "definition": [defined["definition_sha256"], defined["definition"]],
                "direction": [defined["direction"]] * 2,
                "unit": [defined["unit"]] * 2,
            }
            for metric, defined in certificate.get("metrics", {}).items()
        },
    }


def _spell(value: Any) -> str:
    """Return a text that is the same for equal values.

    >>> _spell({"b": 1.0, "a": "1"}) == _spell({"a": "1", "b": 1}), _spell(1) == _spell("1")
    (True, False)
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_spell(key)}: {_spell(value[key])}" for key in sorted(value, key=str)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_spell, value)) + "]"
    return repr(value)


def _read_finite(root: Path, owner: str) -> Iterator[dict[str, Any]]:
    """Yield the epochs of a training, without what JSON has no number for."""
    yield from (keep_finite(row) for row in read_history(root, owner) if isinstance(row, dict))


def _read_confusions(path: Path) -> list[tuple[str, str]]:
    """Return actual and predicted class of each test sample; nothing of a file that is damaged."""
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [(row["actual"], row["predicted"]) for row in csv.DictReader(file, strict=True)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError):
        return []


def _describe_stage(name: str, stage: str, ownership: Ownership) -> dict[str, str]:
    owner = ownership.owner(name, stage)
    return {"name": stage, "owner": owner, "state": "its own" if owner == name else "inherited"}


def _read_logs(root: Path, folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield path and end of each log."""
    for stage, folder in zip(STAGES, folders, strict=True):
        for name in _LOGS:
            path = root / folder / "outputs" / stage / name
            if not path.is_file():
                continue
            with suppress(OSError), path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - _MAX_LOG_BYTES))
                text = file.read().decode("utf-8", "replace")
                cut = f"… {size - _MAX_LOG_BYTES:,} bytes before\n" if size > _MAX_LOG_BYTES else ""
                yield str(path.relative_to(root)), cut + text


def _show(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
