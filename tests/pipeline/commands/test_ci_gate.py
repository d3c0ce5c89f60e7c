"""`force ci gate`: red where a job failed or left nothing, green only where all is there."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.statuses import Status, write_status
from tests.checkouts import Ended
from tests.steps import Command, Step, read_commands

MISSING = "left no result; its job has the reason"


@pytest.fixture
def gate(force: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Pass a gate in a job, with what the entries left, each by its status and message."""
    step = Step(tmp_path, monkeypatch)

    def call(
        entries: str = "",
        needs: dict[str, str] | None = None,
        faults: int = 0,
        gates: str = "",
        **left: tuple[str, str],
    ) -> Ended:
        folder = tmp_path / "results"
        for name, (word, message) in left.items():
            status = Status(name, 1, (name,), word, "", message)
            write_status(status, tmp_path / "nowhere", folder / name)
        described = json.dumps({name: {"result": result, "outputs": {}} for name, result in (needs or {}).items()})
        options = ("--entries", entries, "--needs", described, "--faults", str(faults), "--gates", gates)
        ended = force("ci", "gate", str(folder), *options)
        assert (
            step.outputs["verdict"] == (ended.err or ended.out.splitlines()[-1]).removeprefix("error: ").split("\n")[0]
        )
        return ended

    return call


OK = ("ok", "")


def test_gate_is_green_when_every_job_is_fine(gate: Callable[..., Ended]) -> None:
    needs = {"plan": "success", "image": "success", "wave-1": "success", "wave-2": "skipped", "report": "success"}
    ended = gate("x y", needs, x=OK, y=OK)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.endswith("all 2 jobs are fine\n")
    assert read_commands(ended.out) == []


@pytest.mark.parametrize("needs", [None, {"plan": "success", "image": "skipped", "report": ""}])
def test_gate_is_green_when_there_was_nothing_to_do(gate: Callable[..., Ended], needs: dict[str, str] | None) -> None:
    assert gate("", needs).status == 0


@pytest.mark.parametrize("word", ["failed", "skipped", "interrupted"])
def test_gate_is_red_with_the_reason_when_a_job_failed(gate: Callable[..., Ended], word: str) -> None:
    ended = gate("x y", x=OK, y=(word, "train of y failed: 100 %\nmore"))
    assert (ended.status, ended.err) == (7, "error: 1 of 2 jobs failed\n  y: train of y failed: 100 %\nmore\n")
    assert read_commands(ended.out) == [Command("error", {}, "y: train of y failed: 100 %\nmore")]


def test_gate_is_red_with_the_word_when_a_failed_job_has_no_reason(gate: Callable[..., Ended]) -> None:
    assert "  x: interrupted\n" in gate("x", x=("interrupted", "")).err


def test_gate_is_red_when_a_planned_job_left_nothing(gate: Callable[..., Ended]) -> None:
    ended = gate("x y common-prepare", x=OK)
    assert (ended.status, ended.err) == (
        7,
        f"error: 2 of 3 jobs failed\n  y: {MISSING}\n  common-prepare: {MISSING}\n",
    )
    assert [command.data for command in read_commands(ended.out)] == [f"y: {MISSING}", f"common-prepare: {MISSING}"]


@pytest.mark.parametrize("result", ["failure", "cancelled"])
@pytest.mark.parametrize("name", ["plan", "image", "wave-2", "results"])
def test_gate_is_red_when_a_job_around_them_failed(gate: Callable[..., Ended], name: str, result: str) -> None:
    ended = gate("x", {"plan": "success", name: result}, x=OK)
    assert ended.status == 7
    assert f"\n  {name}: the job ended as {result}\n" in ended.err


@pytest.mark.parametrize(("result", "status"), [("cancelled", 0), ("failure", 7)])
def test_report_may_give_way_to_a_newer_one_but_not_fail(gate: Callable[..., Ended], result: str, status: int) -> None:
    assert gate("x", {"report": result}, x=OK).status == status


def test_everything_that_failed_is_named_once_when_it_was_much(gate: Callable[..., Ended]) -> None:
    ended = gate("x y z", {"plan": "success", "image": "failure"}, x=OK, y=("failed", "the reason"))
    assert ended.err.splitlines() == [
        "error: 3 of 5 jobs failed",
        "  y: the reason",
        f"  z: {MISSING}",
        "  image: the job ended as failure",
    ]


def test_gate_is_red_when_the_plan_left_out_what_has_faults(gate: Callable[..., Ended]) -> None:
    ended = gate("x", {"plan": "success"}, faults=2, x=OK)
    reason = "left out what has faults (2); its job names them"
    assert (ended.status, ended.err) == (7, f"error: 1 of 2 jobs failed\n  plan: {reason}\n")
    assert read_commands(ended.out) == [Command("error", {}, f"plan: {reason}")]


def test_gate_is_red_for_a_job_alone_when_its_status_is_not_one_of_ours(
    gate: Callable[..., Ended], tmp_path: Path
) -> None:
    (tmp_path / "results/y").mkdir(parents=True)
    (tmp_path / "results/y/status.json").write_text("{")
    ended = gate("x y", x=OK)
    assert ended.status == 7
    assert ended.err.startswith("error: 1 of 2 jobs failed\n  y: left no sound status.json: ")


def test_gate_is_red_when_a_gate_of_an_experiment_is_not_passed(gate: Callable[..., Ended]) -> None:
    ended = gate("x", gates=json.dumps({"missed": ["x: accuracy >= 1: 0.9"], "passed": []}), x=OK)
    verdict = "all 1 jobs are fine, and 1 gate is not passed"
    assert (ended.status, ended.err) == (7, f"error: {verdict}\n  x: accuracy >= 1: 0.9\n")
    assert read_commands(ended.out) == [Command("error", {}, "not passed: x: accuracy >= 1: 0.9")]
    both = gate(
        "x y",
        gates=json.dumps({"missed": ["x: a >= 1: 0", "y: a >= 1: 0"], "passed": []}),
        x=OK,
        y=("failed", "no data"),
    )
    assert both.err.startswith("error: 1 of 2 jobs failed, and 2 gates are not passed\n  y: no data\n  x: a >= 1: 0\n")


@pytest.mark.parametrize("gates", ["x", "{}", "1", "[]"])
def test_gates_that_no_report_wrote_are_an_error(force: Callable[..., Ended], gates: str) -> None:
    ended = force("ci", "gate", "nowhere", "--gates", gates)
    assert (ended.status, ended.err.splitlines()[0]) == (2, f"error: --gates is none of the report: {gates!r}")
