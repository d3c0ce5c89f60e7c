"""`force image`: the container image that stages run in, built once for what goes into it."""

import importlib
import os
from pathlib import Path
from typing import Any

import click

from pipeline.cli import print_json
from pipeline.images import (
    BASE_VARIABLE,
    REPOSITORY,
    WHEELHOUSE_VARIABLE,
    ImageInputs,
    collect_inputs,
    find_build_options,
    remember_build_options,
)
from pipeline.project import Project, find_project
from pipeline.tools.buildkit import build_image

REGISTRY_VARIABLE = "FORCE_REGISTRY"

_OPTIONS = (
    click.option(
        "--base", envvar=BASE_VARIABLE, default="", help="Build on this image; else the last one's base, or CUDA."
    ),
    click.option(
        "--wheelhouse",
        envvar=WHEELHOUSE_VARIABLE,
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Take wheels from this folder alone; else the last one's folder, or an index.",
    ),
    click.option(
        "--registry", envvar=REGISTRY_VARIABLE, default="", help="Push to this repository, as ghcr.io/lab/stages."
    ),
)


def _with_options(function: Any) -> Any:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.group()
def command() -> None:
    """Build the image that `force run --docker` runs stages in."""


@command.command()
@_with_options
def tag(base: str, wheelhouse: Path | None, registry: str) -> None:
    """Print the name that the image for the present files has, built or not."""
    inputs, _ = _collect_inputs(find_project(Path.cwd()), base, wheelhouse)
    click.echo(name_image(inputs, registry))


@command.command()
@_with_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def build(base: str, wheelhouse: Path | None, registry: str, as_json: bool) -> None:
    """Build the image, unless one of the same inputs is there already; print it with its digest.

    `force run --docker` takes it from then on, and so do later builds its base and its wheelhouse.
    """
    project = find_project(Path.cwd())
    inputs, options = _collect_inputs(project, base, wheelhouse)
    image, is_new = provide_image(inputs, name_image(inputs, registry), is_shared=bool(registry))
    remember_build_options(project.state_dir, *options)
    if as_json:
        print_json({"image": image, "is_new": is_new, "digest": inputs.digest})
    else:
        click.echo(image)


def _collect_inputs(
    project: Project, base: str, wheelhouse: Path | None
) -> tuple[ImageInputs, tuple[str, Path | None]]:
    """Return what the image is made of, and the base and the wheelhouse of these, as asked for or as the last time."""
    asked = {BASE_VARIABLE: base, WHEELHOUSE_VARIABLE: str(wheelhouse or "")}
    options = find_build_options(project.state_dir, asked)
    return collect_inputs(project.root, *options), options


def provide_image(inputs: ImageInputs, reference: str, *, is_shared: bool) -> tuple[str, bool]:
    """Return the image of these inputs by digest, and whether it had to be built; pushed where it `is_shared`."""
    engine = importlib.import_module("pipeline.tools.docker").Engine()  # the SDK takes 0.3 s to load
    pushed = engine.find_pushed(reference) if is_shared else None
    if pushed:
        return pushed, False
    is_new = not engine.has_image(reference)
    if is_new:
        source = "/".join(filter(None, map(os.environ.get, ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY"))))
        build_image(inputs, reference, source, lambda line: click.echo(line, err=True))
    return (engine.push(reference) if is_shared else engine.find_image(reference)), is_new


def name_image(inputs: ImageInputs, registry: str) -> str:
    """Return the name of the image of these inputs; without a registry, one that stays on this machine."""
    return f"{registry.rstrip('/').lower() or REPOSITORY}:{inputs.tag}"
