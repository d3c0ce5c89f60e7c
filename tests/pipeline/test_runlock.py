"""The run lock: one holder at a time, and none that is dead."""

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pipeline.errors import ToolError
from pipeline.runlock import hold_run_lock

PATIENCE_S = 30.0
HOLDER = """
import sys
from pathlib import Path
from pipeline.runlock import hold_run_lock

with hold_run_lock(Path(sys.argv[1]), "force run theirs", wait=False, say=print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the lock is, in a folder that is not there yet."""
    return tmp_path / ".force" / "run.lock"


def try_lock(path: Path) -> AbstractContextManager[int]:
    return hold_run_lock(path, "force run ours", wait=False, say=pytest.fail)


def test_second_run_says_who_holds_the_lock_when_it_is_not_to_wait(path: Path) -> None:
    with (
        hold_run_lock(path, "force run wide", wait=False, say=pytest.fail),
        pytest.raises(ToolError) as caught,
        try_lock(path),
    ):
        pytest.fail("held by two")
    who = rf"'force run wide' \(process {os.getpid()}, since \d\d:\d\d:\d\d\)"
    expected = rf"error: this checkout is in use by {who}\nhint: wait for it, or work in a clone"
    assert re.fullmatch(expected, caught.value.render())


def test_lock_is_free_when_its_holder_is_done(path: Path) -> None:
    for _ in range(2):
        with try_lock(path):
            assert "force run ours" in path.read_text()


def test_lock_is_free_when_its_holder_failed(path: Path) -> None:
    with pytest.raises(ValueError, match="a failure"), try_lock(path):
        raise ValueError("a failure")
    with try_lock(path):
        pass


def test_lock_is_free_when_its_holder_was_killed(path: Path) -> None:
    args = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ToolError, match=rf"'force run theirs' \(process {process.pid}, "), try_lock(path):
            pytest.fail("held by two")
        process.send_signal(signal.SIGKILL)
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
    with try_lock(path):
        assert "force run ours" in path.read_text()


def test_lock_is_held_on_when_a_child_of_its_holder_still_runs(path: Path) -> None:
    with try_lock(path) as descriptor:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[descriptor])
    with pytest.raises(ToolError, match="in use by 'force run ours'"), try_lock(path):
        pytest.fail("held by two")
    child.communicate(timeout=PATIENCE_S)
    with try_lock(path):
        pass


def test_second_run_says_for_whom_it_waits_and_goes_on_when_the_first_is_done(path: Path) -> None:
    said: list[str] = []
    is_waiting, is_held, may_end = threading.Event(), threading.Event(), threading.Event()

    def say(line: str) -> None:
        said.append(line)
        is_waiting.set()

    def wait_for_it() -> None:
        with hold_run_lock(path, "force run second", wait=True, say=say):
            is_held.set()
            may_end.wait(PATIENCE_S)

    second = threading.Thread(target=wait_for_it)
    with try_lock(path):
        second.start()
        assert is_waiting.wait(PATIENCE_S)
    assert is_held.wait(PATIENCE_S)
    with pytest.raises(ToolError, match="in use by 'force run second'"), try_lock(path):
        pytest.fail("held by two")
    may_end.set()
    second.join(PATIENCE_S)
    assert len(said) == 1
    assert said[0].startswith(f"waiting for 'force run ours' (process {os.getpid()}, since ")


def test_holder_has_its_own_name_when_the_one_before_had_a_longer_one(path: Path) -> None:
    with hold_run_lock(path, "force run " + "a_long_name " * 20, wait=False, say=pytest.fail):
        pass
    with try_lock(path):
        assert re.fullmatch(rf"'force run ours' \(process {os.getpid()}, since \d\d:\d\d:\d\d\)", path.read_text())


def test_nothing_is_said_when_the_lock_is_free(path: Path) -> None:
    with hold_run_lock(path, "force run", wait=True, say=pytest.fail):
        pass


def test_holder_has_no_name_when_it_has_not_written_it_yet(path: Path) -> None:
    with try_lock(path):
        path.write_text("")
        with pytest.raises(ToolError, match="in use by another force run"), try_lock(path):
            pytest.fail("held by two")
