"""`force show`: what an experiment is, with all that it inherits, and where each part comes from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from pipeline.cli import print_json
from pipeline.components import Component
from pipeline.documents import locate
from pipeline.experiments import Experiment
from pipeline.ownership import STAGES, TRAIN, Ownership
from pipeline.params import INIT_FROM
from pipeline.project import Project, find_project
from pipeline.tables import print_table


@click.command()
@click.argument("name", metavar="EXPERIMENT", default="common")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str, as_json: bool) -> None:
    """Show the effective components, params and stages of EXPERIMENT, and where each comes from."""
    project = find_project(Path.cwd())
    experiment = project.experiments.get(name)
    ownership = project.ownership({name: experiment})
    description = describe_experiment(project, experiment, ownership)
    project.index.save()
    if as_json:
        print_json(description)
    else:
        _print(description)


def describe_experiment(project: Project, experiment: Experiment, ownership: Ownership) -> dict[str, Any]:
    """Return everything effective about an experiment, with its provenance."""
    return {
        "name": experiment.name,
        "description": experiment.description,
        "owner": experiment.owner,
        "lineage": list(experiment.lineage),
        "components": {kind: _describe_component(component) for kind, component in experiment.components.items()},
        "params": {
            key: {"value": s.value, "file": s.file, "line": _find_line(project, s.file, s.key)}
            for key, s in experiment.settings.items()
        },
        "dropped_params": _find_dropped(experiment),
        "built_models": {
            key: {"experiment": model, "owner": ownership.owner(model, TRAIN)}
            for key, model in experiment.built_models.items()
        },
        "stages": {
            stage: {
                "owner": ownership.owner(experiment.name, stage),
                "files": list(ownership.effective(experiment.name, stage).files),
            }
            for stage in STAGES
        },
    }


def _describe_component(component: Component) -> dict[str, Any]:
    described: dict[str, Any] = {
        "class": component.class_name,
        "file": component.source,
        "declared_by": component.declared_by,
    }
    if component.description:
        described["description"] = component.description
    if component.sha256:
        described["sha256"] = component.sha256
    if weights := component.weights:
        described["weights"] = {
            "file": weights.path,
            "description": weights.description,
            "declared_by": weights.declared_by,
        }
    return described


def _find_line(project: Project, file: str, key: str) -> int:
    return locate((project.root / file).read_bytes(), key.split("."), key=True)[0]


def _find_dropped(experiment: Experiment) -> list[str]:
    """Return the parent's params that this experiment's components do not take, or that it replaced as a whole."""
    if not experiment.parent:
        return []
    return [key for key in experiment.parent.settings if key not in experiment.settings]


def _print(description: dict[str, Any]) -> None:
    click.echo(f"{description['name']}: {description['description']}")
    click.echo(f"inherits {' → '.join(description['lineage'][1:]) or 'nothing'}\n")
    components = description["components"].items()
    print_table(["component", "class", "from"], [[kind, c["class"], c["file"]] for kind, c in components])
    for _, component in components:
        _print_saved(component)
    click.echo()
    params = description["params"].items()
    rows = [[key, str(p["value"]), f"{p['file']}:{p['line']}"] for key, p in params]
    print_table(["param", "value", "from"], rows)
    if description["dropped_params"]:
        click.echo(f"\nnot inherited: {', '.join(description['dropped_params'])}")
    for key, model in description["built_models"].items():
        click.echo(f"\n{_describe_model(key, **model)}")
    click.echo()
    print_table(["stage", "owned by"], [[name, s["owner"]] for name, s in description["stages"].items()])


def _print_saved(component: Mapping[str, Any]) -> None:
    """Print what the file of a component was found to be, and its weights."""
    if "description" in component:
        trusted = f"; its code is trusted by SHA-256 {component['sha256']}" if "sha256" in component else ""
        click.echo(f"\n{component['file']} is {component['description']}{trusted}")
    if weights := component.get("weights"):
        click.echo(f"\ntraining starts from the weights in {weights['file']}: {weights['description']}")


def _describe_model(key: str, experiment: str, owner: str) -> str:
    verb = "starts from" if key == f"model.{INIT_FROM}" else "uses"
    inherited = f", which is that of {owner}" if owner != experiment else ""
    return f"training {verb} the built model of {experiment}{inherited} ({key})"
