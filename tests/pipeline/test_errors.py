"""Errors: the text that a user reads, and the exit code."""

import pytest

from pipeline import errors
from pipeline.errors import ConfigError, ForceError, PlanError, Problem, StageError, ToolError, UsageError, suggest


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(ForceError, 1), (UsageError, 2), (PlanError, 4), (ToolError, 5), (StageError, 6)],
)
def test_exit_code_is_the_documented_one_when_an_error_ends_the_process(
    error: type[ForceError], exit_code: int
) -> None:
    assert error("a message").exit_code == exit_code
    assert issubclass(error, ForceError)


def test_exit_codes_differ_when_errors_do() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ForceError)]
    assert len({kind.exit_code for kind in kinds}) == len(kinds) >= 6
    assert ConfigError.exit_code == 3


def test_hint_is_the_second_line_when_there_is_one() -> None:
    assert PlanError("dvc.yaml is out of date", "force sync").render() == (
        "error: dvc.yaml is out of date\nhint: force sync"
    )
    assert PlanError("dvc.yaml is out of date").render() == "error: dvc.yaml is out of date"


def test_place_stands_first_when_a_file_is_at_fault() -> None:
    assert str(Problem("a.yaml", 3, 7, "unknown key 'x'")) == "a.yaml:3:7: unknown key 'x'"
    assert str(Problem("a.yaml", 0, 0, "no such file")) == "a.yaml: no such file"


def test_fault_is_one_line_when_a_file_has_but_one() -> None:
    error = ConfigError([Problem("a.yaml", 3, 7, "unknown key 'x'", "delete it")])
    assert error.render() == "error: a.yaml:3:7: unknown key 'x'\nhint: delete it"


def test_faults_are_sorted_and_told_once_when_there_are_several() -> None:
    faults = [
        Problem("b.yaml", 1, 1, "second file", "the hint of b"),
        Problem("a.yaml", 10, 1, "later line"),
        Problem("a.yaml", 9, 1, "earlier line"),
        Problem("a.yaml", 9, 1, "earlier line"),
    ]
    error = ConfigError(faults)
    assert error.render().splitlines() == [
        "error: 3 faults",
        "  a.yaml:9:1: earlier line",
        "  a.yaml:10:1: later line",
        "  b.yaml:1:1: second file",
        "hint: the hint of b",
    ]
    assert len(error.problems) == 3


def test_name_is_suggested_only_when_it_is_close() -> None:
    names = ["accuracy", "loss", "model"]
    assert suggest("modle", names) == "; did you mean 'model'?"
    assert suggest("zebra", names) == ""
    assert suggest("modle", []) == ""
