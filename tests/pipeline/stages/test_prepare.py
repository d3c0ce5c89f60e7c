"""The stage `prepare`: where its data are while it runs, and what it says of itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from common.dataset import read_dataset
from common.sources.sql import Sql
from pipeline.bars import describe_progress, read_progress
from pipeline.stages import prepare
from pipeline.stages.prepare import ProgressReport
from pipeline.stages.task import Task


def make_task(folder: Path, **fields: Any) -> Task:
    """Return a task that prepares the digits."""
    for name in ("target", "kept"):
        (folder / name).mkdir()
    return Task(
        stage="prepare",
        root=str(folder),
        target=str(folder / "target"),
        inputs={},
        components={"data": ["common.data", "DataModule"]},
        params={"data": {"source": {"name": "digits"}}},
        **{"checkpoint_dir": str(folder / "kept"), "experiment": "x", **fields},
    )


def test_data_are_left_where_they_outlive_the_stage(tmp_path: Path) -> None:
    assert prepare.run(make_task(tmp_path)) == {"num_samples": 1797}
    assert len(read_dataset(tmp_path / "kept/data").train) > 1000
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["progress.json"]


def test_data_are_left_in_the_target_when_no_state_is_kept(tmp_path: Path) -> None:
    prepare.run(make_task(tmp_path, checkpoint_dir=""))
    assert len(read_dataset(tmp_path / "target/data").train) > 1000


def test_data_are_left_in_the_target_when_the_source_may_say_something_else_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not Sql.repeats
    monkeypatch.setattr("common.sources.digits.Digits.repeats", False)
    prepare.run(make_task(tmp_path))
    assert (tmp_path / "target/data/metadata.json").exists()
    assert not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize(("minutes", "period"), [(10, 5.0), (None, 5.0), (0.01, 0.6)])
def test_state_is_kept_every_few_seconds_or_more_often(tmp_path: Path, minutes: float | None, period: float) -> None:
    task = make_task(tmp_path, monitoring={"checkpoint_minutes": minutes})
    assert prepare._find_period(task) == pytest.approx(period)


@pytest.mark.parametrize(
    ("total", "text"),
    [(2000, "75%  1,500/2,000 samples  500 samples/s  0:00:01 left"), (None, "1,500 samples  500 samples/s")],
)
def test_progress_says_how_many_samples_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: int | None, text: str
) -> None:
    clock = iter([10.0, 10.1, 12.0])
    monkeypatch.setattr(prepare.time, "perf_counter", lambda: next(clock))
    report = ProgressReport(tmp_path / "progress.json", "x")
    report(500, total)
    report(600, total)  # too early to be told
    assert json.loads((tmp_path / "progress.json").read_text())["num_read"] == 500
    report(1500, total)
    progress = read_progress(tmp_path / "progress.json")
    assert progress
    assert describe_progress(progress) == text
