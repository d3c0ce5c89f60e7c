"""`force ci image`: the image of this checkout, by digest, for the jobs that follow."""

import os
from pathlib import Path

import click

from pipeline.commands.image import name_image, provide_image
from pipeline.errors import ForceError
from pipeline.images import BASE_VARIABLE, WHEELHOUSE_VARIABLE, collect_inputs, read_build_options
from pipeline.project import find_project
from pipeline.tools import actions

NO_REGISTRY = "none"  # the image stays on this machine


@click.command()
@click.option("--registry", default=NO_REGISTRY, show_default=True, help="Where to push to, as ghcr.io/lab/stages.")
@click.option("--base", default="", help="Build on this image; else FORCE_BASE_IMAGE, or CUDA's.")
@click.option("--wheelhouse", default="", help="Take wheels from this folder; else FORCE_WHEELHOUSE, or an index.")
def command(registry: str, base: str, wheelhouse: str) -> None:
    """Write the output `image`; build and push it where the registry has none of the same inputs."""
    registry = "" if registry == NO_REGISTRY else registry
    options = {BASE_VARIABLE: base, WHEELHOUSE_VARIABLE: wheelhouse}
    options = {name: value or os.environ.get(name, "") for name, value in options.items()}
    try:
        inputs = collect_inputs(find_project(Path.cwd()).root, *read_build_options(options))
        image, is_new = provide_image(inputs, name_image(inputs, registry), is_shared=bool(registry))
    except ForceError as error:
        actions.annotate_error(error)
        raise
    actions.write_output("image", image)
    actions.add_summary(f"{'Built' if is_new else 'There already:'} `{image}`")
