"""Programs on a leash: they end when its input does, and take along what they started."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from pipeline.tools.leash import MARK, list_marked
from pipeline.tools.process import LIFELINE, Child
from tests.flows.commands import wait_until

# Leaves a process behind that ignores hang-ups and has a session of its own, as a daemon does.
DAEMON = "setsid nohup sleep 60 >/dev/null 2>&1 &"


@pytest.fixture
def mark() -> str:
    """A mark of this test's own."""
    return uuid.uuid4().hex


def start(mark: str, script: str, cwd: Path) -> Child:
    return Child([sys.executable, "-m", "pipeline.tools.leash", "bash", "-c", script], cwd, {MARK: mark})


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -TERM $$", 143), ("true", 0)])
def test_status_and_output_are_those_of_the_program(mark: str, tmp_path: Path, script: str, status: int) -> None:
    child = start(mark, f"echo one; echo two >&2; {script}", tmp_path)
    assert list(child.lines()) == ["one", "two"]
    assert child.wait() == status


def test_program_finds_neither_lifeline_nor_input(mark: str, tmp_path: Path) -> None:
    child = start(mark, f'echo "${{{LIFELINE}-none}}"; cat; pwd', tmp_path)
    assert list(child.lines()) == ["none", str(tmp_path)]
    assert child.wait() == 0


def test_what_a_program_left_running_is_ended_when_it_ends(mark: str, tmp_path: Path) -> None:
    child = start(mark, f"{DAEMON} echo started", tmp_path)
    assert list(child.lines()) == ["started"]
    assert child.wait() == 0
    assert list_marked(mark) == set()


def test_program_is_interrupted_when_the_lifeline_is_cut(mark: str, tmp_path: Path) -> None:
    child = start(
        mark, f"trap 'echo tidied; exit 7' INT; {DAEMON} echo started; while :; do sleep 0.05; done", tmp_path
    )
    lines = child.lines()
    assert next(lines) == "started"
    child.cut_lifeline()
    assert list(lines) == ["tidied"]
    assert child.wait() == 7
    assert list_marked(mark) == set()


def test_nothing_is_left_when_who_held_the_leash_was_killed(mark: str, tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from pipeline.tools.process import Child
child = Child([sys.executable, "-m", "pipeline.tools.leash", "bash", "-c", "{DAEMON} echo started; sleep 60"],
              Path({str(tmp_path)!r}), {{"{MARK}": "{mark}"}})
print(next(child.lines()), flush=True)
time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdout.readline() == "started\n"
    # One that is just starting another program has no mark for a moment.
    wait_until(lambda: len(list_marked(mark)) >= 3, "the start of the leash, the program and the daemon")
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    wait_until(lambda: not list_marked(mark), "the end of every process")
