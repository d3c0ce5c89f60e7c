"""Training states on disk: which files are used, which are kept, and what comes back."""

import copy
import logging
import random
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from common import engine
from common.checkpoint import Checkpoints, Kept, Stateful
from common.engine import seed_everything
from tests.disks import limit_files
from tests.processes import Child


class Values:
    """A part with any state."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def state_dict(self) -> dict[str, Any]:
        """Return the values."""
        return self.values

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take values back."""
        self.values = state


class OtherLinear(nn.Linear):
    """A layer with the same weights under another name."""


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged, from the level of a stage on."""
    caplog.set_level(logging.INFO, logger="force")
    return caplog


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file can be longer than a few bytes, as on a full disk."""
    with limit_files(100):
        yield


def _make_parts(layer: nn.Module | None = None, **values: Any) -> dict[str, Stateful]:
    seed_everything(engine.Config())
    model = layer or nn.Linear(3, 2)
    return {
        "model": model,
        "optimizer": SGD(model.parameters(), lr=0.1, momentum=0.9),
        "values": Values(**{"step": 0, **values}),
    }


def _step(parts: dict[str, Stateful]) -> int:
    """Move weights and momentum by noise; return the number of the step."""
    model, optimizer = parts["model"], parts["optimizer"]
    assert isinstance(model, nn.Module)
    assert isinstance(optimizer, Optimizer)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter) + random.random() + float(np.random.rand())
    optimizer.step()
    state = parts["values"].state_dict()
    state["step"] += 1
    return int(state["step"])


def _train(folder: Path, last: int, parts: dict[str, Stateful] | None = None, **options: Any) -> dict[str, Stateful]:
    """Resume what is in a folder and go on to step `last`; return the parts."""
    parts = parts or _make_parts()
    checkpoints = Checkpoints(folder, **options)
    checkpoints.resume(parts)
    while parts["values"].state_dict()["step"] < last:
        checkpoints.write(_step(parts), parts)
    checkpoints.wait()
    return parts


def _resume(folder: Path, parts: dict[str, Stateful] | None = None, **options: Any) -> int:
    """Return after which step a training goes on; 0 where it starts anew."""
    parts = parts or _make_parts()
    if not Checkpoints(folder, **options).resume(parts):
        return 0
    return int(parts["values"].state_dict()["step"])


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _flatten(state: Any) -> Iterator[Any]:
    if isinstance(state, dict | list | tuple):
        for member in state.values() if isinstance(state, dict) else state:
            yield from _flatten(member)
    else:
        yield state.tolist() if isinstance(state, torch.Tensor) else state


def _states(parts: dict[str, Stateful]) -> list[Any]:
    return [list(_flatten(part.state_dict())) for part in parts.values()]


def _draw() -> list[float]:
    return [random.random(), float(np.random.randn()), torch.rand(1).item()]


def _damage_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _cut_the_beginning(path: Path) -> None:
    path.write_bytes(path.read_bytes()[1:])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _change_the_version(path: Path) -> None:
    content = path.read_bytes()
    assert b"\nforce checkpoint 4 " in content
    path.write_bytes(content.replace(b"\nforce checkpoint 4 ", b"\nforce checkpoint 9 "))


def _put_weights_of_others(path: Path) -> None:
    torch.save(nn.Linear(3, 2).state_dict(), path)


DAMAGES = [_damage_a_bit, _truncate, _cut_the_beginning, _empty, _change_the_version, _put_weights_of_others]


def test_training_goes_on_to_the_bit_when_it_is_resumed(tmp_path: Path) -> None:
    whole = _train(tmp_path / "whole", 6)
    _train(tmp_path / "parts", 2)
    _train(tmp_path / "parts", 5)
    assert _states(_train(tmp_path / "parts", 6)) == _states(whole)


def test_every_generator_goes_on_where_it_was_when_training_is_resumed(tmp_path: Path) -> None:
    parts = _make_parts()
    np.random.randn()  # numpy keeps the second of two normal numbers for the next call
    _train(tmp_path, 1, parts)
    expected = _draw()
    _draw()
    assert _resume(tmp_path) == 1
    assert _draw() == expected


def test_writing_draws_from_no_generator(tmp_path: Path) -> None:
    draws = []
    for write in (False, True):
        parts, checkpoints = _make_parts(), Checkpoints(tmp_path / str(write))
        checkpoints.resume(parts)
        if write:
            checkpoints.write(1, parts)
        draws.append(_draw())
    assert draws[0] == draws[1]


def test_line_says_after_which_step_and_from_which_file_training_is_resumed(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    _train(tmp_path, 7)
    assert log.messages == []
    assert _resume(tmp_path) == 7
    assert log.messages == ["resumed after step 7 from fit-1-step-7.pt"]


def test_line_says_so_when_the_machine_is_another(
    tmp_path: Path, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(tmp_path, 1)
    monkeypatch.setattr(torch, "__version__", "0.1")
    assert _resume(tmp_path) == 1
    assert log.messages[1].endswith(": the last bits may differ from those of one machine")
    assert "and resumed by torch 0.1 on " in log.messages[1]


def test_line_says_so_again_when_training_is_resumed_a_second_time(
    tmp_path: Path, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(tmp_path, 1)
    monkeypatch.setattr(torch, "__version__", "0.1")
    _train(tmp_path, 2)
    log.clear()
    assert _resume(tmp_path) == 2
    assert [message.endswith("from those of one machine") for message in log.messages] == [False, True]


def test_file_holds_tensors_and_plain_types_alone(tmp_path: Path) -> None:
    _train(tmp_path, 1)
    state = torch.load(tmp_path / "fit-1-step-1.pt", weights_only=True)
    assert state["step"] == 1
    assert state["parts"]["model"]["weight"].shape == (2, 3)


def test_two_generations_are_kept(tmp_path: Path) -> None:
    for last in (1, 2, 3, 10, 11):  # the tenth comes after the ninth
        _train(tmp_path, last)
        assert _names(tmp_path) == sorted(f"fit-1-step-{step}.pt" for step in (last - 1, last) if step)


@pytest.mark.parametrize("damage", DAMAGES)
def test_previous_file_is_used_when_the_newest_is_damaged(
    tmp_path: Path, log: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    whole = _train(tmp_path / "whole", 5)
    _train(tmp_path / "parts", 4)
    damage(tmp_path / "parts" / "fit-1-step-4.pt")
    parts = _train(tmp_path / "parts", 5)
    assert log.messages == [
        "fit-1-step-4.pt is not used: it is truncated, damaged or of another format",
        "resumed after step 3 from fit-1-step-3.pt",
    ]
    assert _states(parts) == _states(whole)
    assert _resume(tmp_path / "parts") == 5


def test_previous_file_is_kept_when_it_was_the_one_that_could_be_used(tmp_path: Path) -> None:
    _train(tmp_path, 3)
    (tmp_path / "fit-1-step-70.pt").write_bytes(b"of another world")
    _train(tmp_path, 4)
    assert _names(tmp_path) == ["fit-1-step-3.pt", "fit-1-step-4.pt"]


def test_training_starts_anew_when_all_files_are_damaged(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    _train(tmp_path, 4)
    for path in tmp_path.iterdir():
        _damage_a_bit(path)
    parts = _make_parts()
    before = _states(parts)
    assert _resume(tmp_path, parts) == 0
    assert _states(parts) == before
    assert log.messages[-1] == "no checkpoint can be used: training starts anew"
    assert _names(tmp_path) == []


def test_nothing_is_said_when_there_is_no_file(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    assert _resume(tmp_path / "a" / "b") == 0
    assert log.messages == []


def test_file_is_not_used_when_code_would_come_out_of_it(
    tmp_path: Path, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("common.checkpoint.get_unsafe_globals_in_checkpoint", lambda path: [])
        _train(tmp_path, 1, _make_parts(queue=deque([1])))
    assert _names(tmp_path) == ["fit-1-step-1.pt"]
    assert _resume(tmp_path) == 0
    assert log.messages[0] == "fit-1-step-1.pt is not used: it holds more than tensors and plain types"


@pytest.mark.parametrize(
    ("layer", "difference"),
    [
        (OtherLinear(3, 2), "the model is Linear, not OtherLinear"),
        (nn.Linear(4, 2), "weight is torch.float32 [2, 3], not torch.float32 [2, 4]"),
        (nn.Linear(3, 2, dtype=torch.float64), "weight is torch.float32 [2, 3], not torch.float64 [2, 3]"),
        (nn.Linear(3, 2, bias=False), "bias is torch.float32 [2], not None"),
        (nn.Sequential(nn.Linear(3, 2)), "the model is Linear, not Sequential"),
    ],
)
def test_file_is_not_used_when_it_is_of_another_model(
    tmp_path: Path, log: pytest.LogCaptureFixture, layer: nn.Module, difference: str
) -> None:
    _train(tmp_path, 2)
    assert _resume(tmp_path, _make_parts(layer)) == 0
    assert log.messages[0] == f"fit-1-step-2.pt is not used: it is of another training: {difference}"
    assert log.messages[-1] == "no checkpoint can be used: training starts anew"
    assert _names(tmp_path) == []


@pytest.mark.parametrize(
    ("train", "difference"),
    [
        ({"optimizer": {"name": "SGD", "lr": 0.01}}, "train.optimizer.lr is 0.003, not 0.01"),
        ({"optimizer": {"name": "SGD", "lr": 0.003, "momentum": 0.9}}, "train.optimizer.momentum is None, not 0.9"),
        ({"optimizer": {"name": "SGD"}}, "train.optimizer.lr is 0.003, not None"),
        ({"optimizer": {"name": "SGD", "lr": 0.003}, "accumulate": 2}, "train.accumulate is None, not 2"),
    ],
)
def test_file_is_not_used_when_params_differ(
    tmp_path: Path, log: pytest.LogCaptureFixture, train: dict[str, Any], difference: str
) -> None:
    params = {"train": {"optimizer": {"name": "SGD", "lr": 0.003}}, "loader": {"sizes": [1, 2]}}
    _train(tmp_path, 2, params=params)
    assert _resume(tmp_path, params={**params, "train": train}) == 0
    assert log.messages[0] == f"fit-1-step-2.pt is not used: it is of another training: {difference}"
    assert _names(tmp_path) == []


def test_file_is_used_when_params_are_equal(tmp_path: Path) -> None:
    params = {"train": {"optimizer": {"name": "SGD", "lr": 0.003}}, "loader": {"sizes": [1, 2]}}
    _train(tmp_path, 2, params=params)
    assert _resume(tmp_path, params={**params, "loader": {"sizes": [1, 2]}}) == 2


def test_files_of_a_finished_training_stay_until_the_next_one_which_starts_anew(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    _train(tmp_path, 9)
    Checkpoints(tmp_path / "other").finish()
    (tmp_path / "other" / "finished").rename(tmp_path / "finished")
    assert _names(tmp_path) == ["finished", "fit-1-step-8.pt", "fit-1-step-9.pt", "other"]
    _train(tmp_path, 2)
    assert log.messages == ["an earlier training is finished: training starts anew"]
    assert _names(tmp_path) == ["fit-1-step-1.pt", "fit-1-step-2.pt", "other"]
    assert _resume(tmp_path) == 2


def test_half_a_file_of_a_killed_process_is_deleted(tmp_path: Path) -> None:
    _train(tmp_path, 2)
    half = tmp_path / "fit-1-step-3.tmp"
    half.write_bytes((tmp_path / "fit-1-step-2.pt").read_bytes()[:100])
    assert _resume(tmp_path) == 2
    assert _names(tmp_path) == ["fit-1-step-1.pt", "fit-1-step-2.pt"]


def test_files_that_are_not_ours_stay_when_training_starts_anew(tmp_path: Path) -> None:
    _train(tmp_path, 1)
    Checkpoints(tmp_path).finish()
    for name in ("notes.txt", "fit-1-step-x.pt"):
        (tmp_path / name).write_text("mine")
    assert _resume(tmp_path) == 0
    assert _names(tmp_path) == ["fit-1-step-x.pt", "notes.txt"]


def test_training_goes_on_and_the_last_file_stays_when_the_disk_is_full(
    tmp_path: Path, log: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    parts, checkpoints = _make_parts(), Checkpoints(tmp_path)
    checkpoints.resume(parts)
    checkpoints.write(_step(parts), parts)
    checkpoints.wait()
    request.getfixturevalue("small_files")
    checkpoints.write(_step(parts), parts)
    checkpoints.wait()
    assert len(log.messages) == 1
    assert log.messages[0].startswith("step 2 has no checkpoint: the file cannot be written, is the disk full?")
    assert _names(tmp_path) == ["fit-1-step-1.pt"]
    assert _resume(tmp_path) == 1


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (deque([1]), "the state holds collections.deque, no tensor or plain type"),
        (nn.ReLU(), "the state holds torch.nn.modules.activation.ReLU, no tensor or plain type"),
        (lambda: 1, "the state cannot be written: "),
        ((letter for letter in "abc"), "the state cannot be written: cannot pickle 'generator' object"),
    ],
)
def test_training_goes_on_when_a_part_holds_what_cannot_be_kept(
    tmp_path: Path, log: pytest.LogCaptureFixture, value: Any, reason: str
) -> None:
    _train(tmp_path, 1, _make_parts(value=value))
    assert log.messages[0].startswith(f"step 1 has no checkpoint: {reason}")
    assert _names(tmp_path) == []


def test_numbers_of_numpy_come_back_as_pythons(tmp_path: Path) -> None:
    third = np.float64(1) / 3
    _train(tmp_path, 1, _make_parts(rate=third, rates=[third, (np.int64(7),)], ordered=OrderedDict(a=1)))
    parts = _make_parts()
    assert _resume(tmp_path, parts) == 1
    assert parts["values"].state_dict() == {
        "step": 1,
        "rate": 1 / 3,
        "rates": [1 / 3, (7,)],
        "ordered": OrderedDict(a=1),
    }


def test_each_fit_of_a_training_has_its_own_files(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    for last in (1, 2):
        checkpoints, first = Checkpoints(tmp_path), _make_parts()
        assert checkpoints.resume(first) == (last == 2)
        while first["values"].state_dict()["step"] < 3:
            checkpoints.write(_step(first), first)
        second = _make_parts()
        assert checkpoints.resume(second) == (last == 2)
        checkpoints.write(_step(second), second)
        checkpoints.wait()
    assert _names(tmp_path) == [f"fit-{name}.pt" for name in ("1-step-2", "1-step-3", "2-step-1", "2-step-2")]
    assert log.messages[-1] == "resumed after step 1 from fit-2-step-1.pt"


def test_time_of_all_processes_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("common.checkpoint.time", SimpleNamespace(perf_counter=lambda: now))
    resumed = []
    for step, start, end in ((1, 10.0, 15.0), (2, 100.0, 103.0), (3, 7.0, 8.0)):
        now = start
        checkpoints = Checkpoints(tmp_path)
        checkpoints.resume(_make_parts())
        resumed.append(checkpoints.resumed_s)
        now = end
        checkpoints.write(step, _make_parts())
        checkpoints.wait()
    assert resumed == [0.0, 5.0, 8.0]


def test_file_is_due_when_so_many_minutes_have_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("common.checkpoint.time", SimpleNamespace(perf_counter=lambda: now))
    parts, due = _make_parts(), []
    checkpoints, never = Checkpoints(tmp_path, minutes=2.0), Checkpoints(tmp_path / "never")
    checkpoints.resume(parts)
    for seconds in (0, 119, 1, 60, 59, 1):
        now += seconds
        due.append(checkpoints.is_due())
        if due[-1]:
            checkpoints.write(_step(parts), parts)
        assert not never.is_due()
    checkpoints.wait()
    assert due == [False, False, True, False, False, True]


class Slow(Values):
    """Is written only when it may be."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.may_write, self.begun = threading.Event(), threading.Event()

    def hold(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the thread that writes wait."""
        save = torch.save

        def save_later(state: Any, path: Path) -> None:
            self.begun.set()
            assert self.may_write.wait(60)
            save(state, path)

        monkeypatch.setattr(torch, "save", save_later)


def test_file_holds_the_state_of_its_step_though_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, checkpoints = _make_parts(), Checkpoints(tmp_path)
    slow = Slow(
        step=0,
        tensor=torch.zeros(3),
        list=[1, [2]],
        nested={"a": {"b": torch.zeros(1)}},
        pair=(torch.zeros(2), [3]),
        bytes=bytearray(b"abc"),
        letters={"a"},
        counter=Counter(a=1),
        ordered=OrderedDict(a=[1]),
    )
    slow.hold(monkeypatch)
    parts["values"] = slow
    checkpoints.resume(parts)
    _step(parts)
    expected = copy.deepcopy(_states(parts))
    checkpoints.write(1, parts)
    assert slow.begun.wait(60)
    _step(parts)
    values = slow.values
    for tensor in (values["tensor"], values["nested"]["a"]["b"], values["pair"][0]):
        tensor += 1
    for members in (values["list"], values["list"][1], values["pair"][1], values["bytes"], values["ordered"]["a"]):
        members.append(7)
    values["letters"].add("b")
    values["counter"]["a"] += 1
    slow.may_write.set()
    checkpoints.wait()
    again = _make_parts()
    assert _resume(tmp_path, again) == 1
    assert _states(again) == expected


def test_kept_state_is_written_without_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(weight=torch.zeros(3))
    slow = Slow(step=0, best=kept)
    slow.hold(monkeypatch)
    parts, checkpoints = {**_make_parts(), "values": slow}, Checkpoints(tmp_path)
    checkpoints.resume(parts)
    checkpoints.write(1, parts)
    assert slow.begun.wait(60)
    kept["weight"] += 1  # which nobody does
    slow.may_write.set()
    checkpoints.wait()
    again = _make_parts()
    assert Checkpoints(tmp_path).resume(again)
    assert again["values"].state_dict()["best"]["weight"].tolist() == [1, 1, 1]


def test_next_file_waits_for_the_one_before(tmp_path: Path) -> None:
    parts, checkpoints = _make_parts(large=torch.rand(2**20)), Checkpoints(tmp_path)
    checkpoints.resume(parts)
    for _ in range(4):
        checkpoints.write(_step(parts), parts)
    checkpoints.finish()
    assert _names(tmp_path) == ["finished", "fit-1-step-3.pt", "fit-1-step-4.pt"]


def _write_forever(begin: Callable[[], None], folder: Path) -> None:
    parts, checkpoints = _make_parts(large=torch.rand(2**18)), Checkpoints(folder)
    checkpoints.resume(parts)
    checkpoints.write(_step(parts), parts)
    checkpoints.wait()  # or a slow disk leaves nothing to resume from
    begin()
    while True:
        checkpoints.write(_step(parts), parts)


@pytest.mark.slow
def test_nothing_is_torn_when_the_process_dies_while_it_writes(tmp_path: Path) -> None:
    seed, num_torn, last = random.SystemRandom().randrange(2**32), 0, 0
    print("seed", seed)
    generator = random.Random(seed)
    for _ in range(15):
        child = Child(_write_forever, tmp_path)
        child.wait_until_begun()
        assert child.kill_after(generator.uniform(0, 0.2))
        num_torn += any(path.suffix == ".tmp" for path in tmp_path.iterdir())
        assert _resume(tmp_path) >= last
        last = _resume(tmp_path)
        assert 1 <= len(_names(tmp_path)) <= 3  # a process may die before it deletes the oldest
    assert last
    assert num_torn


def test_training_is_done_when_its_folder_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "states"
    checkpoints = Checkpoints(folder)
    folder.rmdir()
    checkpoints.finish()
    assert caplog.messages[0].startswith("the training is not marked as finished, and would be resumed: ")
