"""`force compare`: metrics side by side, where they are comparable."""

from pathlib import Path

import click

from pipeline.cli import print_json
from pipeline.comparison import compare_experiments, describe_rows, print_comparison
from pipeline.errors import ConfigError
from pipeline.project import find_project


@click.command()
@click.argument("names", metavar="[EXPERIMENT]...", nargs=-1)
@click.option("--baseline", metavar="NAME", default="", help="Compare with NAME instead of each one's parent.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(names: tuple[str, ...], baseline: str, as_json: bool) -> None:
    """Compare the metrics of the experiments, each with its parent. Reads what the last runs left."""
    project = find_project(Path.cwd())
    experiments, problems = (project.select(names), []) if names else project.experiments.load_all()
    ownership = project.ownership({**experiments, **(project.select((baseline,)) if baseline else {})})
    rows = compare_experiments(project.root, experiments, ownership, project.planner(ownership), baseline)
    project.index.save()
    if as_json:
        print_json(describe_rows(rows))
    else:
        print_comparison(rows)
    if problems:
        raise ConfigError(problems)
