"""What a job says to the runner of GitHub Actions, read as the runner reads it."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError, PlanError, Problem
from pipeline.tools.actions import (
    add_summary,
    annotate,
    annotate_error,
    find_run_url,
    group,
    stop_commands,
    write_output,
)
from tests.steps import Command, Step, read_commands

HOSTILE = "50 %\r\n::error::x\nany=true\nany<<end\ntrue\nend\n::stop-commands::x"


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Step:
    """A step of a job."""
    return Step(tmp_path, monkeypatch)


# Outputs and summaries


@pytest.mark.parametrize("value", ["", "true", "a\nb\n\nc", "any<<end\nx\nend\nany=yes", "größe = 1 << 2"])
def test_output_is_what_was_written_when_the_runner_reads_it(step: Step, value: str) -> None:
    write_output("first", value)
    write_output("any", "false")
    assert step.outputs == {"first": value, "any": "false"}


def test_value_cannot_end_itself_when_it_repeats_what_ended_another(step: Step, tmp_path: Path) -> None:
    write_output("first", "a")
    end = (tmp_path / "output").read_text().splitlines()[-1]
    write_output("second", f"b\n{end}\nany<<{end}\ntrue\n{end}")
    assert set(step.outputs) == {"first", "second"}


def test_summary_has_all_parts_apart_when_several_are_added(step: Step) -> None:
    add_summary("# first\n\n\n")
    add_summary("second")
    assert step.summary == "# first\n\nsecond\n\n"


def test_outputs_and_summaries_are_printed_when_there_is_no_runner(capsys: pytest.CaptureFixture[str]) -> None:
    write_output("any", "true")
    add_summary("# summary")
    assert capsys.readouterr().out == "any=true\n# summary\n"


# Annotations


def test_annotation_has_its_place_when_a_file_is_at_fault(step: Step, capsys: pytest.CaptureFixture[str]) -> None:
    annotate("error", "no such key", "experiments/x/experiment.yaml", 3)
    annotate("warning", "is missing", "params.yaml")
    annotate("warning", "nothing more", line=3)
    assert capsys.readouterr().out.splitlines() == [
        "::error file=experiments/x/experiment.yaml,line=3::no such key",
        "::warning file=params.yaml::is missing",
        "::warning::nothing more",
    ]


def test_annotation_says_what_was_said_when_it_looks_like_commands(
    step: Step, capsys: pytest.CaptureFixture[str]
) -> None:
    annotate("error", HOSTILE, "a,line=7::b%0A.py", 3)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert read_commands(out) == [Command("error", {"file": "a,line=7::b%0A.py", "line": "3"}, HOSTILE)]


def test_annotation_is_a_line_of_text_when_there_is_no_runner(capsys: pytest.CaptureFixture[str]) -> None:
    annotate("error", "no such key", "params.yaml", 3)
    annotate("warning", "is missing", "params.yaml")
    annotate("warning", "nothing more")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "error: params.yaml:3: no such key",
        "warning: params.yaml: is missing",
        "warning: nothing more",
    ]


def test_each_fault_has_its_annotation_when_files_are_at_fault(step: Step, capsys: pytest.CaptureFixture[str]) -> None:
    annotate_error(ConfigError([Problem("b.yaml", 2, 1, "second", "a hint"), Problem("a.yaml", 0, 0, "first")]))
    annotate_error(PlanError("dvc.yaml is out of date", "force sync"))
    assert read_commands(capsys.readouterr().out) == [
        Command("error", {"file": "a.yaml"}, "first"),
        Command("error", {"file": "b.yaml", "line": "2"}, "second"),
        Command("error", {}, "dvc.yaml is out of date"),
    ]


# What others print


def test_runner_obeys_us_alone_when_commands_are_stopped(step: Step, capsys: pytest.CaptureFixture[str]) -> None:
    with stop_commands():
        print(HOSTILE)
        annotate("warning", "ours")
        print("::error::a log's")
        with group("dvc push"):
            print("::endgroup::")
    print("::error::a message that is printed at the end")
    assert read_commands(capsys.readouterr().out) == [
        Command("warning", {}, "ours"),
        Command("group", {}, "dvc push"),
        Command("endgroup", {}, ""),
    ]


def test_nobody_can_resume_commands_when_he_saw_what_resumed_them_before(
    step: Step, capsys: pytest.CaptureFixture[str]
) -> None:
    with stop_commands():
        annotate("warning", "first")
    said = capsys.readouterr().out
    with stop_commands():
        print(said)
    assert read_commands(capsys.readouterr().out) == []


def test_nothing_is_said_of_commands_and_groups_when_there_is_no_runner(capsys: pytest.CaptureFixture[str]) -> None:
    with stop_commands(), group("dvc push"):
        print("pushed")
    assert capsys.readouterr().out == "pushed\n"


@pytest.mark.parametrize("missing", ["", "GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"])
def test_run_has_an_address_only_when_all_of_it_is_known(
    step: Step, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    step.set(GITHUB_SERVER_URL="https://git.lab.org", GITHUB_REPOSITORY="octo-lab/force-build", GITHUB_RUN_ID="12")
    if missing:
        monkeypatch.delenv(missing)
    assert find_run_url() == ("" if missing else "https://git.lab.org/octo-lab/force-build/actions/runs/12")
