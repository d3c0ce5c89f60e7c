"""Start outside programs. Nothing else in `pipeline` imports subprocess."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.errors import ToolError

# A child that finds this in its environment ends when its standard input does: so it never outlives who started it,
# not even after `kill -9`, on any POSIX system.
LIFELINE = "FORCE_LIFELINE"


def run(
    args: Sequence[str], cwd: Path, *, check: bool = True, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return what it printed. Raises ToolError where it is missing or, checked, fails."""
    environment = _environment(variables or {})
    try:
        done = subprocess.run(args, cwd=cwd, env=environment, text=True, capture_output=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise ToolError(f"'{args[0]}' is not on PATH", "force doctor") from None
    if check and done.returncode:
        raise ToolError(f"'{' '.join(args)}' failed: {last_line(done.stderr) or last_line(done.stdout)}")
    return done


def read_output(
    args: Sequence[str], cwd: Path, content: bytes = b"", variables: Mapping[str, str] | None = None
) -> bytes | None:
    """Run a program that reads `content` to its end and return what it printed, byte by byte, or None where it failed.

    None, too, where the program is missing.
    """
    try:
        done = subprocess.run(args, cwd=cwd, env=_environment(variables or {}), capture_output=True, input=content)
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout


class Child:
    """A program that runs until its lifeline, its standard input, is closed; its output is read line by line."""

    def __init__(
        self, args: Sequence[str], cwd: Path, variables: Mapping[str, str], inherit: Sequence[int] = ()
    ) -> None:
        self._process = subprocess.Popen(
            args,
            cwd=cwd,
            env=_environment({**variables, LIFELINE: "1"}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=inherit,
            start_new_session=True,  # a Ctrl-C in the terminal reaches only us, and we end our children in order
        )

    def lines(self) -> Iterator[str]:
        """Yield each line of output, without its end, until the program closes it."""
        stream = self._process.stdout
        assert stream is not None
        if not stream.closed:
            for line in stream:
                yield line.rstrip("\n")
            stream.close()

    def wait(self) -> int:
        """Wait for the end and return the exit status, minus the signal's number where one ended it."""
        status = self._process.wait()
        self.cut_lifeline()
        return status

    def cut_lifeline(self) -> None:
        """Ask the program, and all that it started with the same input, to end."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def end(self, patience_s: float = 10.0) -> None:
        """Cut the lifeline and wait; what is still there after `patience_s` seconds is killed."""
        self.cut_lifeline()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def last_line(text: str) -> str:
    """Return the last line of a text that is not blank."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with the programs beside this Python first on PATH, so that DVC finds `force`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **variables}
