"""What we ask of DVC. It is started as a program: importing it would cost every command a second."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import ToolError
from pipeline.ownership import Stage
from pipeline.tools.process import Child, last_line, run


def address(stage: Stage) -> str:
    """Return DVC's name of a stage."""
    return f"{stage.dvc_file}:{stage.name}"


def start_repro(root: Path, stage: Stage, variables: Mapping[str, str], inherit: Sequence[int]) -> Child:
    """Start reproducing one stage alone. DVC waits for its lock: else a parallel run can lose its lock entry."""
    return Child(["dvc", "--wait-for-lock", "repro", "--single-item", address(stage)], root, variables, inherit)


def fetch(root: Path, stages: Sequence[Stage]) -> str:
    """Fetch the recorded outs of stages into the cache; return DVC's reason where not all could be had, else ""."""
    done = run(["dvc", "--wait-for-lock", "fetch", "--quiet", *map(address, stages)], root, check=False)
    return last_line(done.stderr) if done.returncode else ""


def checkout(root: Path, stages: Sequence[Stage]) -> None:
    """Link the recorded outs of stages into the workspace. Raises ToolError with DVC's reason."""
    done = run(["dvc", "--wait-for-lock", "checkout", "--quiet", "--force", *map(address, stages)], root, check=False)
    if done.returncode:
        raise ToolError(f"dvc checkout failed: {last_line(done.stderr)}", "force doctor")


def pull(root: Path, paths: Sequence[str]) -> None:
    """Bring the data that .dvc files track into the workspace. Raises ToolError with DVC's reason."""
    done = run(["dvc", "--wait-for-lock", "pull", "--quiet", *paths], root, check=False)
    if done.returncode:
        raise ToolError(f"dvc pull {' '.join(paths)} failed: {last_line(done.stderr)}", "force doctor")


def push(root: Path, stages: Sequence[Stage]) -> str:
    """Push the recorded outs of stages to the remote; return DVC's reason where not all could be, else ""."""
    done = run(["dvc", "--wait-for-lock", "push", "--quiet", *map(address, stages)], root, check=False)
    return last_line(done.stderr) if done.returncode else ""


def set_local(root: Path, key: str, value: str) -> None:
    """Set an option in the config that git ignores."""
    run(["dvc", "config", "--local", key, value], root)
