"""`force data`: look at the data that an experiment prepared, and check them. A process of its own reads them."""

import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import click

from pipeline.cli import print_json, print_text
from pipeline.errors import GateError, InterruptedRunError, ToolError, UsageError, escape_line
from pipeline.experiments import Experiment
from pipeline.ownership import Ownership, Stage
from pipeline.project import Project, find_project
from pipeline.tables import print_table
from pipeline.tools.process import Child, last_line
from pipeline.workspace import read_json, write_json

PREPARE = "prepare"
_MAX_ROWS = 20  # of a table that people read
_MAX_NAME = 40  # characters
_BAR = 12  # characters


@click.group(name="data", help="Look at the prepared data of an experiment, and check them.")
def command() -> None:
    """Hold the subcommands."""


@command.command()
@click.argument("name", metavar="EXPERIMENT")
@click.option(
    "--output",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Draw pictures into FOLDER.  [default: .force/data/EXPERIMENT]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, output: Path | None, as_json: bool) -> None:
    """Show what the data of EXPERIMENT hold, and draw some.

    Reads what the stage prepare left, of EXPERIMENT or of the ancestor that it inherits data from.
    """
    prepared = Prepared(find_project(Path.cwd()), name)
    folder = _make_folder(output, prepared.project.state_dir / "data" / name)
    answer = ask({"action": "show", "pictures": str(folder)}, prepared)
    answer["pictures"] = [_show_path(folder / picture) for picture in answer["pictures"]]
    described = {"experiment": name, "prepared_for": prepared.stage.experiment, "out_of_date": prepared.staleness}
    prepared.project.index.save()
    if as_json:
        print_json({**described, **answer})
    else:
        _print_summary(name, prepared, answer)


@command.command()
@click.argument("name", metavar="EXPERIMENT")
@click.option("--against", metavar="OTHER", default="", help="Compare with OTHER instead of the parent.")
@click.option("--strict", is_flag=True, help="Fail at doubts and drift, too, and where the data are out of date.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(name: str, against: str, strict: bool, as_json: bool) -> None:
    """Check the data of EXPERIMENT, and compare them.

    What the stage prepare left is held against the params data.expect, and compared with the data of the parent.
    Numbers that are nan or infinite, inputs that never change, and drift are reported, and no failure without --strict.
    """
    prepared = Prepared(find_project(Path.cwd()), name)
    reference, note = prepared.find_reference(against)
    expect = prepared.experiment.section("data").get("expect")
    answer = ask({"action": "check", "expect": expect}, prepared, reference)
    prepared.project.index.save()
    answer = {
        "experiment": name,
        "prepared_for": prepared.stage.experiment,
        "out_of_date": prepared.staleness,
        "against": reference.experiment.name if reference else None,
        "note": note,
        **answer,
    }
    if not against and reference and answer["drift"]["form"] and prepared.reads_other_than(reference):
        answer |= {"against": None, "note": _explain_form(reference, answer["drift"]["form"]), "drift": None}
    if as_json:
        print_json(answer)
    else:
        _print_check(answer, has_expectations=expect is not None)
    _close_gate(answer, strict=strict)


class Prepared:
    """The data that an experiment uses, its own or inherited. Raises ToolError where they are not here."""

    def __init__(self, project: Project, name: str) -> None:
        self.project = project
        self.experiment: Experiment = project.experiments.get(name)
        ownership: Ownership = project.ownership({name: self.experiment})
        self.stage: Stage = ownership.effective(name, PREPARE)
        self.folder = project.root / self.stage.folder / self.stage.kind.product
        owner = self.stage.experiment
        planner = project.planner(ownership)
        if not (self.folder / "metadata.json").is_file():
            recorded = planner.recorded_outs(self.stage).get(self.stage.kind.product)
            why = "are recorded in dvc.lock, but not here" if recorded else f"are not here: {PREPARE} has not run"
            whose = f"of {owner}, which {name} uses, " if owner != name else f"of {name} "
            raise ToolError(f"the data {whose}{why}", f"force run {owner}:{PREPARE}")
        self.staleness = planner.describe_staleness(self.stage)

    def reads_other_than(self, reference: "Prepared") -> bool:
        """Say whether data come from another source, or are read by another class."""
        mine, theirs = (each.experiment.section("data") for each in (self, reference))
        if any(mine.get(key) != theirs.get(key) for key in ("source", "sources")):
            return True
        return not self.experiment.components["data"].is_same(reference.experiment.components["data"])

    def find_reference(self, against: str) -> tuple["Prepared | None", str]:
        """Return the data to compare with: of `against`, else of the parent; or None, and why there are none."""
        name = self.experiment.name
        parent = self.experiment.parent
        other = against or (parent.name if parent else "")
        if not other:
            return None, f"{name} has no parent to compare with: --against names another experiment"
        try:
            reference = Prepared(self.project, other)
        except ToolError as error:
            if against:
                raise
            return None, f"not compared: {error.message} ({error.hint})"
        if reference.folder == self.folder:
            return None, f"{name} and {other} use the same data, those of {self.stage.experiment}"
        return reference, ""


def ask(request: Mapping[str, Any], prepared: Prepared, reference: Prepared | None = None) -> dict[str, Any]:
    """Return what the process that reads data answers. Raises ToolError with the reason where it fails."""
    root, state_dir = prepared.project.root, prepared.project.state_dir
    state_dir.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="inspection.", dir=state_dir) as temporary:
        folder = Path(temporary)
        folders = {"data": str(prepared.folder), "reference": str(reference.folder) if reference else ""}
        write_json(folder / "request.json", {**request, **folders})
        status, output = _run_inspection(root, folder)
        answer: dict[str, Any] | None = read_json(folder / "result.json")
        if answer is not None and not status:
            return answer
        failure: dict[str, str] = read_json(folder / "failure.json") or {}
    damaged = [part for part in (prepared, reference) if part and str(part.folder) in failure.get("message", "")]
    raise _explain(status, failure.get("message", "").replace(f"{root}/", "") or last_line(output), damaged)


def _run_inspection(root: Path, folder: Path) -> tuple[int, str]:
    """Run the process to its end; return its exit status, and what it printed."""
    package = Path(__file__).parents[2]  # ours, where the checkout has no pipeline/ of its own
    variables = {"PYTHONPATH": f"{root}{os.pathsep}{package}"}
    child = Child([sys.executable, "-m", "pipeline.stages.inspection", str(folder)], root, variables)
    is_over = Event()

    def end(*_: object) -> None:
        is_over.set()
        child.cut_lifeline()

    signal.signal(signal.SIGTERM, end)
    try:
        output, status = "\n".join(child.lines()), child.wait()
        if is_over.is_set():
            raise InterruptedRunError
        return status, output
    except BaseException:
        child.end()
        raise


def _explain(status: int, message: str, damaged: Sequence[Prepared]) -> ToolError:
    """Return why there is no answer; data that are `damaged` are prepared again, or taken from DVC's cache."""
    if status < 0:
        return ToolError(f"the process that reads the data was killed by {signal.Signals(-status).name}")
    hint = f"force run {damaged[0].stage.experiment}:{PREPARE}" if damaged else ""
    return ToolError(message if damaged else f"the data cannot be read: {message}", hint)


def _make_folder(output: Path | None, default: Path) -> Path:
    """Return the folder of the pictures, which is there then; ours is empty."""
    folder = output or default
    try:
        if output is None:
            shutil.rmtree(default, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"'{folder}' cannot be made: {error.strerror}", "--output names another folder") from None
    return folder.absolute()


def _show_path(path: Path) -> str:
    """Return a path as a person at the current folder writes it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _close_gate(answer: Mapping[str, Any], *, strict: bool) -> None:
    name, broken = answer["experiment"], answer["broken"]
    if broken:
        raise GateError(f"the data of {name} break {_count(len(broken), 'expectation')}", f"force data show {name}")
    if strict and answer["doubts"]:
        raise GateError(f"the data of {name} raise {_count(len(answer['doubts']), 'doubt')}", f"force data show {name}")
    if strict and answer["drift"] and _has_drifted(answer["drift"]):
        raise GateError(f"the data of {name} are not those of {answer['against']}")
    if strict and answer["out_of_date"]:
        owner = answer["prepared_for"]
        raise GateError(f"the data of {name} are out of date: {answer['out_of_date']}", f"force run {owner}:{PREPARE}")


def _explain_form(parent: Prepared, form: Sequence[str]) -> str:
    """Return why data of a source of their own are not compared with those of the parent."""
    hint = "--against names another experiment"
    return f"not compared with {parent.experiment.name}, whose source and form are others: {'; '.join(form)}; {hint}"


def _has_drifted(drift: Mapping[str, Any]) -> bool:
    compared = [*drift["inputs"], *drift["targets"], *([drift["classes"]] if drift["classes"] else [])]
    return bool(drift["differences"]) or any(entry["drift"] != "none" for entry in compared)


def _print_summary(name: str, prepared: Prepared, answer: Mapping[str, Any]) -> None:
    inputs, targets = answer["inputs"], answer["targets"]
    owner = prepared.stage.experiment
    print_text(f"{name}: {answer['name']}" + (f", prepared for {owner}" if owner != name else ""))
    for source in answer["sources"][:_MAX_ROWS]:
        print_text(f"from {source.get('name', source)}")
    if prepared.staleness:
        print_text(f"out of date: {prepared.staleness}")
    stored = f", stored as {inputs['stored_dtype']}" if inputs["stored_dtype"] != inputs["dtype"] else ""
    print_text(f"inputs: {_show_shape(inputs['shape'])} {inputs['dtype']}{stored}")
    print_text(f"targets: {_describe_targets(targets)}\n")
    _print_splits(answer["splits"])
    _print_classes(answer["splits"])
    measures = inputs["measures"] if not answer["tokens"] else []
    for split, described in answer["splits"].items():
        measures = measures + [{**m, "name": f"{m['name']} ({split})"} for m in described.get("targets", [])]
    _print_measures(measures)
    _print_tokens(answer["tokens"])
    for picture in answer["pictures"]:
        print_text(f"\nwrote {picture}")


def _describe_targets(targets: Mapping[str, Any]) -> str:
    if targets["kind"] == "none":
        return "none"
    classes = f"{targets['num_classes']:,} " if targets["num_classes"] else ""
    names = {"classes": f"one of {classes}classes", "several classes": f"any of {classes}classes"}
    kind = names.get(targets["kind"], targets["kind"])
    return f"{kind}, {_show_shape(targets['shape'])} {targets['dtype']}"


def _show_shape(shape: Sequence[int]) -> str:
    """Return a shape as Python writes it.

    >>> _show_shape([1, 8]), _show_shape([4]), _show_shape([])
    ('(1, 8)', '(4,)', '()')
    """
    return str(tuple(shape))


def _print_splits(splits: Mapping[str, Any]) -> None:
    total = sum(split["num_samples"] for split in splits.values()) or 1
    rows = [[name, f"{s['num_samples']:,}", f"{s['num_samples'] / total:.1%}"] for name, s in splits.items()]
    print_table(["split", "samples", "share"], rows, numeric=["samples", "share"])


def _print_classes(splits: Mapping[str, Any]) -> None:
    counts = {name: split["classes"] for name, split in splits.items() if "classes" in split}
    if not counts:
        return
    highest = {name: max(by_class.values(), default=0) for name, by_class in counts.items()}
    names = list(next(iter(counts.values())))
    rows = [
        [_shorten(name), *(draw_bar(by_class[name], highest[split]) for split, by_class in counts.items())]
        for name in names[:_MAX_ROWS]
    ]
    click.echo()
    print_table(["class", *counts], rows)
    if len(names) > _MAX_ROWS:
        click.echo(f"and {len(names) - _MAX_ROWS:,} more classes")
    for split, by_class in counts.items():
        empty = [name for name, count in by_class.items() if not count]
        if empty and len(empty) < len(names):
            more = ", …" if len(empty) > 5 else ""
            click.echo(f"{split} has no samples of {len(empty):,}: {', '.join(map(_shorten, empty[:5]))}{more}")


def draw_bar(count: int, highest: int) -> str:
    """Return a count beside a bar, as long as its share of the highest count.

    >>> draw_bar(5, 10), draw_bar(0, 10)
    ('██████       5', '             0')
    """
    eighths = round(count / (highest or 1) * _BAR * 8)
    bar = "█" * (eighths // 8) + ("" if not eighths % 8 else chr(0x2590 - eighths % 8))
    return f"{bar:<{_BAR}} {count:,}"


def _print_measures(measures: Sequence[Mapping[str, Any]]) -> None:
    if not measures:
        return
    columns = ["min", "max", "mean", "std"]
    rows = [
        [
            _shorten(entry["name"]),
            *("" if entry[column] is None else f"{entry[column]:.4g}" for column in columns),
            f"{entry['num_nan'] + entry['num_infinite']:,}",
        ]
        for entry in measures[:_MAX_ROWS]
    ]
    click.echo()
    print_table(["of all splits", *columns, "nan or inf"], rows, numeric=[*columns, "nan or inf"])
    if len(measures) > _MAX_ROWS:
        strange = sum(entry["num_nan"] + entry["num_infinite"] for entry in measures[_MAX_ROWS:])
        click.echo(f"and {len(measures) - _MAX_ROWS:,} more, with {_count(strange, 'number')} nan or infinite")


def _print_tokens(tokens: Mapping[str, Any] | None) -> None:
    if not tokens:
        return
    frequent = ", ".join(f"{token} ({count:,})" for token, count in tokens["most_frequent"])
    print_text(f"\n{tokens['num_different']:,} different tokens in train; most frequent: {frequent}")
    for row in tokens["first_rows"]:
        print_text(f"  {' '.join(map(str, row))}")
    for text in tokens["as_bytes"]:
        print_text(f"  as bytes: {escape_line(text)}")


def _print_check(answer: Mapping[str, Any], *, has_expectations: bool) -> None:
    if answer["out_of_date"]:
        print_text(f"out of date: {answer['out_of_date']}")
    for line in answer["broken"]:
        print_text(f"broken: {line}")
    for line in answer["doubts"]:
        print_text(f"doubtful: {line}")
    if not answer["broken"] and has_expectations:
        print_text("the data are as data.expect says")
    elif not has_expectations and not answer["doubts"]:
        print_text("no number is nan or infinite, and inputs change; data.expect says nothing more")
    if answer["note"]:
        print_text(answer["note"])
    if answer["drift"]:
        _print_drift(answer["against"], answer["drift"])


def _print_drift(against: str, drift: Mapping[str, Any]) -> None:
    ids = drift["samples"]
    print_text(f"\nbeside the data of {against}:")
    for line in drift["differences"]:
        print_text(f"  {line}")
    moved = f", {ids['moved']:,} of them in another split" if ids["moved"] else ", all in the same splits"
    print_text(
        f"  {_count(ids['same'], 'id')} in both{moved if ids['same'] else ''}; {ids['new']:,} new, {ids['gone']:,} gone"
    )
    if classes := drift["classes"]:
        distance = f"total variation {classes['total_variation']:.3f}, PSI {classes['psi']:.3f}"
        print_text(f"  class shares: {_say_drift(classes['drift'])} ({distance})")
    for field in ("inputs", "targets"):
        _print_field(field, drift[field])


def _print_field(field: str, entries: Sequence[Mapping[str, Any]]) -> None:
    if not entries:
        return
    drifted = sorted((entry for entry in entries if entry["drift"] != "none"), key=lambda entry: -entry["psi"])
    if not drifted:
        print_text(f"  {field}: no drift (PSI up to {max(entry['psi'] for entry in entries):.3f})")
        return
    print_text(f"  {field}: {len(drifted):,} of {len(entries):,} distributions have drifted")
    rows = [
        [
            f"  {_shorten(entry['name'])}",
            _say_drift(entry["drift"]),
            f"{entry['psi']:.3f}",
            "" if entry["mean_shift_in_std"] is None else f"{entry['mean_shift_in_std']:+.2f} std",
        ]
        for entry in drifted[:_MAX_ROWS]
    ]
    print_table(["  of train", "", "PSI", "mean"], rows, numeric=["PSI", "mean"])
    if len(drifted) > _MAX_ROWS:
        click.echo(f"  and {len(drifted) - _MAX_ROWS:,} more")


def _say_drift(word: str) -> str:
    return f"{'no' if word == 'none' else word} drift"


def _count(num: int, noun: str) -> str:
    """Return a number and what it counts.

    >>> _count(1, "doubt"), _count(2, "doubt")
    ('1 doubt', '2 doubts')
    """
    return f"{num:,} {noun}{'' if num == 1 else 's'}"


def _shorten(name: str) -> str:
    text = escape_line(name)
    return text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 1]}…"
