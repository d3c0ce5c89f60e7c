"""`force ci reap`: end the containers that a job left running, as one that was cancelled may."""

import importlib
import os

import click

from pipeline.containers import JOB_LABEL, JOB_VARIABLE
from pipeline.errors import UsageError


@click.command()
def command() -> None:
    """End and remove the containers of the job that FORCE_JOB names."""
    job = os.environ.get(JOB_VARIABLE)
    if not job:
        raise UsageError(f"{JOB_VARIABLE} is not set", "the workflow sets it to the run and the job")
    engine = importlib.import_module("pipeline.tools.docker").Engine()  # the SDK takes 0.3 s to load
    names = engine.reap({JOB_LABEL: job})
    click.echo(f"removed {', '.join(names)}" if names else "no containers are left")
