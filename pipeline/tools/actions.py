"""The protocol of GitHub Actions: outputs, summaries, annotations, groups. Elsewhere, the same goes to the terminal."""

import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from pipeline.errors import ConfigError, ForceError

_MAX_SUMMARY_BYTES = 1_000_000
# What makes the runner obey again, while it takes nothing for a command; empty while it obeys.
_RESUMING: ContextVar[str] = ContextVar("_RESUMING", default="")


@contextmanager
def stop_commands() -> Iterator[None]:
    """Let the runner obey nobody but us: a log or a message that it shows may look like a command to it.

    Lasts until the step ends: errors are printed after the context is left.
    """
    if not is_in_actions():
        yield
        return
    token = _RESUMING.set(f"resume-{uuid.uuid4().hex}")
    print(f"::stop-commands::{_RESUMING.get()}", flush=True)
    try:
        yield
    finally:
        _RESUMING.reset(token)


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
    """Add to the summary of the job; GitHub takes no more than a mebibyte of a step."""
    markdown = markdown.encode()[:_MAX_SUMMARY_BYTES].decode(errors="ignore")
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
    _command(f"::{level}{where}::{_escape(message)}")


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
        _command(f"::group::{_escape(title)}")
    yield
    if is_in_actions():
        _command("::endgroup::")


def is_in_actions() -> bool:
    """Say whether this is a job of GitHub Actions, or of act."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def find_run_url() -> str:
    """Return the address of the workflow run, empty outside of one."""
    parts = [os.environ.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")]
    return f"{parts[0]}/{parts[1]}/actions/runs/{parts[2]}" if all(parts) else ""


def find_run_id(url: str) -> str:
    """Return the number of the run of this repository that has an address, nothing of another address."""
    start = find_run_url().rpartition("/")[0] + "/"
    number = url.removeprefix(start)
    return number if len(start) > 1 and url.startswith(start) and number.isascii() and number.isdigit() else ""


def _command(line: str) -> None:
    """Print a command to the runner."""
    resuming = _RESUMING.get()
    lines = [f"::{resuming}::", line, f"::stop-commands::{resuming}"] if resuming else [line]
    print("\n".join(lines), flush=True)


def _escape(text: str) -> str:
    """Escape the data of a workflow command.

    >>> _escape("50 %\\n::error::")
    '50 %25%0A::error::'
    """
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
