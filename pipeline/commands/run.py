"""`force run`: bring experiments up to date through DVC, then compare them."""

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from click.core import ParameterSource

from pipeline import containers
from pipeline.comparison import compare_experiments, print_comparison
from pipeline.errors import InterruptedRunError, StageError, ToolError
from pipeline.execution import Execution, Summary
from pipeline.experiments import Experiment
from pipeline.images import REPOSITORY, collect_inputs, find_build_options
from pipeline.ownership import PROCESSES_VARIABLE, STAGES, Ownership, Stage
from pipeline.planning import State
from pipeline.progress import Progress
from pipeline.project import Project, find_project
from pipeline.recovery import Attic, bring_back_outs, drop_broken_rwlock, set_broken_locks_aside
from pipeline.results import Row
from pipeline.runlock import hold_run_lock
from pipeline.syncing import find_drift, find_orphans, render_generated, write_files
from pipeline.targets import collect_stages, parse_targets


@click.command()
@click.argument("targets", metavar="[EXPERIMENT[:STAGE]]...", nargs=-1)
@click.option("--jobs", "-j", default=1, type=click.IntRange(1), show_default=True, help="Stages to run at once.")
@click.option("--processes", default=1, type=click.IntRange(1), help="Train data-parallel, a GPU each where there are.")
@click.option("--docker", "use_docker", is_flag=True, help="Run stages in containers.")
@click.option(
    "--image", envvar="FORCE_IMAGE", default="", help="Run in containers of this image; else that of `force image`."
)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for another run in this checkout.")
def command(targets: tuple[str, ...], jobs: int, processes: int, use_docker: bool, image: str, wait: bool) -> None:
    """Run what is not up to date of the experiments (all without a name), then compare them.

    With NAME:STAGE only that stage, and what it needs.
    """
    source = click.get_current_context().get_parameter_source("image")
    use_docker |= bool(image) and source is ParameterSource.COMMANDLINE
    run = run_targets(
        find_project(Path.cwd()),
        targets,
        num_workers=jobs,
        num_processes=processes,
        use_docker=use_docker,
        image=image,
        wait=wait,
    )
    if run.summary.is_interrupted:
        raise InterruptedRunError("run it again: what is done stays done")
    click.echo()
    print_comparison(run.compare())
    click.echo(f"\n{run.summary}" if run.summary.states else "")
    if run.summary.failures:
        raise describe_failures(run.summary)


@dataclass(frozen=True)
class Run:
    """What was run, and how it ended."""

    project: Project
    experiments: dict[str, Experiment]
    ownership: Ownership
    stages: list[Stage]
    summary: Summary

    def compare(self) -> list[Row]:
        """Return the results of the experiments beside their parents'."""
        self.project.index.forget()
        planner = self.project.planner(self.ownership)
        return compare_experiments(self.project.root, self.experiments, self.ownership, planner)


def run_targets(
    project: Project,
    targets: Sequence[str],
    *,
    num_workers: int,
    num_processes: int = 1,
    use_docker: bool,
    image: str,
    wait: bool,
) -> Run:
    """Bring targets like NAME and NAME:STAGE up to date, all experiments without any.

    Raises ForceError where nothing could be started; failures of stages are in the summary.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    text = " ".join(["force", "run", *targets])
    with hold_run_lock(project.state_dir / "run.lock", text, wait=wait, say=_warn) as lock:
        wanted = parse_targets(targets)
        experiments = project.select(tuple(wanted))
        ownership = project.ownership(experiments)
        stages = collect_stages({name: wanted.get(name, tuple(STAGES)) for name in experiments}, ownership)
        variables = {PROCESSES_VARIABLE: str(num_processes), **(_find_image(project, image) if use_docker else {})}
        attic = Attic(project.root)
        _prepare(project, experiments, ownership, stages, attic)
        planner = project.planner(ownership)
        if all(planner.plan(stage).state is State.UP_TO_DATE for stage in stages):
            are = "stage is" if len(stages) == 1 else "stages are"
            click.echo(f"nothing to do: {len(stages)} {are} up to date")
            summary = Summary()
        else:
            with Progress([stage.id for stage in stages]) as progress:
                execution = Execution(project, ownership, attic, progress, lock, variables)
                summary = execution.run(stages, num_workers)
        project.index.save()
    return Run(project, experiments, ownership, stages, summary)


def _find_image(project: Project, image: str) -> dict[str, str]:
    """Return what tells stages to run in containers of an image; end those that a killed run left."""
    engine = importlib.import_module("pipeline.tools.docker").Engine()  # the SDK takes 0.3 s to load
    for name in engine.reap({containers.WORKSPACE_LABEL: str(project.root)}):
        _warn(f"warning: the container {name} of an earlier run was still there; it is removed")
    if not image:
        inputs = collect_inputs(project.root, *find_build_options(project.state_dir, os.environ))
        image = f"{REPOSITORY}:{inputs.tag}"
        if not engine.has_image(image):
            raise ToolError("the image for these files is not built yet", "force image build")
    return {containers.IMAGE_VARIABLE: engine.find_image(image)}


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


def describe_failures(summary: Summary) -> StageError:
    """Return the failures of a run as one error."""
    failures = list(summary.failures.values())
    if len(failures) == 1:
        return failures[0]
    lines = [f"{len(failures)} stages failed", *(f"  {failure.message}" for failure in failures)]
    return StageError("\n".join(lines), failures[0].hint)


def _warn(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
