"""Lines of act's log, as act 0.2.89 writes them."""

import json
from typing import Any

import pytest

from pipeline.actlog import Event, Kind, read_event

PLACE: dict[str, Any] = {"job": "ci/plan   ", "jobID": "plan", "level": "info", "stage": "Main"}
STEP = {**PLACE, "step": "count\nmore\n", "stepID": ["1"]}


def read(**record: Any) -> Event | None:
    return read_event(json.dumps(record))


def event(kind: Kind, **fields: str) -> Event:
    return Event(kind, "ci/plan", "count", "1", **fields)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"msg": "⭐ Run Main count\nmore"}, event(Kind.STARTED)),
        ({"msg": "one\n", "raw_output": True}, event(Kind.OUTPUT, text="one")),
        ({"msg": "\x1b[1;31mred\x1b[0m\x07\r\n", "raw_output": True}, event(Kind.OUTPUT, text="red")),
        ({"msg": "  ❓  ::group::a title\n", "command": "group", "arg": "a title"}, event(Kind.OUTPUT, text="a title")),
        ({"msg": "  ⚙  ::set-output:: a=b", "command": "set-output", "arg": "b"}, None),
        (
            {"msg": "  🚧  ::warning…", "command": "warning", "arg": "careful", "level": "warning", "kvPairs": {}},
            event(Kind.ANNOTATION, text="careful", state="warning"),
        ),
        (
            {"msg": "…", "command": "error", "arg": "wrong", "kvPairs": {"line": "3", "file": "a.py"}},
            event(Kind.ANNOTATION, text="a.py:3: wrong", state="error"),
        ),
        ({"msg": "  ⚙  Summary - # a", "command": "summary", "content": "# a\nb"}, event(Kind.SUMMARY, text="# a\nb")),
        ({"msg": "  ✅  Success - Main count", "stepResult": "success"}, event(Kind.ENDED, state="done")),
        ({"msg": "  ❌  Failure - Main count", "stepResult": "failure"}, event(Kind.ENDED, state="failed")),
        ({"msg": "  ✅  Success - Post count", "stepResult": "success", "stage": "Post"}, None),
        (
            {"msg": "  ❌  Failure - Pre count", "stepResult": "failure", "stage": "Pre"},
            event(Kind.ENDED, state="failed"),
        ),
        ({"msg": "exit status 3", "level": "error"}, event(Kind.REASON, text="exit status 3")),
        ({"msg": "Failed but continue next step"}, event(Kind.TOLERATED)),
        ({"msg": "LocalRepositoryCache matched https://…"}, None),
        ({"msg": "Cleaning up container for job plan"}, None),
    ],
)
def test_line_of_a_step_is_read(record: dict[str, Any], expected: Event | None) -> None:
    assert read(**{**STEP, **record}) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"msg": "⭐ Run Main python3 upload.py"}, None),
        ({"msg": "  ❌  Failure - Main python3 upload.py", "stepResult": "failure"}, None),
        ({"msg": "one\n", "raw_output": True}, Kind.OUTPUT),
        ({"command": "error", "arg": "wrong"}, Kind.ANNOTATION),
        ({"command": "summary", "content": "a"}, Kind.SUMMARY),
    ],
)
def test_what_an_action_does_inside_counts_for_the_step_that_uses_it(
    record: dict[str, Any], expected: Kind | None
) -> None:
    found = read(**{**STEP, "stepID": ["1", "upload"], **record})
    assert (found and (found.kind, found.number)) == (expected and (expected, "1"))


@pytest.mark.parametrize(("result", "state"), [("success", "done"), ("failure", "failed"), ("cancelled", "cancelled")])
def test_end_of_a_job_is_read(result: str, state: str) -> None:
    assert read(**PLACE, jobResult=result, msg="🏁  Job") == Event(Kind.JOB_ENDED, "ci/plan", state=state)


def test_set_up_counts_only_when_it_fails() -> None:
    setup = {"job": "ci/plan", "step": "Set up job", "stepid": ["--setup-job"], "level": "info"}
    assert read(**setup, msg="  ✅  Success - Set up job", stepResult="success") is None
    failed = Event(Kind.ENDED, "ci/plan", "Set up job", state="failed")
    assert read(**setup, msg="  ❌  Failure - Set up job", stepResult="failure") == failed


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("Error: Job 'bad' failed", "Error: Job 'bad' failed"),
        ('{"level": "error", "msg": "no such workflow"}', "no such workflow"),
        ('{"level": "info", "msg": "Using docker host \'unix:///var/run/docker.sock\'"}', None),
        ('{"level": "error", "msg": "Failed to parse \'max-parallel\' option: strconv.Atoi: parsing"}', None),
        ("goroutine 65 [running]:", None),
        ("", None),
        ("17", None),
        ('{"level": "in', None),
    ],
)
def test_what_act_says_of_itself_counts_only_when_it_is_an_error(line: str, text: str | None) -> None:
    assert read_event(line) == (Event(Kind.NOTE, text=text) if text else None)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (f"actions/upload-artifact@{'a' * 40}", "actions/upload-artifact"),
        ("make\nmake install\n", "make"),
        ("x" * 80, "x" * 59 + "…"),
        ("a\x1b[2Jb", "ab"),
    ],
)
def test_name_of_a_step_is_short(name: str, shown: str) -> None:
    found = read(**{**STEP, "step": name}, msg="⭐ Run Main")
    assert found
    assert found.step == shown
