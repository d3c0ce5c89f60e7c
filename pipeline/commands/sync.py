"""`force sync`: write the generated files, or check them."""

from pathlib import Path

import click

from pipeline.cli import print_json
from pipeline.errors import PlanError
from pipeline.project import find_project
from pipeline.syncing import find_drift, find_orphans, render_generated, write_files


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if a file is out of date.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(check: bool, as_json: bool) -> None:
    """Write one dvc.yaml per experiment, holding exactly the stages it owns."""
    project = find_project(Path.cwd())
    selected = project.select(())
    ownership = project.ownership(selected)
    texts = render_generated(project.experiments, selected, ownership)
    drifted = find_drift(project.root, texts)
    orphans = find_orphans(project.root, list(selected))
    project.index.save()
    if as_json:
        print_json({"out_of_date": drifted, "orphans": orphans})
    if check:
        if drifted or orphans:
            raise PlanError(f"out of date: {', '.join([*drifted, *orphans])}", "force sync")
        if not as_json:
            click.echo("every generated file is as it should be")
        return
    write_files(project.root, texts, drifted)
    for path in orphans:
        (project.root / path).unlink()
    if not as_json:
        lines = [*(f"wrote {path}" for path in drifted), *(f"deleted {path}" for path in orphans)]
        click.echo("\n".join(lines) or "nothing to do: every generated file is as it should be")
