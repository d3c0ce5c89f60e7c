"""The protocol of GitHub Actions: outputs, summaries, annotations, groups. Elsewhere, the same goes to the terminal."""

import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import ConfigError, ForceError


def write_output(name: str, value: str) -> None:
    """Set an output of the step; the value may hold anything, newlines too."""
    path = os.environ.get("GITHUB_OUTPUT")
    if not path:
        print(f"{name}={value}", flush=True)
        return
    end = f"end-{uuid.uuid4().hex}"  # nobody can guess it, so that no value can end itself and set other outputs
    with Path(path).open("a") as stream:
        stream.write(f"{name}<<{end}\n{value}\n{end}\n")


def add_summary(markdown: str) -> None:
    """Add to the summary of the job."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        print(markdown, flush=True)
        return
    with Path(path).open("a") as stream:
        stream.write(f"{markdown.rstrip()}\n\n")


def annotate(level: str, message: str, path: str = "", line: int = 0) -> None:
    """Print a message that GitHub shows at the run, and in the diff where it has a place; `level` error or warning."""
    if not is_in_actions():
        place = f"{path}:{line}: " if line else f"{path}: " if path else ""
        print(f"{level}: {place}{message}", file=sys.stderr, flush=True)
        return
    where = f" file={_escape_property(path)}" if path else ""
    where += f",line={line}" if path and line else ""
    print(f"::{level}{where}::{_escape(message)}", flush=True)


def annotate_error(error: ForceError) -> None:
    """Annotate an error; faults of files each at their place."""
    if isinstance(error, ConfigError):
        for problem in error.problems:
            annotate("error", problem.message, problem.path, problem.line)
    else:
        annotate("error", error.message)


@contextmanager
def group(title: str) -> Iterator[None]:
    """Fold what is printed meanwhile."""
    if is_in_actions():
        print(f"::group::{_escape(title)}", flush=True)
    yield
    if is_in_actions():
        print("::endgroup::", flush=True)


def is_in_actions() -> bool:
    """Say whether this is a job of GitHub Actions, or of act."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def find_run_url() -> str:
    """Return the address of the workflow run, empty outside of one."""
    parts = [os.environ.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")]
    return f"{parts[0]}/{parts[1]}/actions/runs/{parts[2]}" if all(parts) else ""


def _escape(text: str) -> str:
    """Escape the data of a workflow command.

    >>> _escape("50 %\\n::error::")
    '50 %25%0A::error::'
    """
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
