"""`force ls`: the experiments, a line each."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import click

from pipeline.cli import print_json
from pipeline.errors import ConfigError
from pipeline.experiments import Experiment
from pipeline.ownership import Ownership
from pipeline.project import find_project
from pipeline.tables import print_table

_MAX_WIDTH = 60  # characters of the changes, where there are several


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the experiments: parent, what each overrides, which stages it owns. Faulty ones are listed too."""
    project = find_project(Path.cwd())
    sound, problems = project.experiments.load_all()
    ownership = Ownership(sound, project.experiments.modules)
    rows = []
    for name in project.experiments.names():
        try:
            rows.append(_describe(sound[name], ownership) if name in sound else {"name": name, "is_sound": False})
        except ConfigError as error:
            rows.append({"name": name, "is_sound": False})
            problems += error.problems
    project.index.save()
    if as_json:
        print_json(rows)
    else:
        print_table(["experiment", "inherits", "changes", "owns", "description"], map(_format, rows))
    if problems:
        raise ConfigError(problems)


def _describe(experiment: Experiment, ownership: Ownership) -> dict[str, Any]:
    return {
        "name": experiment.name,
        "is_sound": True,
        "inherits": experiment.parent.name if experiment.parent else None,
        "description": experiment.description,
        "owner": experiment.owner,
        "overrides": list(experiment.overrides),
        "params": {key: s.value for key, s in experiment.own_settings.items()} if experiment.parent else {},
        "owns": [stage.name for stage in ownership.owned(experiment.name)],
    }


def _format(row: dict[str, Any]) -> list[str]:
    if not row["is_sound"]:
        return [row["name"], "?", "", "", "has faults"]
    changes = [*row["overrides"], *(f"{key}={value}" for key, value in row["params"].items())]
    return [
        row["name"],
        row["inherits"] or "",
        _join(changes),
        ", ".join(row["owns"]),
        row["description"],
    ]


def _join(changes: Sequence[str]) -> str:
    """Return changes in a line, the first ones where they are many; one is always whole.

    >>> _join(["model", "train.lr=1"]), _join(["x" * 50, "y" * 20, "z"])
    ('model, train.lr=1', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx and 2 more')
    """
    widths = accumulate(len(change) + len(", ") for change in changes)
    num_shown = max(1, sum(width <= _MAX_WIDTH for width in widths))
    more = f" and {len(changes) - num_shown} more" if len(changes) > num_shown else ""
    return ", ".join(changes[:num_shown]) + more
