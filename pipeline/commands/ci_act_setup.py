"""`force ci act-setup`: write .actrc, or check that it is as the workflows imply."""

from pathlib import Path

import click

from pipeline.actrc import FILE, render_actrc
from pipeline.errors import PlanError
from pipeline.project import find_project
from pipeline.syncing import find_drift, write_files


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if the file is out of date.")
def command(check: bool) -> None:
    """Write .actrc: with it, act runs the workflows on this machine, without GitHub."""
    project = find_project(Path.cwd())
    texts = {FILE: render_actrc(project.root)}
    drifted = find_drift(project.root, texts)
    if check:
        if drifted:
            raise PlanError(f"out of date: {FILE}", "force ci act-setup")
        click.echo(f"{FILE} is as it should be")
        return
    write_files(project.root, texts, drifted)
    click.echo(f"wrote {FILE}" if drifted else f"nothing to do: {FILE} is as it should be")
