"""Progress: a line a change in a log, a living table on a terminal."""

import io
import re
import sys
from pathlib import Path

import pytest

from pipeline.progress import Progress
from pipeline.workspace import write_json
from tests.pipeline.test_bars import PROGRESS, TEXT

STAGES = [("x", "train"), ("x", "evaluate")]


class Terminal(io.StringIO):
    """Standard output that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in the place of standard output. Not a fixture: pytest sets standard output before each test."""
    for name, value in {"TERM": "xterm", "COLUMNS": "100", "LINES": "50", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    return terminal


def read_screen(terminal: Terminal) -> str:
    """Return what was written, without the sequences that move the cursor."""
    return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", terminal.getvalue()).replace("\r", "")


def test_each_end_is_a_line_when_output_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(STAGES) as progress:
        progress.start(("x", "train"))
        progress.say(("x", "train"), "epoch 1/2")
        progress.end(("x", "train"), "done", "model.py changed")
        progress.end(("x", "evaluate"), "skipped", "needs train of x")
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"done {8}x: train  \d+ s  model\.py changed", first)
    assert second == "skipped     x: evaluate  needs train of x"


def test_line_ends_with_the_stage_when_there_is_no_more_to_say(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(STAGES).end(("x", "train"), "up to date", "")
    assert capsys.readouterr().out == "up to date  x: train\n"


def test_note_is_a_line_when_output_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(STAGES).note("warning: [bold] is no markup")
    assert capsys.readouterr().out == "warning: [bold] is no markup\n"


def test_table_of_all_stages_stays_when_a_run_on_a_terminal_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with Progress(STAGES) as progress:
        progress.start(("x", "train"))
        progress.say(("x", "train"), "epoch 1/2")
        progress.note("warning: [bold] is no markup")
        progress.end(("x", "train"), "done", "model.py changed")
    lines = [line.rstrip() for line in read_screen(terminal).splitlines()]
    assert "warning: [bold] is no markup" in lines
    header, train, evaluate = lines[-3:]
    assert header.split() == ["experiment", "stage", "state", "time"]
    assert re.fullmatch(r"x +train +done +\d+ s +model\.py changed", train)
    assert evaluate.split() == ["x", "evaluate", "waiting"]


def test_each_end_is_a_line_when_nobody_sits_at_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    monkeypatch.setenv("CI", "true")
    with Progress(STAGES) as progress:
        progress.start(("x", "train"))
        progress.end(("x", "evaluate"), "skipped", "needs train of x")
    assert terminal.getvalue() == "skipped     x: evaluate  needs train of x\n"


def test_last_line_of_a_stage_is_shown_when_it_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with Progress(STAGES) as progress:
        progress.start(("x", "train"))
        progress.say(("x", "train"), "epoch 1/2")
        progress.say(("x", "train"), "   ")
    assert re.search(r"x +train +running +\d+ s +epoch 1/2", read_screen(terminal))


def test_what_waits_is_counted_when_there_are_more_stages_than_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    stages = [(f"x{number}", "train") for number in range(40)]
    with Progress(stages) as progress:
        progress.start(("x7", "train"))
        progress.end(("x8", "train"), "done", "")
    screen = read_screen(terminal)
    assert "… 38 waiting, 1 done" in screen
    assert all(f"x{number} " in screen.rpartition("experiment")[2] for number in range(40))


# Wide enough for a row with its bar.
ROW = r"x +train +running +\d+ s +━{9} +" + re.escape(TEXT)


def test_bar_stands_in_the_place_of_the_line_when_the_stage_trains(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    terminal = open_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "150")
    path = tmp_path / "progress.json"
    with Progress(STAGES) as progress:
        progress.start(("x", "train"), path)
        progress.say(("x", "train"), "epoch 9/20  loss 0.0312")
        write_json(path, PROGRESS)
    assert re.search(ROW, read_screen(terminal))
    assert "epoch 9/20  loss 0.0312\n" not in read_screen(terminal)


def test_last_line_is_shown_when_the_file_for_the_bar_is_damaged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    terminal = open_terminal(monkeypatch)
    (tmp_path / "progress.json").write_text("{")
    with Progress(STAGES) as progress:
        progress.start(("x", "train"), tmp_path / "progress.json")
        progress.say(("x", "train"), "epoch 1/2")
    assert re.search(r"x +train +running +\d+ s +epoch 1/2", read_screen(terminal))


def test_there_is_no_bar_when_the_stage_has_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    terminal = open_terminal(monkeypatch)
    path = tmp_path / "progress.json"
    with Progress(STAGES) as progress:
        progress.start(("x", "train"), path)
        progress.end(("x", "train"), "failed", "Killed")
        write_json(path, PROGRESS)
    assert re.search(r"x +train +failed +\d+ s +Killed", read_screen(terminal))
    assert "━" not in read_screen(terminal)


def test_bar_is_nowhere_when_output_is_no_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_json(tmp_path / "progress.json", PROGRESS)
    with Progress(STAGES) as progress:
        progress.start(("x", "train"), tmp_path / "progress.json")
        progress.end(("x", "train"), "done", "")
    assert re.fullmatch(r"done {8}x: train  \d+ s\n", capsys.readouterr().out)
