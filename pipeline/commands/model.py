"""`force model`: look at a model of any form, layer by layer, and convert it. Torch is loaded by another process."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from pipeline.cli import print_json, print_text
from pipeline.commands.card import render_card
from pipeline.components import DESCRIPTION
from pipeline.errors import StageError, UsageError, escape_line
from pipeline.modelforms import STATES, Form, describe_size, hash_file
from pipeline.modelsources import ModelSource, find_source
from pipeline.project import Project, find_project
from pipeline.tables import print_table
from pipeline.tools.process import Child, last_line
from pipeline.workspace import read_json, write_json

# What may be written, by the endings of its name; a folder has none.
ENDINGS = {
    "directory": ("",),
    "json": (".json",),
    "pt": (".pt", ".pth"),
    "safetensors": (".safetensors",),
    "pt2": (".pt2",),
    "onnx": (".onnx",),
}
# Errors whose message says all: they are about the model, and no bug of its code.
_PLAIN = ("ArchitectureError", "ConversionError", "ImportError", "ModelFileError", "UnsuitableError", "WeightsError")
_CARD = "README.md"  # where model hubs look for it
_INSTALL = "; make extras "
_MAX_WIDTH = 40  # characters of a cell
_MAX_REASON = 300  # characters of what a foreign error says
_ANY_CLASS = "directory, pt and safetensors take a model of any class, and pt2 and onnx most"
_NEEDS_DATA = "say whose data it is for: --experiment NAME"
_NO_PARTS = "not known: which layer does which of them, as a program calls its parts without telling"
_NEEDS_CLASS = "say whose class and data: --experiment NAME"

_experiment_option = click.option(
    "--experiment", default="", metavar="NAME", help="Whose data, and for weights alone whose class, a file is for."
)
_trust_option = click.option(
    "--trust", default="", metavar="SHA256", help="Run the code of the file that has this SHA-256."
)


@click.group(name="model", help="Look at a model, or write it in another form.")
def command() -> None:
    """Hold the subcommands."""


@command.command()
@click.argument("source", metavar="EXPERIMENT|PATH")
@click.option("--depth", type=click.IntRange(1), default=2, show_default=True, help="Levels of layers in layers.")
@_experiment_option
@_trust_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(source: str, depth: int, experiment: str, trust: str, as_json: bool) -> None:
    """Show a model's layers: outputs for one sample, parameters, FLOPs.

    FLOPs are those of matrix products, convolutions and attention, as torch counts them: a multiplication with its
    addition is two.
    """
    project = find_project(Path.cwd())
    found = find_source(project, source, experiment, trust)
    if found.form == DESCRIPTION and not found.has_metadata:
        raise UsageError(f"'{found.name}' leaves sizes to the data", _NEEDS_DATA)
    table = _run(project, found, "show_model", {"depth": depth})
    project.index.save()
    if as_json:
        print_json(
            {
                "name": found.name,
                "form": found.form,
                "description": found.description,
                "out_of_date": found.staleness,
                **table,
            }
        )
    else:
        _print(found, table)
    if table["fault"]:
        shape = _describe_shape(table["sample"])
        raise StageError(f"the model does not take a sample of the shape {shape}: {table['fault'][:_MAX_REASON]}")


@command.command()
@click.argument("source", metavar="EXPERIMENT|PATH")
@click.argument("target", metavar="DST", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(list(ENDINGS)), help="The form; without it, what the ending of DST says.")
@_experiment_option
@_trust_option
def convert(source: str, target: Path, to: str | None, experiment: str, trust: str) -> None:
    """Write a model to DST in another form, and compare the outputs of both."""
    form = _choose_form(target, to)
    _check_target(target)
    project = find_project(Path.cwd())
    found = find_source(project, source, experiment, trust)
    _check_source(found, form)
    with _beside(target) as path:
        result = _run(project, found, "convert_model", {"to": form, "path": str(path)})
        if form == "directory" and source in project.experiments.names():
            (path / _CARD).write_text(render_card(project, project.experiments.get(source)), encoding="utf-8")
        _check_target(target)
        _make_readable(path)
        os.rename(path, target)
    project.index.save()
    _print_converted(found, target, form, result)


def _make_readable(path: Path) -> None:
    """Give files the mode that new ones have here: safetensors lets nobody else read them."""
    umask = os.umask(0)
    os.umask(umask)
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            file.chmod(0o666 & ~umask)


def _choose_form(target: Path, to: str | None) -> str:
    """Return the form to write. Raises UsageError where nothing says it, or name and option disagree."""
    named = next((form for form, endings in ENDINGS.items() if target.suffix in endings), None)
    forms = ", ".join(ENDINGS)
    if to is None and named is None:
        raise UsageError(f"'{target.name}' has no ending that says a form", f"say one: --to, one of {forms}")
    if to and named and to != named and target.suffix:
        raise UsageError(f"'{target.name}' ends as {named}, and --to says {to}", "leave --to out, or name it otherwise")
    return to or str(named)


def _check_target(target: Path) -> None:
    """Raise UsageError where a new file or folder cannot be."""
    try:
        is_there = target.exists() or target.is_symlink()
    except OSError as error:
        raise UsageError(f"'{target}' cannot be: {error.strerror}", "choose another name") from None
    if is_there:
        raise UsageError(f"'{target}' is there already", "name a new file or folder: none is overwritten")
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder '{target.parent}'", f"mkdir -p {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise UsageError(f"the folder '{target.parent}' cannot be written", "name another folder")


def _check_source(found: ModelSource, form: str) -> None:
    """Raise UsageError for what has no weights to write, or no data to be tried on."""
    if not found.is_built and form != "json":
        is_file = found.form == DESCRIPTION
        hint = "make it the model of an experiment, and run that" if is_file else f"force run {found.name}"
        raise UsageError(f"'{found.name}' is not trained: there are no weights to convert", hint)
    if found.form in STATES and not found.task.get("components"):
        message = f"'{found.name}' holds weights alone, which are converted with the class that they are for"
        raise UsageError(message, _NEEDS_CLASS)
    if not found.has_metadata:
        raise UsageError(f"'{found.name}' does not say what it takes", _NEEDS_DATA)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give a path of the same name in a new folder beside the target; what is left there in the end is deleted."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=".model-", dir=target.parent))
    except OSError as error:
        raise UsageError(f"nothing can be written beside '{target}': {error.strerror}", "name another folder") from None
    try:
        yield folder.absolute() / target.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(project: Project, found: ModelSource, work: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Have a process of stages do the work; return the result that it left. Raises StageError with its reason."""
    task = {"components": {}, "params": {}, **found.task}
    with tempfile.TemporaryDirectory(prefix="force-model-") as name:
        folder = Path(name)
        shared = {"stage": work, "root": str(project.root), "target": name, "experiment": found.name}
        write_json(folder / "task.json", {**task, **shared, "request": {**request, "form": found.form}})
        lines, status = _run_process(project, folder)
        result: dict[str, Any] | None = read_json(folder / "result.json")
        if status or result is None:
            raise _describe_failure(read_json(folder / "failure.json"), lines, status)
        return result


def _run_process(project: Project, folder: Path) -> tuple[Sequence[str], int]:
    """Run the process to its end; return what it printed, which is shown to nobody, and its exit status."""
    package = Path(__file__).parents[2]  # ours, where the checkout has no pipeline/ of its own
    variables = {"PYTHONPATH": f"{project.root}{os.pathsep}{package}"}
    child = Child([sys.executable, "-m", "pipeline.stages", str(folder)], project.root, variables)
    try:
        return list(child.lines()), child.wait()
    finally:
        child.end()


def _describe_failure(failure: Mapping[str, str] | None, lines: Sequence[str], status: int) -> StageError:
    if failure is None:
        return StageError(f"the process with the model ended with status {status}: {last_line(chr(10).join(lines))}")
    message = " ".join(failure["message"].split())[:_MAX_REASON]
    if _INSTALL in message:
        reason, _, packages = message.partition(_INSTALL)
        return StageError(reason, f"make extras {packages}")
    if failure["type"] in _PLAIN:
        return StageError(message, _ANY_CLASS if failure["type"] == "UnsuitableError" else "")
    return StageError((f"{failure['place']}: " if failure["place"] else "") + f"{failure['type']}: {message}")


def _print(found: ModelSource, table: Mapping[str, Any]) -> None:
    _print_found(found)
    click.echo()
    is_state = found.form in STATES and not found.task.get("components")
    kinds = ("tensor", "dtype", "shape") if is_state else ("layer", "class", "output")
    columns = (*kinds, "parameters", "trainable", "FLOPs")
    rows = [_make_row(layer) for layer in table["layers"]]
    shown = [index for index, column in enumerate(columns) if column in kinds or any(row[index] for row in rows)]
    print_table([columns[i] for i in shown], [[row[i] for i in shown] for row in rows], columns[3:])
    print_text(f"\n{_describe_total(table)}")
    if unknown := _describe_unknown(found, table):
        print_text(unknown)


def _print_found(found: ModelSource) -> None:
    print_text(f"{found.name}: {found.description}")
    if found.staleness:
        print_text(f"out of date: {found.staleness}")


def _make_row(layer: Mapping[str, Any]) -> list[str]:
    shapes = layer["outputs"] or ()
    described = " ".join(map(_describe_shape, shapes[:2])) + (" …" if len(shapes) > 2 else "")
    trainable = layer["num_trainable"]
    part = "all" if trainable == layer["num_parameters"] else f"{trainable:,}"
    return [
        _shorten(layer["name"]),
        _shorten(layer["class_name"]),
        _shorten(described),
        f"{layer['num_parameters']:,}" if layer["num_parameters"] else "",
        part if trainable else "",
        f"{layer['flops']:,}" if layer["flops"] else "",
    ]


def _describe_shape(shape: Sequence[int] | None) -> str:
    return f"({', '.join(map(str, shape or ()))})"


def _shorten(text: str) -> str:
    """Return a text that is no wider than a cell; what is left out is left out in the middle."""
    text, half = escape_line(text), _MAX_WIDTH // 2
    return text if len(text) <= _MAX_WIDTH else f"{text[: half - 1]}…{text[-half:]}"


def _describe_total(table: Mapping[str, Any]) -> str:
    trainable = f", {table['num_trainable']:,} of them trainable" if table["num_trainable"] else ""
    size = f"{table['num_bytes']:,} bytes with buffers"
    flops = ""
    if table["flops"] is not None:
        flops = f"; {table['flops']:,} FLOPs for a sample of {_describe_shape(table['sample'][1:])}"
    return f"{table['num_parameters']:,} parameters{trainable}, {size}{flops}"


def _describe_unknown(found: ModelSource, table: Mapping[str, Any]) -> str:
    """Return what is not known of the model, and why; nothing where all is."""
    if table["flops"] is not None:
        return _NO_PARTS if found.form in (Form.TORCHSCRIPT, Form.TORCH_EXPORT) else ""
    if table["fault"]:
        return ""
    if found.form == "onnx":
        return "not known: FLOPs, and which tensors train, which no ONNX graph says"
    if found.form in STATES and not found.task.get("components"):
        return f"not known: the layers, which weights alone do not say; {_NEEDS_CLASS}"
    return f"not known: outputs and FLOPs, as the file does not say what it takes; {_NEEDS_DATA}"


def _print_converted(found: ModelSource, target: Path, form: str, result: Mapping[str, Any]) -> None:
    files = [target] if target.is_file() else [path for path in target.rglob("*") if path.is_file()]
    _print_found(found)
    print_text(f"{target}: written as {form}, {describe_size(files)}")
    if form == "pt2":
        print_text(f"its SHA-256, for `trust`: {hash_file(target)}")
    print_text(
        f"read again and compared on {result['inputs']}: the outputs differ by up to {result['difference']:.2g}"
        f" ({result['allowed']:.2g} is allowed)"
    )
    print_text(f"lost: {result['lost'] or 'nothing'}")
