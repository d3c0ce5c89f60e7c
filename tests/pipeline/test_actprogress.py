"""What is shown of a run of act, for events as they really come: a step's last lines after its end."""

import io
import re
import sys

import pytest

from pipeline.actlog import Event, Kind
from pipeline.actprogress import NUM_TAIL_LINES, ActProgress


def at(kind: Kind, number: str = "0", text: str = "", state: str = "", job: str = "ci/a") -> Event:
    return Event(kind, job, f"step {number}", number, text, state)


JOB_FAILED = Event(Kind.JOB_ENDED, "ci/a", state="failed")


def show(*events: Event, is_verbose: bool = False) -> ActProgress:
    with ActProgress(is_verbose) as progress:
        for event in events:
            progress.add(event)
    return progress


def read_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [re.sub(r"  \d+ s", "  0 s", line) for line in capsys.readouterr().out.splitlines()]


def test_output_stays_folded_when_a_step_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    progress = show(
        at(Kind.STARTED),
        at(Kind.OUTPUT, text="one"),
        at(Kind.ENDED, state="done"),
        Event(Kind.JOB_ENDED, "ci/a", state="done"),
    )
    assert read_lines(capsys) == ["done        ci/a: step 0  0 s", "done        ci/a  0 s"]
    assert progress.failed == []


def test_last_lines_are_shown_when_a_step_failed_and_they_come_late(capsys: pytest.CaptureFixture[str]) -> None:
    late = [at(Kind.OUTPUT, text=f"line {number}") for number in range(NUM_TAIL_LINES + 5)]
    progress = show(
        at(Kind.STARTED),
        at(Kind.ENDED, state="failed"),
        at(Kind.REASON, text="exit status 3\nmore"),
        at(Kind.STARTED, "1"),
        *late,
        at(Kind.OUTPUT, "1", text="of the next step"),
        at(Kind.ENDED, "1", state="done"),
        JOB_FAILED,
    )
    lines = read_lines(capsys)
    assert lines[0] == "failed      ci/a: step 0  0 s  exit status 3"
    assert lines[1 : NUM_TAIL_LINES + 1] == [f"  | line {number}" for number in range(5, NUM_TAIL_LINES + 5)]
    assert lines[NUM_TAIL_LINES + 1 :] == ["done        ci/a: step 1  0 s", "failed      ci/a  0 s"]
    assert progress.failed == ["ci/a"]


def test_failure_is_shown_when_act_ends_before_the_job_does(capsys: pytest.CaptureFixture[str]) -> None:
    show(at(Kind.STARTED), at(Kind.ENDED, state="failed"), at(Kind.OUTPUT, text="one"))
    assert read_lines(capsys) == ["failed      ci/a: step 0  0 s", "  | one"]


def test_line_says_so_when_the_failure_of_a_step_has_no_consequence(capsys: pytest.CaptureFixture[str]) -> None:
    show(at(Kind.TOLERATED), at(Kind.ENDED, state="failed"))
    assert read_lines(capsys) == ["failed      ci/a: step 0  0 s  the job goes on"]


def test_every_line_is_shown_once_when_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    show(at(Kind.OUTPUT, text="one"), at(Kind.ENDED, state="failed"), JOB_FAILED, is_verbose=True)
    assert read_lines(capsys) == ["  ci/a | one", "failed      ci/a: step 0  0 s", "failed      ci/a  0 s"]


def test_annotations_are_shown_when_their_step_is_not_over(capsys: pytest.CaptureFixture[str]) -> None:
    show(at(Kind.ANNOTATION, text="a.py:3: careful", state="warning"))
    assert read_lines(capsys) == ["warning     ci/a: step 0  a.py:3: careful"]


def test_reasons_count_as_output_when_no_step_failed(capsys: pytest.CaptureFixture[str]) -> None:
    show(at(Kind.REASON, text="no shell"), at(Kind.ENDED, state="failed"), at(Kind.REASON, text="exit status 1"))
    assert read_lines(capsys) == ["failed      ci/a: step 0  0 s  exit status 1", "  | no shell"]


def test_summaries_of_a_job_are_one_when_several_steps_write_them() -> None:
    progress = show(at(Kind.SUMMARY, text="# a\n"), at(Kind.SUMMARY, "1", text="b\n"), at(Kind.OUTPUT, job="ci/b"))
    assert {job.name: job.summary for job in progress.jobs.values()} == {"ci/a": "# a\nb\n", "ci/b": ""}


def test_notes_of_act_are_kept_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(Event(Kind.NOTE, text="Error: no")).notes == ["Error: no"]
    assert read_lines(capsys) == []


def test_running_jobs_have_a_row_when_output_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.delenv("CI", raising=False)
    for name, value in {"TERM": "xterm", "COLUMNS": "100", "LINES": "50", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", terminal)
    show(at(Kind.STARTED), at(Kind.OUTPUT, text="[bold] is no markup"), at(Kind.STARTED, job="ci/b"), JOB_FAILED)
    text = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", terminal.getvalue())
    assert re.search(r"ci/b +step 0 +0 s", text)
    assert re.search(r"^failed      ci/a  0 s *$", text, re.MULTILINE)
