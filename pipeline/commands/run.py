"""`force run`: bring experiments up to date through DVC, then compare them."""

import signal
import sys
from pathlib import Path

import click

from pipeline.comparison import compare_experiments, print_comparison
from pipeline.errors import InterruptedRunError, StageError
from pipeline.execution import Execution, Summary
from pipeline.experiments import Experiment
from pipeline.ownership import STAGES, Ownership, Stage
from pipeline.planning import State
from pipeline.progress import Progress
from pipeline.project import Project, find_project
from pipeline.recovery import Attic, bring_back_outs, drop_broken_rwlock, set_broken_locks_aside
from pipeline.runlock import hold_run_lock
from pipeline.syncing import find_drift, find_orphans, render_generated, write_files


@click.command()
@click.argument("names", metavar="[EXPERIMENT]...", nargs=-1)
@click.option("--jobs", "-j", default=1, type=click.IntRange(1), show_default=True, help="Stages to run at once.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for another run in this checkout.")
def command(names: tuple[str, ...], jobs: int, wait: bool) -> None:
    """Run what is not up to date of the experiments (all without a name), then compare them."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    project = find_project(Path.cwd())
    text = " ".join(["force", "run", *names])
    with hold_run_lock(project.state_dir / "run.lock", text, wait=wait, say=_warn) as lock:
        experiments = project.select(names)
        ownership = project.ownership(experiments)
        stages = _collect_stages(experiments, ownership)
        attic = Attic(project.root)
        _prepare(project, experiments, ownership, stages, attic)
        planner = project.planner(ownership)
        if all(planner.plan(stage).state is State.UP_TO_DATE for stage in stages):
            click.echo(f"nothing to do: {len(stages)} stages are up to date")
            summary = Summary()
        else:
            with Progress([stage.id for stage in stages]) as progress:
                execution = Execution(project, ownership, attic, progress, lock)
                try:
                    summary = execution.run(stages, jobs)
                except KeyboardInterrupt:
                    raise InterruptedRunError("run it again: what is done stays done") from None
        project.index.save()
    click.echo()
    project.index.forget()
    print_comparison(compare_experiments(project.root, experiments, ownership, project.planner(ownership)))
    click.echo(f"\n{summary}" if summary.counts else "")
    if summary.failures:
        raise _describe_failures(summary)


def _collect_stages(experiments: dict[str, Experiment], ownership: Ownership) -> list[Stage]:
    """Return every stage that these experiments use, once, upstream first."""
    stages: dict[tuple[str, str], Stage] = {}

    def add(stage: Stage) -> None:
        for name, owner in stage.upstream.items():
            add(ownership.stage(owner, name))
        stages.setdefault(stage.id, stage)

    for name in experiments:
        for stage_name in STAGES:
            add(ownership.effective(name, stage_name))
    return list(stages.values())


def _prepare(
    project: Project,
    experiments: dict[str, Experiment],
    ownership: Ownership,
    stages: list[Stage],
    attic: Attic,
) -> None:
    """Mend what a killed run left, and write the dvc.yaml files that are out of date."""
    owners = {stage.experiment: project.experiments.get(stage.experiment) for stage in stages}
    bring_back_outs(project.root, stages)
    drop_broken_rwlock(project.root)
    for note in set_broken_locks_aside(project.planner(ownership), owners, attic):
        _warn(note)
    texts = render_generated(project.experiments, {**owners, **experiments}, ownership)
    drifted = find_drift(project.root, texts)
    write_files(project.root, texts, drifted)
    for path in drifted:
        click.echo(f"wrote {path}")
    for path in find_orphans(project.root, project.experiments.names()):
        _warn(f"warning: {path} belongs to no experiment; `force sync` deletes it")
    project.refresh()


def _describe_failures(summary: Summary) -> StageError:
    failures = list(summary.failures.values())
    if len(failures) == 1:
        return failures[0]
    lines = [f"{len(failures)} stages failed", *(f"  {failure.message}" for failure in failures)]
    return StageError("\n".join(lines), failures[0].hint)


def _warn(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
