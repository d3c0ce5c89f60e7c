"""`force runner`: what sets up a self-hosted runner, as files to read before they are installed."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

from pipeline.errors import UsageError
from pipeline.runners import (
    GITHUB,
    MachineRunner,
    Target,
    check,
    parse_gpus,
    parse_labels,
    parse_target,
    render_machine,
)
from pipeline.scalesets import ScaleSet, render_scale_set


@click.group(name="runner", help="Set up a self-hosted runner with a GPU.")
def command() -> None:
    """Hold the subcommands."""


@command.command()
@click.option("--url", required=True, help="The repository or organization whose jobs it takes.")
@click.option("--name", help="Its name, for more than one on a machine; without it, the machine's.")
@click.option("--labels", default="gpu", show_default=True, metavar="A,B", help="Labels beside 'self-hosted'.")
@click.option("--user", default="force-runner", show_default=True, help="Whom jobs run as.")
@click.option("--directory", help="Where the runner is installed.  [default: /opt/force-runner, or with -NAME]")
@click.option("--data", default="/var/lib/force-runner", show_default=True, help="Where caches and checkpoints are.")
@click.option("--gpus", metavar="0,1", help="The GPUs it has; without it, all.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the files into this new folder.")
def systemd(
    url: str,
    name: str | None,
    labels: str,
    user: str,
    directory: str | None,
    data: str,
    gpus: str | None,
    output: Path | None,
) -> None:
    """Print the files of a runner that systemd keeps on a machine, a new one for each job."""
    name = check("name", name, "--name") if name is not None else None
    runner = MachineRunner(
        target=_parse_target(url),
        name=name,
        labels=parse_labels(labels),
        user=check("user", user, "--user"),
        directory=check("directory", directory or f"/opt/force-runner{f'-{name}' if name else ''}", "--directory"),
        data=check("directory", data, "--data"),
        gpus=parse_gpus(gpus) if gpus is not None else (),
    )
    files = render_machine(runner)
    if output is None:
        click.echo("\n".join(f"# ==> /{path} <==\n{text}" for path, text in files.items()), nl=False)
        return
    write_tree(output, files)
    click.echo("\n".join(f"wrote {output / path}" for path in files))
    click.echo(f"next: read them, then `sudo cp -RT {output} /`; docs/runners.md has the rest")


@command.command()
@click.option("--url", required=True, help="The repository or organization whose jobs they take.")
@click.option("--name", default="force-gpu", show_default=True, help="The name of the scale set.")
@click.option("--labels", default="gpu", show_default=True, metavar="A,B", help="Labels beside 'self-hosted'.")
@click.option("--min", "min_runners", type=click.IntRange(0), default=0, show_default=True, help="Idle runners.")
@click.option("--max", "max_runners", type=click.IntRange(1), default=2, show_default=True, help="Runners at once.")
@click.option("--gpus-per-runner", type=click.IntRange(1, 64), default=1, show_default=True, help="GPUs of a pod.")
@click.option("--image", help="With runner, Docker and NVIDIA's toolkit.  [default: ghcr.io/OWNER/force-runner]")
@click.option("--secret", default="force-runner-github", show_default=True, help="The secret with the credentials.")
@click.option("--claim", default="force-runner-data", show_default=True, help="The claim of the volume of data.")
@click.option("--runtime-class", default="nvidia", show_default=True, help="'' where NVIDIA's is the default.")
def kubernetes(
    url: str,
    name: str,
    labels: str,
    min_runners: int,
    max_runners: int,
    gpus_per_runner: int,
    image: str | None,
    secret: str,
    claim: str,
    runtime_class: str,
) -> None:
    """Print values for the chart gha-runner-scale-set of Actions Runner Controller."""
    target = _parse_target(url)
    scale_set = ScaleSet(
        target=target,
        image=check("image", image or f"ghcr.io/{target.owner.lower()}/force-runner:latest", "--image"),
        name=check("scale set", name, "--name"),
        labels=parse_labels(labels),
        min_runners=min_runners,
        max_runners=max_runners,
        gpus_per_runner=gpus_per_runner,
        secret=check("resource", secret, "--secret"),
        claim=check("resource", claim, "--claim"),
        runtime_class=check("resource", runtime_class, "--runtime-class") if runtime_class else "",
    )
    click.echo(render_scale_set(scale_set), nl=False)


def _parse_target(url: str) -> Target:
    return parse_target(url, os.environ.get("GITHUB_SERVER_URL", GITHUB))


def write_tree(folder: Path, files: Mapping[str, str]) -> None:
    """Write files into a folder that is new or empty: all of them, or the folder stays as it is."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"'{folder}' is there already", "name a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            tree = Path(temporary) / "tree"
            for path, text in files.items():
                target = tree / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
                target.chmod(0o755 if target.suffix == ".sh" else 0o644)
            os.replace(tree, folder)
    except OSError as error:
        raise UsageError(f"'{folder}' cannot be written: {error.strerror}", "name another folder") from None
