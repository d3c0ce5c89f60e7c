"""`force ci reap`: end the containers that a job left running, as one that was cancelled may."""

import importlib
import os
from pathlib import Path

import click

from pipeline.containers import JOB_LABEL, JOB_VARIABLE, WORKSPACE_LABEL
from pipeline.errors import UsageError
from pipeline.project import find_project


@click.command()
def command() -> None:
    """End and remove the containers of the job that FORCE_JOB names, in this checkout: act numbers all runs alike."""
    job = os.environ.get(JOB_VARIABLE)
    if not job:
        raise UsageError(f"{JOB_VARIABLE} is not set", "the workflow sets it to the run and the job")
    engine = importlib.import_module("pipeline.tools.docker").Engine()  # the SDK takes 0.3 s to load
    names = engine.reap({JOB_LABEL: job, WORKSPACE_LABEL: str(find_project(Path.cwd()).root)})
    click.echo(f"removed {', '.join(names)}" if names else "no containers are left")
