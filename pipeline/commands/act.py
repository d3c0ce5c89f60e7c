"""`force act`: run the workflows on this machine with act, readably, and keep what they leave."""

import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import click

from pipeline.actlog import read_event
from pipeline.actprogress import ActProgress
from pipeline.actrc import FILE, RESULTS_VARIABLE, render_actrc
from pipeline.errors import InterruptedRunError, PlanError, StageError, ToolError, UsageError
from pipeline.project import Project, find_project
from pipeline.syncing import find_drift
from pipeline.tools.act import ActRun, check_ready
from pipeline.tools.process import Child
from pipeline.workspace import read_json

_PATIENCE_S = 90.0  # longer than all that the steps get that always run
_FILE = click.Path(exists=True, dir_okay=False, resolve_path=True)


@click.command()
@click.argument("event", default="push")
@click.argument("extra", metavar="[-- ACT OPTION...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--job", help="Run one job, and those that it needs.")
@click.option("--event-file", type=_FILE, help="The event as JSON; without one it is empty.")
@click.option("--var", "variables", metavar="NAME=VALUE", multiple=True, help="Set a variable of the repository.")
@click.option("--secret", "secrets", metavar="NAME[=VALUE]", multiple=True, help="Set a secret; else from here.")
@click.option("--env", "environment", metavar="NAME=VALUE", multiple=True, help="Set a variable of every step.")
@click.option("--results", type=click.Choice(["none", "branch"]), default="none", show_default=True)
@click.option("--verbose", "-v", is_flag=True, help="Print all that steps print.")
def command(
    event: str,
    extra: tuple[str, ...],
    job: str | None,
    event_file: str | None,
    variables: tuple[str, ...],
    secrets: tuple[str, ...],
    environment: tuple[str, ...],
    results: str,
    verbose: bool,
) -> None:
    """Run the workflows of EVENT (push), each job on this machine. Exits with 6 when a job failed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if event.startswith("-"):  # the first of act's options
        event, extra = "push", (event, *extra)
    project = find_project(Path.cwd())
    if find_drift(project.root, {FILE: render_actrc(project.root)}):
        raise PlanError(f"out of date: {FILE}", "force ci act-setup")
    if event_file and not isinstance(read_json(Path(event_file)), dict):
        raise UsageError(f"'{event_file}' is no JSON object", "docs/ci.md says what an event has")
    known_secrets = dict(map(_read_secret, secrets))
    options = [
        *(("--job", job) if job else ()),
        *(("--eventpath", event_file) if event_file else ()),
        *_repeat("--var", [f"{RESULTS_VARIABLE}={results}", *map(_check_pair, variables)]),
        *_repeat("--env", [*_find_remote(project), *map(_check_pair, environment)]),
        *extra,
    ]
    check_ready(project.root)
    run = ActRun(project.root, project.state_dir / "act")
    progress = ActProgress(verbose)
    status = _follow(run, run.start(event, options, known_secrets), progress)
    _report(run, progress)
    _raise_failures(run, progress, status)


def _repeat(option: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (option, value)]


def _check_pair(pair: str) -> str:
    if not re.match(r"[A-Za-z_]\w*=", pair):
        raise UsageError(f"'{pair}' is not NAME=VALUE")
    return pair


def _read_secret(pair: str) -> tuple[str, str]:
    """Return name and value; a value that is not given comes from our environment."""
    name, equals, value = pair.partition("=")
    if not equals and name not in os.environ:
        raise UsageError(f"the secret '{name}' has no value", f"--secret {name}=VALUE, or export {name}")
    return name, value if equals else os.environ[name]


def _find_remote(project: Project) -> list[str]:
    """Return the DVC remote of this clone, where it is a relative folder: a job's copy stands elsewhere."""
    folder = project.cache.remote_folder
    return [] if folder is None or os.path.isabs(project.cache.remote_url) else [f"FORCE_REMOTE_URL={folder}"]


def _follow(run: ActRun, child: Child, progress: ActProgress) -> int | None:
    """Show what act does until it ends; return its exit status, None where it was interrupted."""
    status: int | None = None
    patience_s = _PATIENCE_S
    try:
        with run.log_path.open("w") as log, progress:
            try:
                _read_lines(child, log, progress)
                status = child.wait()
            except KeyboardInterrupt:
                progress.note("interrupted: waiting for what the jobs do in any case; Ctrl-C again to end them now")
                child.cut_lifeline()
                _read_lines(child, log, progress)
    except BaseException:
        patience_s = 0.0
        raise
    finally:
        run.end(patience_s)
    return status


def _read_lines(child: Child, log: TextIO, progress: ActProgress) -> None:
    for line in child.lines():
        print(line, file=log, flush=True)
        event = read_event(line)
        if event:
            progress.add(event)


def _report(run: ActRun, progress: ActProgress) -> None:
    """Say where summaries, artifacts and the log are."""
    root = run.root
    click.echo()
    for path in _write_summaries(run, progress):
        click.echo(f"summary: {path.relative_to(root)}")
    for name in run.unpack_artifacts():
        click.echo(f"artifact: {(run.artifact_dir / name).relative_to(root)}/")
    click.echo(f"log: {run.log_path.relative_to(root)}")


def _write_summaries(run: ActRun, progress: ActProgress) -> list[Path]:
    """Write the summary of each job that has one; return the files."""
    folder = run.folder / "summaries"
    paths: list[Path] = []
    for job in progress.jobs.values():
        if job.summary:
            folder.mkdir(exist_ok=True)
            name = re.sub(r"[^\w.-]+", "-", job.name).strip("-.")
            paths.append(folder / f"{name}{f'-{len(paths)}' if folder / f'{name}.md' in paths else ''}.md")
            paths[-1].write_text(job.summary)
    return paths


def _raise_failures(run: ActRun, progress: ActProgress, status: int | None) -> None:
    hint = f"the log is {run.log_path.relative_to(run.root)}"
    if status is None:
        raise InterruptedRunError(hint)
    if status and progress.failed:
        names = ", ".join(progress.failed)
        raise StageError(f"{len(progress.failed)} of {len(progress.jobs)} jobs failed: {names}", hint)
    if status:
        reason = next(reversed(progress.notes), f"it ended with status {status}").removeprefix("Error: ")
        raise ToolError(f"act failed: {reason}", hint)
