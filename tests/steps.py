"""A step of a job of GitHub Actions: the files and variables that it finds, and what the runner reads of it."""

import html
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_COMMAND = re.compile(r"::(?P<name>[\w-]+)(?: (?P<properties>[^:]*))?::(?P<data>.*)")
_ESCAPES = {"%3A": ":", "%2C": ",", "%0D": "\r", "%0A": "\n", "%25": "%"}


@dataclass(frozen=True)
class Command:
    """One command that the runner obeyed."""

    name: str
    properties: dict[str, str]
    data: str


class Step:
    """A step, as long as a test lasts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._output = folder / "output"
        self._summary = folder / "summary"
        self.set(GITHUB_ACTIONS="true", GITHUB_OUTPUT=str(self._output), GITHUB_STEP_SUMMARY=str(self._summary))

    def set(self, **variables: str) -> None:
        """Set variables of the environment."""
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def set_event(self, name: str, payload: dict[str, Any], **variables: str) -> None:
        """Let this be a step of a workflow that an event started."""
        path = self._folder / "event.json"
        path.write_text(json.dumps(payload))
        self.set(GITHUB_EVENT_NAME=name, GITHUB_EVENT_PATH=str(path), **variables)

    @property
    def outputs(self) -> dict[str, str]:
        """What the runner reads from the file of outputs."""
        lines = iter(self._output.read_text().splitlines() if self._output.exists() else [])
        outputs = {}
        for line in lines:
            name, _, end = line.partition("<<")
            assert "=" not in name, f"an output of the form NAME=VALUE: {line}"
            value = []
            while (part := next(lines)) != end:
                value.append(part)
            outputs[name] = "\n".join(value)
        return outputs

    def clear_summary(self) -> None:
        """Forget the summary."""
        self._summary.unlink(missing_ok=True)

    @property
    def summary(self) -> str:
        """The summary of the job, as a reader sees it: entities are characters."""
        text = self._summary.read_text() if self._summary.exists() else ""
        return html.unescape(text).replace("\u200b", "")


def read_commands(text: str) -> list[Command]:
    """Return what the runner obeys in what a step printed."""
    found = []
    resuming = ""
    for line in text.splitlines():
        match = _COMMAND.fullmatch(line.strip())
        if match and resuming:
            resuming = "" if match["name"] == resuming else resuming
        elif match and match["name"] == "stop-commands":
            resuming = match["data"]
        elif match:
            pairs = [pair.partition("=") for pair in (match["properties"] or "").split(",") if pair]
            properties = {name: _unescape(value) for name, _, value in pairs}
            found.append(Command(match["name"], properties, _unescape(match["data"])))
    return found


def _unescape(text: str) -> str:
    return re.sub("|".join(_ESCAPES), lambda match: _ESCAPES[match[0]], text)
