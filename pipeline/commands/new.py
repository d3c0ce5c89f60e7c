"""`force new`: make an experiment that runs at once, and says where to change what."""

import ast
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from pipeline.components import KINDS, Component
from pipeline.documents import parse_yaml
from pipeline.errors import ConfigError, UsageError, suggest
from pipeline.experiments import COMMON, MAX_NAME, Experiment, is_name, suggest_name
from pipeline.ownership import folder_of
from pipeline.params import nest
from pipeline.project import Project, find_project
from pipeline.syncing import find_drift, render_generated, write_files

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)
_KEY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
# What a new override changes until its author does: the smallest thing that can be told from its parent.
_METHODS = {
    "data": (
        "def transform(self, samples: Samples) -> Samples:",
        '"""Return the samples as the model is to see them."""',
        "return super().transform(samples)",
        ("common.data", "Samples"),
    ),
    "loader": (
        "def transform(self, batch: Batch, generator: torch.Generator) -> Batch:",
        '"""Return the training batch that the model sees; draw only from `generator`."""',
        "return super().transform(batch, generator)",
        ("common.dataset", "Batch"),
    ),
    "model": (
        "def forward(self, inputs: Tensor) -> Tensor:",
        '"""Return logits of shape (batch, classes)."""',
        "return super().forward(inputs)",
        ("torch", "Tensor"),
    ),
    "trainer": (
        "def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:",
        '"""Return the mean loss of a batch: outputs (batch, classes), targets (batch,)."""',
        "return super().loss(outputs, targets)",
        ("torch", "Tensor"),
    ),
    "evaluator": (
        "def metrics(self) -> dict[str, Metric]:",
        '"""Return the metrics by name."""',
        "return {**super().metrics()}",
        ("common.evaluator", "Metric"),
    ),
}


@click.command()
@click.argument("name")
@click.option("--inherits", metavar="NAME", default=COMMON, show_default=True, help="The parent.")
@click.option("--override", "overrides", metavar="A,B", default="", help=f"Components: {', '.join(KINDS)}.")
@click.option(
    "--component",
    "references",
    metavar="KIND=MODULE:CLASS",
    multiple=True,
    help="A class that is there, as of the zoo.",
)
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="A param, as in train.epochs=30.")
@click.option("--description", default="", help="The research question in one line.")
def command(
    name: str,
    inherits: str,
    overrides: str,
    references: tuple[str, ...],
    settings: tuple[str, ...],
    description: str,
) -> None:
    """Make the experiment NAME, ready to run: files to change, and its dvc.yaml."""
    project = find_project(Path.cwd())
    _check_name(project, name)
    parent = project.experiments.get(inherits)
    kinds = _split_overrides(overrides)
    _check_overridable(parent, kinds)
    params = dict(_parse_setting(text) for text in settings)
    _check_settings(params)
    components = _read_components(references, kinds)
    if not kinds and not params and not components:
        raise UsageError("an experiment has to change something", "--override model, or --set train.epochs=30")
    folder = project.root / folder_of(name)
    folder.mkdir(parents=True)
    try:
        files = _write(folder, name, parent, kinds, components, params, description)
        project.refresh()
        selected = {name: project.experiments.get(name)}
        texts = render_generated(project.experiments, selected, project.ownership(selected))
    except BaseException as error:
        shutil.rmtree(folder)  # a mistake in what was asked for leaves nothing behind
        if not isinstance(error, ConfigError):
            raise
        given = {"--set": params, "--component": components, "--override": kinds}
        option = " or ".join(option for option, what in given.items() if what)
        asked = [replace(p, path=option, line=0, column=0) for p in error.problems]
        raise ConfigError(asked) from None
    write_files(project.root, texts, find_drift(project.root, texts))
    project.index.save()
    click.echo("\n".join(f"wrote {folder_of(name)}/{file}" for file in [*files, "dvc.yaml"]))
    edit = [f"edit {folder_of(name)}/{kind}.py, then " for kind in kinds[:1]]
    click.echo(f"next: {''.join(edit)}`force run {name}`")


def _check_name(project: Project, name: str) -> None:
    if len(name) > MAX_NAME:
        raise UsageError(f"'{name}' is longer than {MAX_NAME} characters", "choose a shorter name")
    if not is_name(name):
        raise UsageError(f"'{name}' is no Python identifier or is taken", f"force new {suggest_name(name)}")
    if (project.root / folder_of(name)).exists():
        raise UsageError(f"'{folder_of(name)}' exists already", "choose another name, or change it there")


def _split_overrides(text: str) -> list[str]:
    kinds = list(dict.fromkeys(kind.strip() for kind in text.split(",") if kind.strip()))
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"no component '{kind}'{suggest(kind, list(KINDS))}", f"there are {', '.join(KINDS)}")
    return kinds


def _check_overridable(parent: Experiment, kinds: list[str]) -> None:
    """Raise UsageError for a component of the parent that a file describes: there is no class to extend."""
    for kind in kinds:
        if file := parent.components[kind].file:
            hint = (
                f"copy it into a folder of the new experiment, beside an experiment.yaml with `inherits: {parent.name}`"
            )
            raise UsageError(f"the {kind} of '{parent.name}' is {file}, which no class can extend", hint)


def _read_components(references: tuple[str, ...], kinds: list[str]) -> dict[str, str]:
    """Return the class of each component that is named; `kinds` are overridden."""
    named = [_parse_reference(text) for text in references]
    components = dict(named)
    if len(components) < len(named):
        raise UsageError("one component is named twice", "name a class for each component once")
    if twice := next((kind for kind in kinds if kind in components), ""):
        raise UsageError(f"'{twice}' is overridden, and its class is named", "--override or --component")
    return components


def _parse_reference(text: str) -> tuple[str, str]:
    kind, _, reference = text.partition("=")
    if kind not in KINDS or not _REFERENCE.fullmatch(reference):
        meant = "" if kind in KINDS else suggest(kind, list(KINDS))
        raise UsageError(f"'{text}' is not KIND=MODULE:CLASS{meant}", "--component model=common.zoo.mlp:MLP")
    return kind, reference


def _parse_setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not _KEY.fullmatch(key):
        raise UsageError(f"'{text}' is not section.key=value", "--set train.epochs=30")
    return key, parse_yaml(value, f"--set {key}")


def _check_settings(params: dict[str, Any]) -> None:
    for key in params:
        if any(other.startswith(f"{key}.") for other in params):
            raise UsageError(f"'{key}' is set, and so is a key in it", "set one or the other")


def _write(
    folder: Path,
    name: str,
    parent: Experiment,
    kinds: list[str],
    components: dict[str, str],
    params: dict[str, Any],
    description: str,
) -> list[str]:
    """Write the experiment's own files and return their names."""
    changed = ", ".join([*kinds, *components, *params])
    lines = [
        "# yaml-language-server: $schema=../../pipeline/schemas/experiment.schema.json",
        f"inherits: {parent.name}",
        f"description: {_quote(description or f'another {changed}')}",
    ]
    if components:
        lines += ["components:", *(f"  {kind}: {_quote(reference)}" for kind, reference in components.items())]
    if params:
        lines.append("params:")
        for section, keys in nest(params).items():
            lines += [f"  {section}:", *(f"    {key}: {_quote(value)}" for key, value in keys.items())]
    (folder / "experiment.yaml").write_text("\n".join(lines) + "\n")
    for kind in kinds:
        (folder / f"{kind}.py").write_text(_render_override(name, kind, parent.components[kind]))
    return ["experiment.yaml", *(f"{kind}.py" for kind in kinds)]


def _render_override(name: str, kind: str, inherited: Component) -> str:
    """Return the source of a subclass of the parent's class, which passes everything on."""
    signature, docstring, body, (module, imported) = _METHODS[kind]
    camel = "".join(part.title() for part in name.split("_"))
    title = {"data": "Data", "model": "Model"}.get(kind, kind.title())
    imports: dict[str, set[str]] = {inherited.module: {inherited.class_name}}
    imports.setdefault(module, set()).add(imported)
    third = [m for m in imports if m == "torch"]
    first = sorted(m for m in imports if m != "torch")
    blocks = []
    if "torch.Generator" in signature:
        blocks.append("import torch")
    blocks += [_render_import(m, imports[m]) for m in third]
    head = "\n".join(blocks)
    ours = "\n".join(_render_import(m, imports[m]) for m in first)
    text = "\n\n".join(part for part in (head, ours) if part)
    source = (
        f'"""What this {kind} changes, in one line."""\n\n{text}\n\n\n'
        f"class {camel}{title}({inherited.class_name}):\n"
        f'    """Passes everything on; change what the experiment is about."""\n\n'
        f"    {signature}\n        {docstring}\n        {body}\n"
    )
    ast.parse(source)
    return source


def _render_import(module: str, names: set[str]) -> str:
    return f"from {module} import {', '.join(sorted(names))}"


def _quote(value: Any) -> str:
    """Return a value as YAML text that reads back as the same value."""
    if isinstance(value, str):
        escaped = value.replace("'", "''")
        return f"'{escaped}'"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_quote(key)}: {_quote(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_quote, value))}]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return re.sub(r"\b(inf|nan)\b", r".\1", str(value))
