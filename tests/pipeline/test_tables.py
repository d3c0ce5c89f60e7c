"""Tables: plain text for pipes and files, colour for terminals."""

import io
import sys

import pytest
from rich.console import Console

from pipeline.tables import build_table, is_terminal, print_table


class Terminal(io.StringIO):
    """Standard output that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_columns_are_as_wide_as_their_content_when_output_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "n", "why"], [["x", "1", ""], ["longer", "20", "a " * 120 + "end"]], numeric=["n"])
    assert capsys.readouterr().out.splitlines() == [
        "name     n  why",
        "x        1",
        "longer  20  " + "a " * 120 + "end",
    ]


def test_only_the_header_is_printed_when_there_are_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "why"], [])
    assert capsys.readouterr().out == "name  why\n"


def test_brackets_are_printed_as_they_are_when_a_cell_has_some(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["value"], [["[bold]1[/bold]"]])
    assert capsys.readouterr().out.splitlines()[1] == "[bold]1[/bold]"


def test_states_are_in_colour_when_output_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    print_table(["stage", "state"], [["train", "failed"], ["[evaluate]", "done"]])
    text = terminal.getvalue()
    assert "\x1b[31mfailed\x1b[0m" in text
    assert "\x1b[32mdone  \x1b[0m" in text
    assert "[evaluate]" in text


def test_states_have_no_colour_when_nobody_sits_at_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert is_terminal()
    monkeypatch.setenv("CI", "true")
    assert not is_terminal()
    print_table(["stage", "state"], [["train", "failed"]])
    assert terminal.getvalue() == "stage  state\ntrain  failed\n"


def test_numbers_are_aligned_to_the_right_when_their_column_says_so() -> None:
    console = Console(file=io.StringIO(), width=40)
    with console.capture() as captured:
        console.print(build_table(["name", "time"], [["x", "1 s"], ["y", "100 s"]], ["time"]))
    assert [line.rstrip() for line in captured.get().splitlines()] == ["name   time", "x       1 s", "y     100 s"]
