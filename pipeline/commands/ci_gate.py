"""`force ci gate`: the last word on a push: red where an experiment failed, after the others' results are saved."""

import json
from pathlib import Path

import click

from pipeline.errors import GateError
from pipeline.statuses import read_statuses
from pipeline.tools import actions

# Under act, a called workflow whose jobs are all skipped ends as nothing.
_FINE = ("success", "skipped", "")
# A report that is cancelled gave way to a newer one, which covers all that it would have.
_ALSO_FINE = {"report": "cancelled"}


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--entries", default="", help="The names of all jobs that were planned, separated by spaces.")
@click.option("--needs", default="{}", help="The `needs` of GitHub Actions, as JSON: how the jobs around them ended.")
def command(folder: Path, entries: str, needs: str) -> None:
    """Read what the jobs left in FOLDER; exit with 7 where one failed, or left nothing."""
    statuses = {status.entry: status for status, _ in read_statuses(folder)} if folder.is_dir() else {}
    faults = {name: s.message or s.status for name, s in statuses.items() if not s.is_ok}
    faults |= {name: "left no result; its job has the reason" for name in entries.split() if name not in statuses}
    others = {name: need["result"] for name, need in json.loads(needs).items()}
    faults |= {
        name: f"the job ended as {result}"
        for name, result in others.items()
        if result not in _FINE and result != _ALSO_FINE.get(name)
    }
    for name, reason in faults.items():
        actions.annotate("error", f"{name}: {reason}")
    if faults:
        lines = [f"{len(faults)} of {len({*statuses, *entries.split(), *others})} jobs failed"]
        raise GateError("\n".join([*lines, *(f"  {name}: {reason}" for name, reason in faults.items())]))
    click.echo(f"all {len(statuses)} jobs are fine")
