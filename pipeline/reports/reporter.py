"""Make a report on the experiments of a checkout from the files that their stages left."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pipeline import reporting
from pipeline.dvccache import DvcCache
from pipeline.errors import ConfigError, UsageError
from pipeline.experiments import Experiment
from pipeline.gates import PARENT, Gate
from pipeline.outs import PERFORMANCE, PREDICTIONS, OutFinder
from pipeline.ownership import Ownership
from pipeline.project import Project
from pipeline.reports.findings import Evidence, Finding, build_findings, read_evidence
from pipeline.reports.gating import Measured, Outcome, check_bound, check_no_worse
from pipeline.results import Result, compare, list_notes, read_document, read_result
from pipeline.workspace import read_json

SEEDS = "outputs/evaluate/seeds.json"


@dataclass(frozen=True)
class Report:
    """All that there is to say."""

    findings: Sequence[Finding]
    notes: Sequence[str]  # why there is no result, or no difference
    outcomes: Sequence[Outcome]  # of gates


class ResultReader:
    """Reads what evaluations left in one checkout, each once.

    `cache` and `handed_on`, hash → file, have outs that are not in the workspace.
    """

    def __init__(
        self,
        project: Project,
        experiments: Mapping[str, Experiment],
        cache_of_outs: DvcCache,
        handed_on: Mapping[str, Path] | None = None,
    ) -> None:
        self._root = project.root
        self._index = project.index
        self.ownership: Ownership = project.ownership(dict(experiments))
        self._planner = project.planner(self.ownership)
        self.outs = OutFinder(project, self.ownership, self._planner, cache_of_outs, handed_on)
        self.find_out = self.outs.find
        self.read = cache(self._read)
        self.find_evidence = cache(self._find_evidence)

    def _read(self, name: str) -> Result:
        """Return the result of an experiment."""
        stage = self.ownership.effective(name, "evaluate")
        return read_result(self._root, name, stage, self.find_staleness(name, "evaluate"), self._index)

    def find_staleness(self, name: str, stage: str) -> str:
        """Return why what a stage left is not of the present files, or not there; nothing where it is."""
        return "; ".join(reason.text for reason in self._planner.find_staleness(self.ownership.effective(name, stage)))

    def _find_evidence(self, name: str) -> Evidence:
        """Return what the evaluation of an experiment left besides its metrics."""
        path = f"{self.ownership.effective(name, 'evaluate').folder}/{SEEDS}"
        document, fault = read_document(self._root, path, "seeds", self._index)
        seeds = {} if fault else {int(seed): values for seed, values in document.items()}
        return read_evidence(seeds, self.find_out(name, PREDICTIONS), self.read(name).certificate)

    def read_performance(self, name: str) -> Mapping[str, Any] | None:
        """Return the performance.json of an experiment; None where it is not here."""
        path = self.find_out(name, PERFORMANCE)
        document = read_json(path) if path else None
        return document if isinstance(document, Mapping) else None


class Reporter:
    """Makes a report on experiments of a checkout."""

    def __init__(
        self,
        project: Project,
        experiments: Mapping[str, Experiment],
        baseline: str = "",
        handed_on: Mapping[str, Path] | None = None,
    ) -> None:
        self._project = project
        self._handed_on = handed_on
        self._experiments = experiments
        parents = {name: e.parent.name for name, e in experiments.items() if e.parent}
        self._baselines = dict.fromkeys(experiments, baseline) if baseline else parents
        missing = tuple(sorted({*self._baselines.values()} - {""} - experiments.keys()))
        others = project.select(missing) if missing else {}
        named = {gate.baseline for e in experiments.values() for gate in e.gates}
        others |= _find_sound(project, named - {"", PARENT} - experiments.keys())
        known = {**others, **experiments}
        self.reader = ResultReader(project, known, project.cache, handed_on)
        self._read_from = [(self.reader.outs, list(known))]  # where outs are looked for, and whose

    def build(self, before: Project | None = None, base: str = "") -> Report:
        """Return the report against baselines, and against `before`, the checkout of what is called `base`."""
        pairs = [(name, self._baselines.get(name, "")) for name in self._experiments]
        results = {name: self.reader.read(name) for pair in pairs for name in pair if name}
        evidence, missing = dict[str, Evidence](), list[str]()
        if before:
            then, evidence, missing = self._read_before(before, base)
            results |= then
            titles = ((name, title_of(name, base)) for name in self._experiments)
            pairs += [(name, title) for name, title in titles if title in then]
        rows = [compare([results[name], *_list(results.get(other))], {name: other})[0] for name, other in pairs]
        findings = build_findings(
            rows,
            results,
            lambda name: evidence[name] if name in evidence else self.reader.find_evidence(name),
            self._find_smallest,
        )
        baselines = dict.fromkeys(other for _, other in pairs if other and other not in self._experiments)
        notes = [*missing, *(note for name in baselines for note in _note(results[name])), *list_notes(rows)]
        return Report(findings, list(dict.fromkeys(notes)), list(self.check_gates()))

    def list_hashes(self) -> list[str]:
        """Return the hashes of the outs that the report may have read."""
        return sorted({md5 for outs, names in self._read_from for md5 in outs.list_hashes(names)})

    def _find_smallest(self, name: str, metric: str) -> float:
        return reporting.find_smallest(self._experiments[name].section(reporting.SECTION), metric)

    def _read_before(self, before: Project, base: str) -> tuple[dict[str, Result], dict[str, Evidence], list[str]]:
        """Return results and evidence of the experiments as they were, by title, and what is missing."""
        results, evidence, missing = dict[str, Result](), dict[str, Evidence](), list[str]()
        for name in self._experiments:
            title = title_of(name, base)
            try:
                there = {name: before.experiments.get(name)} if name in before.experiments.names() else {}
                reader = ResultReader(before, there, self._project.cache, self._handed_on)
            except ConfigError:
                there = {}
            if not there:
                missing.append(f"{name} is not there at {base}, or not sound")
                continue
            self._read_from.append((reader.outs, [name]))
            results[title] = replace(reader.read(name), experiment=title)
            evidence[title] = reader.find_evidence(name)
        return results, evidence, missing

    def check_gates(self) -> Iterator[Outcome]:
        """Yield whether each experiment passes each of its gates."""
        for name, experiment in self._experiments.items():
            for gate in experiment.gates:
                yield self._check_gate(name, experiment, gate)

    def _check_gate(self, name: str, experiment: Experiment, gate: Gate) -> Outcome:
        ours = self._describe(name, gate.metric)
        if not gate.baseline:
            return check_bound(gate, ours, self.reader.read_performance(name))
        other = gate.baseline
        if other == PARENT:
            other = experiment.parent.name if experiment.parent else name
        if other not in self.reader.ownership:
            return Outcome(name, gate, False, f"'{other}' has faults: nothing compares with it")
        theirs = self.reader.read(other)
        row = compare([self.reader.read(name), theirs], {name: other})[0]
        return check_no_worse(gate, ours, self._describe(other, gate.metric), row)

    def _describe(self, name: str, metric: str) -> Measured:
        result = self.reader.read(name)
        defined = result.certificate.get("metrics", {}).get(metric, {})
        seeds = self.reader.find_evidence(name).values(metric)
        return Measured(result, seeds, defined.get("unit", ""), defined.get("direction", ""))


def _find_sound(project: Project, names: set[str]) -> dict[str, Experiment]:
    """Return those of some experiments that can be read: a gate that names another is not passed, and no more."""
    found = {}
    for name in sorted(names):
        with suppress(ConfigError, UsageError):
            experiment = project.experiments.get(name)
            ResultReader(project, {name: experiment}, project.cache).find_staleness(name, "evaluate")  # reads its locks
            found[name] = experiment
    return found


def title_of(name: str, base: str) -> str:
    """Return what an experiment is called as it is at a base."""
    return f"{name} at {base}"


def _note(baseline: Result) -> Iterable[str]:
    """Yield why nothing is compared with a baseline, where that is so."""
    if baseline.fault:
        yield f"{baseline.experiment}: no baseline yet: {baseline.fault}"
    elif baseline.staleness:
        yield f"{baseline.experiment} is out of date: {baseline.staleness}"


def _list(result: Result | None) -> list[Result]:
    return [result] if result else []
