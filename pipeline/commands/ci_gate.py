"""`force ci gate`: the last word on a push: red where an experiment failed, after the others' results are saved."""

import json
from contextlib import suppress
from pathlib import Path

import click

from pipeline.errors import GateError, UsageError
from pipeline.statuses import read_statuses
from pipeline.tools import actions

# Under act, a called workflow whose jobs are all skipped ends as nothing.
_FINE = ("success", "skipped", "")
# A report that is cancelled gave way to a newer one, which covers all that it would have.
_ALSO_FINE = {"report": "cancelled"}


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--entries", default="", help="The names of all jobs that were planned, separated by spaces.")
@click.option("--faults", default=0, help="How many faults the plan found in what was changed.")
@click.option("--gates", default="", help="What the report says of the gates of experiments, as JSON.")
@click.option("--needs", default="{}", help="The `needs` of GitHub Actions, as JSON: how the jobs around them ended.")
def command(folder: Path, entries: str, faults: int, gates: str, needs: str) -> None:
    """Read what the jobs left in FOLDER; exit with 7 where one failed, or left nothing, or was not planned, or a gate
    of an experiment is not passed.

    Writes the output `verdict`, a line.
    """
    statuses = {status.entry: status for status, _ in read_statuses(folder)} if folder.is_dir() else {}
    failed = {name: s.message or s.status for name, s in statuses.items() if not s.is_ok}
    failed |= {name: "left no result; its job has the reason" for name in entries.split() if name not in statuses}
    others = {name: need["result"] for name, need in json.loads(needs).items()}
    failed |= {
        name: f"the job ended as {result}"
        for name, result in others.items()
        if result not in _FINE and result != _ALSO_FINE.get(name)
    }
    if faults:
        failed["plan"] = f"left out what has faults ({faults}); its job names them"
    missed, _ = read_gates(gates)
    for gate in missed:
        actions.annotate("error", f"not passed: {gate}")
    for name, reason in failed.items():
        actions.annotate("error", f"{name}: {reason}")
    jobs = {*statuses, *entries.split(), *others, *failed}
    verdict = f"{len(failed)} of {len(jobs)} jobs failed" if failed else f"all {len(statuses)} jobs are fine"
    verdict += f", and {len(missed)} gate{'s are' if len(missed) > 1 else ' is'} not passed" if missed else ""
    actions.write_output("verdict", verdict)
    if failed or missed:
        lines = [*(f"  {name}: {reason}" for name, reason in failed.items()), *(f"  {gate}" for gate in missed)]
        raise GateError("\n".join([verdict, *lines]))
    click.echo(verdict)


def read_gates(text: str) -> tuple[list[str], list[str]]:
    """Return what the output `gates` of the report says: a line for each gate that is missed, and for each passed.

    Nothing of an empty text: there was no report. Raises UsageError for what the report does not write.
    """
    if not text:
        return [], []
    with suppress(ValueError, TypeError, KeyError):
        gates = json.loads(text)
        return [str(line) for line in gates["missed"]], [str(line) for line in gates["passed"]]
    raise UsageError(f"--gates is none of the report: {text[:80]!r}", "force ci report writes it")
