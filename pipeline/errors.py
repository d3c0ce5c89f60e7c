"""Every error that a user may meet, with its exit code. Nothing else in `pipeline` ends the process.

ForceError
├── UsageError    2  the command line asks for something that is not there
├── ConfigError   3  faults in files, all of one file in one message
├── PlanError     4  the files are fine, but what they say cannot be planned or is out of date
├── ToolError     5  an outside program (dvc, git, docker) failed, or what it keeps is damaged
├── StageError    6  a stage ran and failed
├── GateError     7  results are there, and are not good enough to pass
├── PublishError  8  results are there, and could not be brought where others see them
└── InterruptedRunError 130  Ctrl-C or SIGTERM

0 is success, "nothing to do" included; 1 is a bug in `pipeline`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class ForceError(Exception):
    """Base class: a message of one line (faults of files: one more a fault), and a hint with the next action."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def render(self) -> str:
        """Return the text that a user reads; what would steer a terminal is shown as its escape."""
        text = f"error: {self.message}" + (f"\nhint: {self.hint}" if self.hint else "")
        return escape_controls(text)


class UsageError(ForceError):
    """The command line asks for something that is not there."""

    exit_code = 2


@dataclass(frozen=True, order=True)
class Problem:
    """One fault of a file; line and column count from 1, and are 0 where the file as a whole is at fault."""

    path: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{place}: {self.message}"


class ConfigError(ForceError):
    """Faults in files; the hint is that of the first fault that has one."""

    exit_code = 3

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(set(problems))
        lines = [str(problem) for problem in self.problems]
        if len(lines) > 1:
            lines = [f"{len(lines)} faults", *(f"  {line}" for line in lines)]
        hint = next((problem.hint for problem in self.problems if problem.hint), "")
        super().__init__("\n".join(lines), hint)


class PlanError(ForceError):
    """What the files say cannot be planned, or a generated file is out of date."""

    exit_code = 4


class ToolError(ForceError):
    """An outside program failed, or what it keeps is damaged."""

    exit_code = 5


class StageError(ForceError):
    """A stage ran and failed."""

    exit_code = 6


class GateError(ForceError):
    """Results are there, and are not good enough to pass."""

    exit_code = 7


class PublishError(ForceError):
    """Results are there, and could not be brought where others see them."""

    exit_code = 8


class InterruptedRunError(ForceError):
    """Ctrl-C or SIGTERM."""

    exit_code = 130

    def __init__(self, hint: str = "") -> None:
        super().__init__("interrupted", hint)


def escape_controls(text: str) -> str:
    """Return a text with its escape in place of each character that would steer a terminal; lines and tabs stay.

    >>> print(escape_controls(f"a{chr(27)}[31mb"))
    a\\x1b[31mb
    """
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def escape_line(text: str) -> str:
    """Return a text on one line, which steers no terminal and can be printed.

    >>> print(escape_line(f"a{chr(10)}b{chr(0xD800)}"))
    a\\nb\\ud800
    """
    escaped = escape_controls(text.replace("\n", "\\n").replace("\t", "\\t"))
    return escaped.encode(errors="backslashreplace").decode()


def find_reason(error: BaseException) -> str:
    """Return what the system said, which lies below what each library made of it."""
    while error.__context__ is not None:
        error = error.__context__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def suggest(name: str, candidates: Sequence[str]) -> str:
    """Return "; did you mean 'x'?" for the closest candidate, or nothing.

    >>> suggest("hiden", ["depth", "hidden"])
    "; did you mean 'hidden'?"
    >>> suggest("Adamw", ["Adam", "AdamW"])
    "; did you mean 'AdamW'?"
    """
    same = [candidate for candidate in candidates if candidate.lower() == name.lower()]
    matches = same or get_close_matches(name, candidates, n=1, cutoff=0.6)
    return f"; did you mean '{matches[0]}'?" if matches else ""
