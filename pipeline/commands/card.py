"""`force card`: the model card of an experiment, from the files that its stages left."""

from pathlib import Path
from typing import Any

import click

from pipeline.cli import print_text
from pipeline.errors import ToolError, UsageError
from pipeline.experiments import Experiment
from pipeline.ownership import STAGES, TRAIN, product_of
from pipeline.project import Project, find_project
from pipeline.reports.cards import Facts, build_card
from pipeline.reports.reporter import Reporter, ResultReader
from pipeline.validation import find_faults
from pipeline.workspace import read_json, write_text

_METADATA = "metadata.json"


@click.command()
@click.argument("name", metavar="EXPERIMENT", default="common")
@click.option(
    "--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write it there instead."
)
def command(name: str, output: Path | None) -> None:
    """Print the model card of EXPERIMENT: use, data, metrics with intervals, config, lineage.

    What nobody can compute stands in the params, under reporting.card: license, intended_use, limitations.
    """
    project = find_project(Path.cwd())
    text = render_card(project, project.experiments.get(name))
    project.index.save()
    if output is None:
        print_text(text.rstrip("\n"))
        return
    try:
        write_text(output, text)
    except OSError as error:
        raise UsageError(f"'{output}' cannot be written: {error.strerror}", "--output names another file") from None
    click.echo(f"wrote {output}")


def render_card(project: Project, experiment: Experiment) -> str:
    """Return the model card of an experiment. Raises ToolError where no model of it is here."""
    name = experiment.name
    ownership = project.ownership({name: experiment})
    reader = ResultReader(project, {name: experiment}, project.cache)
    planner = project.planner(ownership)
    owners = {stage: ownership.owner(name, stage) for stage in STAGES}
    folder = product_of(owners[TRAIN], TRAIN)
    metadata: Any = read_json(project.root / folder / _METADATA)
    if metadata is None:
        raise ToolError(f"the built model of {name} is not here: {folder}/{_METADATA} is missing", f"force run {name}")
    if faults := find_faults("metadata", metadata):
        raise ToolError(f"the built model of {name} is damaged: {folder}/{_METADATA}: {faults[0]}", f"force run {name}")
    outs = dict[str, str]()
    for stage in map(ownership.stage, owners.values(), owners):
        outs |= {f"{stage.folder}/{path}": md5 for path, md5 in planner.recorded_outs(stage).items()}
    run = read_json(project.root / Path(folder).parent / "run.json")
    return build_card(
        Facts(
            experiment,
            metadata,
            reader.read(name),
            reader.find_evidence(name),
            Reporter(project, {name: experiment}).build().findings,
            None if run is None or find_faults("run", run) else run,
            owners,
            outs,
            planner.describe_staleness(ownership.stage(owners[TRAIN], TRAIN)),
        )
    )
