"""What is told of stages that run, from the files that they write."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline.pages.live import History, LiveReader, read_log
from pipeline.workspace import OUTCOME, TASK, Workspace, write_json
from tests.checkouts import ROOT

PROGRESS = {
    "version": 1,
    "experiment": "x",
    "status": "running",
    "started_at": "2026-01-05T10:00:00+00:00",
    "updated_at": "2026-01-05T10:01:00+00:00",
    "epoch": 2,
    "num_epochs": 4,
    "fraction": 0.5,
    "metrics": {"train_loss": 0.25},
}
# A process that works on a stage until it is killed.
WORKER = """
import sys
from itertools import pairwise
from pathlib import Path
from pipeline.workspace import TASK, Workspace, write_json
space = Workspace(Path(sys.argv[1]), "train")
space.start()
with space.hold():
    write_json(space.partial / TASK, {})
    space.log_path.write_text("the last words\\n")
    print("working", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """Where the training of `x` works."""
    return Workspace(tmp_path / "experiments/x", "train")


@contextmanager
def work(space: Workspace) -> Iterator[None]:
    """Work on a stage as long as the block runs."""
    space.start()
    with space.hold():
        write_json(space.partial / TASK, {})
        yield


def leave_outcome(space: Workspace, status: str, **reason: str) -> None:
    """Leave how a stage ended, another time than any before."""
    described = {"type": "ValueError", "message": "too deep", "place": "", **reason} if status != "ok" else None
    started_at = "2026-01-05T10:00:00+00:00"
    outcome = {"version": 1, "experiment": "x", "stage": space.stage, "status": status, "reason": described}
    write_json(space.final / OUTCOME, {**outcome, "started_at": started_at, "wall_time_s": 12.5})


def list_values(entry: dict[str, Any], name: str) -> list[tuple[float, float]]:
    """Return the points of a curve."""
    spec = dict(entry["curves"])[name]
    return [(row["epoch"], row["value"]) for row in spec["data"]["values"]]


def add_rows(space: Workspace, text: str) -> None:
    """Append to the history of a training."""
    with (space.partial / "history.jsonl").open("a") as file:
        file.write(text)


def test_nothing_runs_where_there_are_no_experiments(tmp_path: Path) -> None:
    assert LiveReader(tmp_path / "gone").read() == {"running": [], "ended": []}
    assert LiveReader(tmp_path).read() == {"running": [], "ended": []}


def test_a_stage_that_runs_is_shown_with_how_far_it_is(tmp_path: Path, space: Workspace) -> None:
    reader = LiveReader(tmp_path)
    with work(space):
        write_json(space.progress_path, PROGRESS)
        space.log_path.write_text("epoch 1\nepoch 2\n")
        add_rows(space, '{"epoch": 1, "train_loss": 2.0}\n{"epoch": 2, "train_loss": 0.5, "valid_loss": 1}\n')
        found = reader.read()
        (entry,) = found["running"]
    assert found["ended"] == []
    assert (entry["experiment"], entry["stage"], entry["state"]) == ("x", "train", "running")
    assert (entry["fraction"], entry["text"]) == (0.5, "50%  epoch 2/4  loss 0.25")
    assert entry["log"] == "epoch 1\nepoch 2"
    assert entry["seconds"] >= 0
    assert list_values(entry, "train_loss") == [(1, 2.0), (2, 0.5)]
    assert list_values(entry, "valid_loss") == [(2, 1)]
    json.dumps(found, allow_nan=False)


def test_a_stage_that_has_only_begun_is_shown_too(tmp_path: Path) -> None:
    with work(Workspace(tmp_path / "common", "evaluate")):
        (entry,) = LiveReader(tmp_path).read()["running"]
    assert (entry["experiment"], entry["stage"]) == ("common", "evaluate")
    assert (entry["fraction"], entry["text"], entry["curves"], entry["log"]) == (None, "", [], "")


def test_a_stage_whose_process_is_killed_has_died(tmp_path: Path, space: Workspace) -> None:
    reader = LiveReader(tmp_path)
    command = [sys.executable, "-P", "-c", WORKER, str(tmp_path / "experiments/x")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout
        assert worker.stdout.readline() == "working\n"
        assert [entry["state"] for entry in reader.read()["running"]] == ["running"]
        worker.kill()
    found = reader.read()
    (entry,) = found["ended"]
    assert found["running"] == []
    assert (entry["state"], entry["log"]) == ("died", "the last words")
    assert entry["reason"].startswith("its process is gone")
    with work(space):  # it is begun again
        found = reader.read()
        assert (len(found["running"]), found["ended"]) == (1, [])


def test_a_stage_that_is_being_published_has_not_died(
    tmp_path: Path, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = LiveReader(tmp_path)

    def finish(self: Workspace) -> bool:
        (self.partial / TASK).unlink(missing_ok=True)
        return False

    with work(space):
        monkeypatch.setattr(Workspace, "is_held", finish)
        assert reader.read() == {"running": [], "ended": []}


@pytest.mark.parametrize("status", ["ok", "failed", "interrupted"])
def test_a_stage_that_ended_is_told_with_its_reason(tmp_path: Path, space: Workspace, status: str) -> None:
    leave_outcome(space, "failed", message="long ago")
    reader = LiveReader(tmp_path)
    assert reader.read()["ended"] == []
    with work(space):
        assert len(reader.read()["running"]) == 1
        shutil.rmtree(space.partial)
        leave_outcome(space, status, place="experiments/x/model.py:3")
        (space.final / "train.log").write_text("a log\n")
        if status != "ok":
            space.failed_log_path.write_text("what went wrong\n")
    found = reader.read()
    (entry,) = found["ended"]
    assert found["running"] == []
    assert (entry["experiment"], entry["stage"], entry["state"], entry["seconds"]) == ("x", "train", status, 12.5)
    assert entry["reason"] == ("" if status == "ok" else "experiments/x/model.py:3: ValueError: too deep")
    assert entry["log"] == ("a log" if status == "ok" else "what went wrong")
    assert reader.read() == found


def test_a_stage_that_began_and_ended_unseen_is_told_until_it_runs_again(tmp_path: Path, space: Workspace) -> None:
    reader = LiveReader(tmp_path)
    leave_outcome(space, "ok")
    assert [entry["state"] for entry in reader.read()["ended"]] == ["ok"]
    with work(space):
        assert reader.read()["ended"] == []


def test_an_outcome_that_was_put_aside_and_back_is_no_end(tmp_path: Path, space: Workspace) -> None:
    leave_outcome(space, "ok")
    reader = LiveReader(tmp_path)
    space.set_aside()
    assert reader.read()["ended"] == []
    space.bring_back()
    assert reader.read()["ended"] == []


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1}', "[" * 100_000, "\udcff"])
def test_a_damaged_outcome_is_not_told(tmp_path: Path, space: Workspace, text: str) -> None:
    reader = LiveReader(tmp_path)
    space.final.mkdir(parents=True)
    (space.final / OUTCOME).write_text(text, errors="surrogateescape")
    assert reader.read()["ended"] == []


def test_an_experiment_may_vanish_while_it_runs(tmp_path: Path, space: Workspace) -> None:
    reader = LiveReader(tmp_path)
    with work(space):
        assert len(reader.read()["running"]) == 1
        shutil.rmtree(tmp_path / "experiments")
        assert reader.read() == {"running": [], "ended": []}


def test_what_a_killed_process_left_half_written_does_no_harm(tmp_path: Path, space: Workspace) -> None:
    reader = LiveReader(tmp_path)
    with work(space):
        space.progress_path.write_text('{"fraction": 0.')
        add_rows(space, '{"epoch": 1, "train_loss": 2.0}\nnonsense\n[]\n{"epoch": 2, "train_loss": NaN}\n{"epo')
        (entry,) = reader.read()["running"]
        assert (entry["fraction"], list_values(entry, "train_loss")) == (None, [(1, 2.0)])
        add_rows(space, 'ch": 3, "train_loss": 0.5}\n')
        (entry,) = reader.read()["running"]
        assert list_values(entry, "train_loss") == [(1, 2.0), (3, 0.5)]


def test_curves_begin_anew_with_the_training(tmp_path: Path, space: Workspace) -> None:
    reader = LiveReader(tmp_path)
    with work(space):
        add_rows(space, '{"epoch": 1, "train_loss": 2.0}\n{"epoch": 2, "train_loss": 1.0}\n')
        assert list_values(reader.read()["running"][0], "train_loss") == [(1, 2.0), (2, 1.0)]
        (space.partial / "history.jsonl").write_text('{"epoch": 1, "train_loss": 3.0}\n')  # one of several was killed
        assert list_values(reader.read()["running"][0], "train_loss") == [(1, 3.0)]
    with work(space):
        assert reader.read()["running"][0]["curves"] == []


def test_of_a_long_history_as_much_is_kept_as_a_chart_can_show(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.touch()
    history = History(path, (0, 0))
    for start in range(0, 10_000, 777):
        with path.open("a") as file:
            file.writelines(f'{{"epoch": {epoch}}}\n' for epoch in range(start, min(start + 777, 10_000)))
        epochs = [row["epoch"] for row in history.read()]
        assert (epochs[0], epochs[-1]) == (0, min(start + 776, 9_999))
        assert len(epochs) <= 302
        assert len({after - before for before, after in pairwise(epochs[:-1])}) == 1
    assert len(epochs) >= 150


def test_only_the_end_of_a_great_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    with path.open("wb") as file:
        file.truncate(100_000_000)
        file.seek(0, os.SEEK_END)
        file.write(b"x" * 50_000 + b"\nthe end\n")
    text = read_log(path)
    assert text.endswith("x\nthe end")
    assert len(text) <= 16_000


def test_a_log_is_shown_as_it_stands_on_a_screen_and_steers_nothing(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_bytes(b"10%\r20%\r30%\n\x1b[31m<b>\xff\xe2\x80\xae</b>\r\n\n")
    assert read_log(path) == "30%\n\\x1b[31m<b>\ufffd\\u202e</b>"


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_no_link_is_followed_and_no_pipe_waited_for(tmp_path: Path, space: Workspace, kind: str) -> None:
    (tmp_path / "secret").write_text('{"epoch": 1, "train_loss": 2.0}\n')
    with work(space):
        for path in (space.log_path, space.progress_path, space.partial / "history.jsonl"):
            {"pipe": os.mkfifo, "link": lambda p: p.symlink_to(tmp_path / "secret"), "folder": Path.mkdir}[kind](path)
        (entry,) = LiveReader(tmp_path).read()["running"]
    assert (entry["fraction"], entry["curves"], entry["log"]) == (None, [], "")


def test_only_the_last_ends_are_told(tmp_path: Path) -> None:
    reader = LiveReader(tmp_path)
    for number in range(30):
        leave_outcome(Workspace(tmp_path / f"experiments/x{number}", "train"), "ok")
        os.utime(tmp_path / f"experiments/x{number}/outputs/train" / OUTCOME, (number, number))
    ended = reader.read()["ended"]
    assert [entry["experiment"] for entry in ended[:2]] == ["x29", "x28"]
    assert len(ended) == 20
