"""Read the log that act writes as JSON: what happens to jobs and steps, without act's own chatter."""

import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

MAX_NAME = 60
# What act always says: of the host that it may not need, of its server, and of an option it cannot evaluate and that
# has no effect on one machine. Its server prints a stack trace where it is asked for what is not there.
_CHATTER = re.compile(r"Using docker host|Start server on|Failed to parse 'max-parallel'|LocalRepositoryCache ")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])|[\x00-\x08\x0b-\x1f\x7f]")
_ANNOTATIONS = ("error", "warning", "notice")


class Kind(Enum):
    """What a line of the log says."""

    STARTED = "a step started"
    OUTPUT = "a step printed a line"
    ANNOTATION = "a step printed an error, a warning or a notice"
    SUMMARY = "a step wrote to the summary of its job"
    REASON = "why a step or job fails"
    TOLERATED = "the failure of a step that follows has no consequence"
    ENDED = "a step ended"
    JOB_ENDED = "a job ended"
    NOTE = "act says something"


@dataclass(frozen=True)
class Event:
    """One line of the log. `state` is that of a step or job that ended, or the level of an annotation."""

    kind: Kind
    job: str = ""
    step: str = ""
    number: str = ""  # of the step in its job, or its id
    text: str = ""
    state: str = ""


def read_event(line: str) -> Event | None:
    """Return what a line says, or None where it says nothing to anybody."""
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        return Event(Kind.NOTE, text=clean(line)) if line.startswith("Error: ") else None
    message = clean(str(record.get("msg", "")))
    if _CHATTER.match(message):
        return None
    if "job" not in record:
        return Event(Kind.NOTE, text=message) if record.get("level") == "error" else None
    return _read_job_event(record, message)


def clean(text: str) -> str:
    """Return a text without what moves a terminal's cursor or colours it, and without its last line's end.

    >>> clean("\\x1b[31mred\\x1b[0m\\r\\n")
    'red'
    """
    return _ESCAPES.sub("", text).rstrip("\n")


def _read_job_event(record: dict[str, Any], message: str) -> Event | None:
    numbers = record.get("stepID") or [""]
    place = {"job": str(record["job"]).strip(), "step": _name_step(str(record.get("step", ""))), "number": numbers[0]}
    command = record.get("command")
    if command == "summary":
        return Event(Kind.SUMMARY, **place, text=str(record.get("content", "")))
    if command in _ANNOTATIONS:
        return Event(Kind.ANNOTATION, **place, text=_describe_annotation(record), state=str(command))
    if record.get("raw_output") or command == "group":
        return Event(Kind.OUTPUT, **place, text=clean(str(record.get("arg", message))))
    if "jobResult" in record:
        return Event(Kind.JOB_ENDED, **place, state=_translate(record["jobResult"]))
    if command or len(numbers) > 1:  # the steps of a composite action are part of the step that uses it
        return None
    if "stepResult" in record:
        return _read_step_end(record, place)
    if message.startswith("⭐ Run "):
        return Event(Kind.STARTED, **place)
    if message == "Failed but continue next step":
        return Event(Kind.TOLERATED, **place)
    return Event(Kind.REASON, **place, text=message) if record.get("level") == "error" else None


def _read_step_end(record: dict[str, Any], place: dict[str, str]) -> Event | None:
    """Return the end of a step; what act does before, between and after counts only where it fails."""
    state = _translate(record["stepResult"])
    if record.get("stage") != "Main" and state != "failed":
        return None
    return Event(Kind.ENDED, **place, state=state)


def _translate(result: Any) -> str:
    return {"success": "done", "failure": "failed"}.get(str(result), str(result))


def _describe_annotation(record: dict[str, Any]) -> str:
    place = record.get("kvPairs") or {}
    where = ":".join(str(place[key]) for key in ("file", "line") if place.get(key))
    return clean(f"{where}: {record.get('arg', '')}" if where else str(record.get("arg", "")))


def _name_step(name: str) -> str:
    """Return a step's name on one short line: of a script the first line, of an action its repository.

    >>> _name_step("actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1")
    'actions/checkout'
    """
    first = clean(name).partition("\n")[0].strip()
    first = re.sub(r"@[0-9a-f]{40}$", "", first)
    return first if len(first) <= MAX_NAME else first[: MAX_NAME - 1] + "…"
