"""Loggers: one that fails is dropped, but for the history, which is a result."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from common.loggers import History, Loggers


class Listener:
    """A logger that keeps what it hears, and fails at one call."""

    def __init__(self, fails_at: str = "") -> None:
        self.heard: list[Any] = []
        self._fails_at = fails_at

    def _hear(self, call: str, *values: Any) -> None:
        if call == self._fails_at:
            raise OSError("the server is gone\nmore of it")
        self.heard.append((call, *values))

    def start(self, facts: Mapping[str, Any]) -> None:
        self._hear("start", facts)

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        self._hear("log_step", step, values)

    def log_epoch(self, row: Mapping[str, float]) -> None:
        self._hear("log_epoch", row)

    def finish(self, status: str) -> None:
        self._hear("finish", status)


def tell_all(loggers: Loggers) -> None:
    """Tell of a training of two epochs."""
    loggers.start({"experiment": "x"})
    for epoch in (1, 2):
        loggers.log_step(epoch * 10, {"train_loss": 0.5})
        loggers.log_epoch({"epoch": epoch, "train_loss": 0.25})
    loggers.finish("finished")


HEARD = [
    ("start", {"experiment": "x"}),
    ("log_step", 10, {"train_loss": 0.5}),
    ("log_epoch", {"epoch": 1, "train_loss": 0.25}),
    ("log_step", 20, {"train_loss": 0.5}),
    ("log_epoch", {"epoch": 2, "train_loss": 0.25}),
    ("finish", "finished"),
]


def test_all_hear_everything(caplog: pytest.LogCaptureFixture) -> None:
    listeners = [Listener(), Listener()]
    tell_all(Loggers(listeners))
    assert [listener.heard for listener in listeners] == [HEARD, HEARD]
    assert caplog.messages == []


@pytest.mark.parametrize(("call", "num_heard"), [("start", 0), ("log_step", 1), ("log_epoch", 2), ("finish", 5)])
def test_logger_is_dropped_with_one_warning_when_it_fails(
    caplog: pytest.LogCaptureFixture, call: str, num_heard: int
) -> None:
    failing, other = Listener(call), Listener()
    tell_all(Loggers([failing, other]))
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, "Listener hears no more: OSError: the server is gone")
    ]
    assert len(failing.heard) == num_heard
    assert other.heard == HEARD


def test_training_ends_when_its_history_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    loggers = Loggers([History(folder)])
    (folder / "history.jsonl").unlink()
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        loggers.log_epoch({"epoch": 1})


def test_history_is_on_disk_after_each_row(tmp_path: Path) -> None:
    history = History(tmp_path)
    assert (tmp_path / "history.jsonl").read_text() == ""
    for epoch in (1, 2):
        history.log_epoch({"epoch": epoch, "loss": 0.5})
        lines = (tmp_path / "history.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == list(range(1, epoch + 1))


def test_history_has_each_row_once_when_a_process_was_killed_in_the_same_folder(tmp_path: Path) -> None:
    History(tmp_path).log_epoch({"epoch": 1})
    resumed = History(tmp_path)
    for epoch in (1, 2):
        resumed.log_epoch({"epoch": epoch})
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_history_says_nothing_of_steps(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.start({"experiment": "x"})
    history.log_step(3, {"train_loss": 0.5})
    assert (history.rows, (tmp_path / "history.jsonl").read_text()) == ([], "")


def test_table_has_a_column_for_each_key_when_rows_differ(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.log_epoch({"epoch": 1, "loss": 0.5})
    history.log_epoch({"epoch": 2, "loss": 0.25, "rate": 0.1})
    history.finish("finished")
    assert (tmp_path / "history.csv").read_text() == "epoch,loss,rate\n1,0.5,\n2,0.25,0.1\n"


def test_only_the_history_hears_of_the_end_when_nothing_began(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener()
    Loggers([History(tmp_path), listener]).finish("failed")
    assert (listener.heard, caplog.messages) == ([], [])
    assert (tmp_path / "history.csv").exists()
