"""Model cards (Mitchell et al., Model Cards for Model Reporting, 2019): what a model is for, how good, and made how."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from pipeline import reporting
from pipeline.escaping import escape_cell, escape_text
from pipeline.experiments import CIRCUMSTANCES, Experiment
from pipeline.ownership import STAGES, TRAIN, folder_of, product_of
from pipeline.params import nest
from pipeline.reports.findings import Evidence, Finding, stack_scores
from pipeline.reports.intervals import Interval, pair_seeds, resample_pairs
from pipeline.reports.rendering import render_markdown, render_row
from pipeline.results import Result

UNSAID = "*nobody says*"
_METRICS = "outputs/evaluate/metrics.json"
_MAX_NAMED = 50  # classes or sources
_MAX_TEXT = 5000  # characters of what somebody says


@dataclass(frozen=True)
class Facts:
    """What is known of a trained model, all of it from files."""

    experiment: Experiment
    metadata: Mapping[str, Any]  # of the data that it is built for
    result: Result
    evidence: Evidence
    findings: Sequence[Finding] = ()  # beside the parent
    run: Mapping[str, Any] | None = None  # what the training says of itself; None where that is not here
    owners: Mapping[str, str] | None = None  # stage → whose it is
    outs: Mapping[str, str] | None = None  # path of what a stage left → md5, as DVC has it
    staleness: str = ""  # why the model is not that of the present files


def build_card(facts: Facts) -> str:
    """Return the card as Markdown, harmless whoever wrote its parts, with the head that model hubs read."""
    experiment = facts.experiment
    said = experiment.section(reporting.SECTION).get("card", {})
    parts = [
        _render_head(said.get("license", "")),
        f"# {experiment.name}",
        escape_text(experiment.description, _MAX_TEXT),
        f"**Out of date:** {escape_cell(facts.staleness, 500)}" if facts.staleness else "",
        "## Use",
        _list(
            {
                "Intended use": said.get("intended_use", ""),
                "Limitations": said.get("limitations", ""),
                "Licence": said.get("license", ""),
                "Who answers for it": experiment.owner,
            }
        ),
        "## Data",
        "\n".join(_describe_data(facts.metadata)),
        "## Metrics",
        *_describe_metrics(facts),
        "## How it was made",
        *_describe_making(facts),
        "## How to load it",
        _describe_loading(facts),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def find_intervals(result: Result, evidence: Evidence) -> dict[str, Interval]:
    """Return the 95 % interval of each metric of which there is one: over test samples, wider by seeds."""
    stacks, intervals = dict[str, np.ndarray](), dict[str, Interval]()
    for metric, defined in result.certificate.get("metrics", {}).items():
        values = evidence.values(metric)
        seeds = sorted(values)
        try:
            stacks[metric] = stack_scores(evidence, metric, defined["definition"], seeds)
        except LookupError:
            by_seed = [values[seed] for seed in seeds]
            if len(seeds) > 1 and (interval := pair_seeds(by_seed, [0.0] * len(seeds))):
                intervals[metric] = interval
    # Where all samples have the same score, draws from them do not tell how the next ones scatter.
    stacks = {metric: scores for metric, scores in stacks.items() if np.ptp(scores.mean(axis=0)) > 0}
    return intervals | dict(zip(stacks, resample_pairs(list(stacks.values())), strict=True))


def _render_head(licence: str) -> str:
    head = {"library_name": "pytorch", **({"license": licence} if licence else {}), "tags": ["force-build"]}
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---"


def _describe_data(metadata: Mapping[str, Any]) -> Iterator[str]:
    counts = ", ".join(f"{count:,} {split}" for split, count in metadata["num_samples"].items())
    yield f"- {escape_cell(metadata['name'])}: {counts} samples"
    yield f"- inputs: {_describe_tensor(metadata, 'input')}; targets: {_describe_tensor(metadata, 'target')}"
    if classes := metadata["classes"]:
        more = f" and {len(classes) - _MAX_NAMED:,} more" if len(classes) > _MAX_NAMED else ""
        yield f"- {len(classes):,} classes: {', '.join(map(escape_cell, classes[:_MAX_NAMED]))}{more}"
    for source in metadata["sources"][:_MAX_NAMED]:
        sha256 = f", sha256 {escape_cell(str(source['sha256']))}" if source.get("sha256") else ""
        yield f"- from {escape_cell(str(source.get('name', '')), 300)}{sha256}"
    if len(metadata["sources"]) > _MAX_NAMED:
        yield f"- and from {len(metadata['sources']) - _MAX_NAMED:,} more"
    for transform in metadata.get("transforms", ()):
        yield f"- transformed by {escape_cell(str(transform.get('name', '')))}"


def _describe_tensor(metadata: Mapping[str, Any], field: str) -> str:
    shape = ", ".join(map(str, metadata.get(f"{field}_shape", ())))
    return f"({shape}) {escape_cell(str(metadata.get(f'{field}_dtype', 'int64')))}"


def _describe_metrics(facts: Facts) -> Iterator[str]:
    if facts.result.fault or not facts.result.metrics:
        yield f"Not evaluated: {escape_cell(facts.result.fault, 300)}"
        return
    if facts.result.staleness:
        yield f"**Out of date:** {escape_cell(facts.result.staleness, 500)}"
    test = facts.result.certificate.get("test", {})
    yield f"On {test['num_samples']:,} test samples:" if "num_samples" in test else ""
    intervals = find_intervals(facts.result, facts.evidence)
    lines = [render_row(("metric", "value", "95 % interval", "unit", "good is", "definition")), render_row(["---"] * 6)]
    for metric, recorded in facts.result.metrics.items():
        values = facts.evidence.values(metric)
        defined = facts.result.certificate.get("metrics", {}).get(metric, {})
        value = sum(values.values()) / len(values) if values else recorded
        interval = intervals.get(metric)
        lines.append(
            render_row(
                (
                    escape_cell(metric),
                    f"{value:.4f}" + (f" ({len(values)} seeds)" if len(values) > 1 else ""),
                    f"{interval.low:.4f} to {interval.high:.4f}" if interval else "",
                    escape_cell(defined.get("unit", "")),
                    {"max": "high", "min": "low"}.get(defined.get("direction", ""), ""),
                    escape_cell(defined.get("definition", ""), 200),
                )
            )
        )
    yield "\n".join(lines)
    if compared := [finding for finding in facts.findings if finding.baseline]:
        yield f"Beside its parent, {compared[0].baseline}, over the seeds that both have:"
        yield render_markdown(compared, [], []).rstrip("\n")


def _describe_making(facts: Facts) -> Iterator[str]:
    experiment, owners = facts.experiment, facts.owners or {}
    made = {kind: f"{c.class_name} of {c.source}" for kind, c in experiment.components.items()}
    yield _list({"Inherits": " → ".join(experiment.lineage[1:]), **made})
    if owners:
        rows = [render_row(("stage", "of", "what it left, as DVC has it")), render_row(["---"] * 3)]
        for stage, owner in owners.items():
            path = product_of(owner, stage) if STAGES[stage].product else f"{folder_of(owner)}/{_METRICS}"
            rows.append(render_row((stage, owner, f"{escape_cell(path)} {(facts.outs or {}).get(path, '')}")))
        yield "\n".join(rows)
    settings = {k: s.value for k, s in experiment.settings.items() if k.partition(".")[0] not in CIRCUMSTANCES}
    params = nest(settings)
    yield f"Params:\n\n{_indent(yaml.safe_dump(params, sort_keys=False, allow_unicode=True))}"
    if facts.run:
        yield _list(dict(_describe_run(facts.run)))
    yield f"To make it again: `force run {experiment.name}`"


def _describe_run(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    git, hardware = run.get("git") or {}, run.get("hardware") or {}
    if commit := git.get("commit"):
        yield "Commit", f"{commit}{', with changes that were not committed' if git.get('is_dirty') else ''}"
    yield "Seed", str(run.get("seed", ""))
    yield "Versions", ", ".join(f"{name} {version}" for name, version in (run.get("versions") or {}).items())
    gpus = ", ".join(hardware.get("gpus") or ()) or "no GPU"
    yield "Hardware", f"{hardware.get('machine', '')}, {hardware.get('num_cpus', '')} CPUs, {gpus}"
    yield "Training took", f"{run.get('wall_time_s', 0):,.0f} s"
    if doubts := run.get("doubts"):
        yield "Not sure to come out the same again", "; ".join(doubts)


def _describe_loading(facts: Facts) -> str:
    folder = product_of((facts.owners or {}).get(TRAIN, facts.experiment.name), TRAIN)
    lines = ["from common.saved_model import load_model", "", f'model = load_model("{folder}")']
    return "In a checkout of this repository:\n\n```python\n" + "\n".join(lines) + "\n```"


def _list(entries: Mapping[str, str]) -> str:
    """Return a list of what somebody says, or that nobody does."""
    return "\n".join(f"- {name}: {escape_text(text, _MAX_TEXT) if text else UNSAID}" for name, text in entries.items())


def _indent(text: str) -> str:
    """Return a text as a block of code that nothing in it can end."""
    return "\n".join(f"    {line}" for line in text.splitlines())
