"""Write the report as pages: one folder that opens from disk, and asks no network for anything."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.errors import UsageError
from pipeline.experiments import Experiment
from pipeline.history import History
from pipeline.outs import PREDICTIONS
from pipeline.ownership import Ownership
from pipeline.pages.entries import ExperimentPage, build_page, describe_certificate
from pipeline.pages.history import HistorySection, describe_history
from pipeline.pages.mistakes import Mistake, find_mistakes
from pipeline.pages.studies import Study, find_studies
from pipeline.project import Project
from pipeline.reports.findings import Finding
from pipeline.reports.rendering import COLUMNS
from pipeline.reports.reporter import Report, ResultReader
from pipeline.results import format_delta
from pipeline.workspace import read_json

_HERE = Path(__file__).parent
_ASSETS = ("page.css", "index.js", "charts.js", "vendor/vega.min.js", "vendor/vega-lite.min.js")
_LIVE_ASSETS = ("live.js",)
_MARKER = ".force-report"  # in a folder of ours, which may be written anew
_ORDER = ("worse", "better", "inconclusive", "equivalent", "unknown")  # of what a row of the table says


class Site:
    """The pages of experiments; those that `force ui` serves have a `version`, and show what runs."""

    def __init__(
        self, project: Project, experiments: Mapping[str, Experiment], report: Report, version: int = 0
    ) -> None:
        self._assets = (*_ASSETS, *(_LIVE_ASSETS if version else ()))
        self._root = project.root
        self._experiments = experiments
        self._report = report
        known = project.experiments.names()
        named = dict.fromkeys(finding.baseline for finding in report.findings)
        others = tuple(name for name in named if name in known and name not in experiments)
        shown = {**experiments, **(project.select(others) if others else {})}
        self._ownership: Ownership = project.ownership(shown)
        self._reader = ResultReader(project, shown, project.cache)
        environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=False,
        )
        environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False}
        environment.globals["version"] = version
        names = ("index", "experiment", "study")
        self._index, self._page, self._study = (environment.get_template(f"{name}.html") for name in names)
        self._findings: dict[str, list[Finding]] = {}
        for finding in report.findings:
            self._findings.setdefault(finding.experiment, []).append(finding)
        self._studies = find_studies(experiments, self._findings)

    def write(self, folder: Path, history: History | None = None) -> None:
        """Write all pages into `folder`, in place of those that were there, all of them or none.

        They show how metrics were at earlier commits, where there is a history. What else is in a folder of ours stays.
        Raises UsageError for a folder of another kind, or that cannot be made.
        """
        folder = folder.resolve()
        hint = "name a new folder, or one of an earlier report"
        try:
            if folder.exists() and not (folder / _MARKER).is_file() and (not folder.is_dir() or any(folder.iterdir())):
                raise UsageError(f"'{folder}' is there, and no report", hint)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
                self._fill(new := Path(beside, "new"), history or History())
                _replace(folder, new, Path(beside, "old"))
        except OSError as error:
            raise UsageError(f"'{folder}' cannot be written: {error.strerror}", hint) from None

    def _fill(self, folder: Path, history: History) -> None:
        for part in ("assets", "experiments", "studies"):
            (folder / part).mkdir(parents=True)
        (folder / _MARKER).touch()
        for asset in self._assets:
            shutil.copyfile(_HERE / "static" / asset, folder / "assets" / Path(asset).name)
        _write(folder / "index.html", self._render_index())
        for name in self._experiments:
            _write(folder / "experiments" / f"{name}.html", self._render_page(name, history))
        for name, study in self._studies.items():
            _write(folder / "studies" / f"{name}.html", self._render_study(study))

    def _render_index(self) -> str:
        metrics = list(dict.fromkeys(finding.metric for finding in self._report.findings))
        titles = [("experiment", False), ("against", False), *((metric, True) for metric in metrics)]
        titles += [("verdict", False), ("description", False)]
        return self._index.render(
            title="Experiments",
            assets="assets",
            columns=[{"title": title, "is_number": is_number} for title, is_number in titles],
            metrics=metrics,
            entries=[self._describe(name) for name in self._experiments],
            notes=self._report.notes,
            report=self._collect(),
            studies=self._studies,
        )

    def _render_study(self, study: Study) -> str:
        metrics = dict.fromkeys(f.metric for name in study.changes for f in self._findings.get(name, []))
        return self._study.render(
            title=f"Heirs of {study.name}",
            assets="../assets",
            study=study,
            names=self._experiments,
            metrics=metrics,
            entries=[self._describe(name) for name in study.changes],
        )

    def _describe(self, name: str) -> dict[str, Any]:
        """Return a row of the table."""
        findings = [finding for finding in self._findings.get(name, []) if " at " not in finding.baseline]
        verdicts = [finding.judgement.verdict for finding in findings if finding.judgement]
        counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in _ORDER if verdict in verdicts]
        return {
            "name": name,
            "baseline": next((finding.baseline for finding in findings if finding.baseline), ""),
            "cells": {finding.metric: _describe_cell(finding) for finding in findings},
            "verdict": (self._reader.read(name).fault and "no result") or ", ".join(counts),
            "description": self._experiments[name].description,
        }

    def _collect(self) -> dict[str, Any]:
        """Return what the page compares two experiments by; equal certificates are there once."""
        places: dict[str, int] = {}
        experiments = {}
        for name in self._experiments:
            result = self._reader.read(name)
            described = json.dumps(describe_certificate(result.certificate), sort_keys=True)
            experiments[name] = {
                "metrics": dict(result.metrics),
                "seeds": self._reader.find_evidence(name).seeds,
                "certificate": places.setdefault(described, len(places)),
                "fault": f"{name}: {result.fault or result.staleness}" if result.fault or result.staleness else "",
            }
        return {"experiments": experiments, "certificates": [json.loads(text) for text in places]}

    def _render_page(self, name: str, history: History) -> str:
        page: ExperimentPage = build_page(
            self._root,
            self._experiments[name],
            self._ownership,
            self._reader.read(name),
            self._findings.get(name, []),
            self._find_mistakes(name),
        )
        return self._page.render(
            title=name,
            assets="../assets",
            page=page,
            history=self._describe_history(name, history),
            names=self._experiments,
            finding_titles=COLUMNS,
        )

    def _describe_history(self, name: str, history: History) -> HistorySection | None:
        result = self._reader.read(name)
        folder = self._ownership.effective(name, "evaluate").folder
        return describe_history(history, folder, result.metrics, result.certificate)

    def _find_mistakes(self, name: str) -> Sequence[Mistake]:
        evidence, result = self._reader.find_evidence(name), self._reader.read(name)
        predictions = self._reader.find_out(name, PREDICTIONS)
        data = self._root / self._ownership.effective(name, "prepare").folder / "outputs/prepare/data"
        metadata = read_json(data / "metadata.json")
        if evidence.scores is None or predictions is None or not isinstance(metadata, dict):
            return []
        try:
            return find_mistakes(evidence.scores, predictions, data, metadata, result.certificate.get("seed", 0))
        except (OSError, ValueError, KeyError, IndexError, TypeError):  # the page is there without them
            return []


def _describe_cell(finding: Finding) -> dict[str, Any]:
    difference = "n/c" if finding.reasons else "" if finding.delta is None else format_delta(finding.delta)
    verdict, text = (finding.judgement.verdict, finding.judgement.text) if finding.judgement else ("dim", "")
    return {
        "value": finding.value,
        "difference": difference,
        "verdict": verdict if verdict in ("better", "worse") else "dim",
        "text": "; ".join(finding.reasons) or text,
    }


def _replace(folder: Path, new: Path, old: Path) -> None:
    """Put `new` in the place of `folder`, which goes to `old`, and back where that fails."""
    if not folder.exists():
        os.rename(new, folder)
        return
    os.rename(folder, old)
    try:
        os.rename(new, folder)
    except BaseException:
        os.rename(old, folder)
        raise
    for entry in old.iterdir():
        if entry.name not in (_MARKER, "index.html", "assets", "experiments", "studies"):
            os.rename(entry, folder / entry.name)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="replace")
