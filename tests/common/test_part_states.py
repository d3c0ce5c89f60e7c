"""States of preparations on disk: whole, of this preparation, and never ahead of what is written."""

import os
from pathlib import Path

import pytest

from common import part_states
from common.part_states import PartStates, UnusableStateError
from tests.disks import limit_files

STATE = {"num_parts": 3, "moments": {"mean": [0.1, 1e-300]}}


def write(path: Path) -> None:
    """Write a state, and wait until it is there."""
    states = PartStates(path)
    states.write(STATE, [])
    states.wait()


def test_state_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    write(tmp_path / "state.json")
    states = PartStates(tmp_path / "state.json")
    found = states.read()
    assert found is not None
    assert {name: found[name] for name in STATE} == STATE
    assert states.newest == found


def test_there_is_no_state_before_one_is_written(tmp_path: Path) -> None:
    assert PartStates(tmp_path / "state.json").read() is None


@pytest.mark.parametrize("num_bytes", [0, 1, 40, -1, -30])
def test_state_is_refused_when_it_is_truncated(tmp_path: Path, num_bytes: int) -> None:
    write(tmp_path / "state.json")
    content = (tmp_path / "state.json").read_bytes().rstrip()
    (tmp_path / "state.json").write_bytes(content[:num_bytes])
    with pytest.raises(UnusableStateError, match="it is truncated or damaged"):
        PartStates(tmp_path / "state.json").read()


def test_state_is_refused_when_other_packages_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "state.json")
    monkeypatch.setattr(part_states, "_hash_packages", lambda: "others")
    with pytest.raises(UnusableStateError, match="other packages wrote it"):
        PartStates(tmp_path / "state.json").read()


def test_none_is_due_before_its_time_nor_while_one_is_written(tmp_path: Path) -> None:
    assert not PartStates(tmp_path / "state.json").is_due()
    states = PartStates(tmp_path / "state.json", period_s=0)
    assert states.is_due()
    reading, writing = os.pipe()  # what is not to be brought to a disk: the thread fails
    states.write(STATE, [reading])
    with pytest.raises(OSError, match="Invalid argument"):
        states.wait()
    os.close(reading)
    os.close(writing)


def test_there_is_no_state_when_what_it_speaks_of_did_not_reach_the_disk(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    states = PartStates(tmp_path / "state.json")
    states.write(STATE, [reading])
    with pytest.raises(OSError, match="Invalid argument"):
        states.wait()
    assert states.newest is None
    assert not list(tmp_path.iterdir())
    os.close(reading)
    os.close(writing)


def test_preparation_goes_on_and_the_state_before_stays_when_the_disk_is_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "state.json")
    before = (tmp_path / "state.json").read_bytes()
    with limit_files(10):
        write(tmp_path / "state.json")
    assert caplog.messages[0].startswith("3 parts are done, but this is not kept: [Errno 27]")
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert (tmp_path / "state.json").read_bytes() == before


def test_states_take_no_more_than_their_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 11.0, 60.9, 61.1])  # begun, a write of a second, and asked twice
    monkeypatch.setattr(part_states.time, "perf_counter", lambda: next(clock))
    states = PartStates(tmp_path / "state.json", period_s=5)
    states.write(STATE, [])
    states.wait()
    assert [states.is_due(), states.is_due()] == [False, True]
