"""`force ci image`: the image of this checkout, by digest, for the jobs that follow."""

import os
from pathlib import Path

import click

from pipeline.commands.image import REGISTRY_VARIABLE, name_image, provide_image
from pipeline.errors import ForceError
from pipeline.images import collect_inputs, read_build_options
from pipeline.project import find_project
from pipeline.tools import actions

NO_REGISTRY = "none"  # the image stays on this machine


@click.command()
def command() -> None:
    """Write the output `image`; build and push it where the registry has none of the same inputs."""
    registry = os.environ.get(REGISTRY_VARIABLE, NO_REGISTRY)
    registry = "" if registry == NO_REGISTRY else registry
    try:
        inputs = collect_inputs(find_project(Path.cwd()).root, *read_build_options(os.environ))
        image, is_new = provide_image(inputs, name_image(inputs, registry), is_shared=bool(registry))
    except ForceError as error:
        actions.annotate_error(error)
        raise
    actions.write_output("image", image)
    actions.add_summary(f"{'Built' if is_new else 'There already:'} `{image}`")
