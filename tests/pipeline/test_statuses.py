"""What jobs hand on: how they ended, their results, and nothing that they have no business with."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.statuses import (
    Status,
    collect_files,
    lay_over,
    list_result_files,
    read_statuses,
    write_status,
)
from tests.checkouts import Checkout

COMMIT = "1f" * 20


def make_status(entry: str = "x", **fields: Any) -> Status:
    return Status(**{"entry": entry, "wave": 1, "targets": (entry,), "status": "ok", "commit": COMMIT, **fields})


def write_results(checkout: Checkout, experiment: str, text: str) -> None:
    """Write something into each file of an experiment's results."""
    for path in list_result_files(experiment):
        checkout.write(path, text)


def hand_on(checkout: Checkout, folder: Path, status: Status) -> Path:
    """Write what a job hands on, and return its folder."""
    write_status(status, checkout.root, folder / status.entry)
    return folder / status.entry


def test_status_is_the_same_when_it_is_read_again(checkout: Checkout, tmp_path: Path) -> None:
    status = make_status(
        entry="batch-1-001",
        wave=2,
        targets=("common:prepare", "x"),
        status="failed",
        message="train of x failed: größe",
        hint="the log is there",
        stages={"x:train": "failed", "x:evaluate": "skipped"},
        log="a\nb",
    )
    folder = hand_on(checkout, tmp_path / "results", status)
    assert read_statuses(tmp_path / "results") == [(status, folder / "files")]
    assert status.experiments == ["common", "x"]
    assert not status.is_ok


def test_results_of_the_targets_alone_are_handed_on(checkout: Checkout, tmp_path: Path) -> None:
    for name in ("common", "x", "y"):
        write_results(checkout, name, name)
    checkout.write("experiments/x/model.py", "no result")
    checkout.write("experiments/x/outputs/train/model/weights.safetensors", "no result that git keeps")
    files = hand_on(checkout, tmp_path / "results", make_status(targets=("common:prepare", "x:train", "x"))) / "files"
    found = sorted(path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file())
    assert found == [
        "common/outputs/costs.json",
        "common/outputs/evaluate/certificate.json",
        "common/outputs/evaluate/metrics.json",
        "common/outputs/evaluate/seeds.json",
        "dvc.lock",
        "dvc.yaml",
        "experiments/x/dvc.lock",
        "experiments/x/dvc.yaml",
        "experiments/x/outputs/costs.json",
        "experiments/x/outputs/evaluate/certificate.json",
        "experiments/x/outputs/evaluate/metrics.json",
        "experiments/x/outputs/evaluate/seeds.json",
    ]


def test_results_are_what_the_job_left_when_they_are_laid_over_another_checkout(
    checkout: Checkout, tmp_path: Path
) -> None:
    write_results(checkout, "x", "result")
    hand_on(checkout, tmp_path / "results", make_status())
    files = collect_files(read_statuses(tmp_path / "results"))
    other = Checkout(tmp_path / "other")
    other.write("experiments/x/dvc.lock", "earlier")
    lay_over(other.root, files)
    assert sorted(files) == sorted(list_result_files("x"))
    assert [(other.root / path).read_text() for path in files] == ["result"] * 6


def test_job_without_results_has_a_status_all_the_same(checkout: Checkout, tmp_path: Path) -> None:
    hand_on(checkout, tmp_path / "results", make_status(status="failed"))
    ((status, _),) = statuses = read_statuses(tmp_path / "results")
    assert status.status == "failed"
    assert collect_files(statuses) == {}


def test_later_wave_wins_when_two_jobs_bring_the_same_file(checkout: Checkout, tmp_path: Path) -> None:
    for entry, wave in (("a-late", 2), ("common", 3), ("common-prepare", 1)):
        checkout.write("dvc.lock", entry)
        hand_on(checkout, tmp_path / "results", make_status(entry, wave=wave, targets=("common",)))
    statuses = read_statuses(tmp_path / "results")
    assert [status.entry for status, _ in statuses] == ["common-prepare", "a-late", "common"]
    assert collect_files(statuses)["dvc.lock"].read_text() == "common"


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/x.yml",
        "experiments/y/dvc.lock",
        "experiments/x/model.py",
        "experiments/x/outputs/evaluate/notes.md",
        "pipeline/cli.py",
        "../../../escaped",
        "dvc.lock",
    ],
)
def test_file_is_left_where_it_is_when_it_is_no_result_of_the_job(
    checkout: Checkout, tmp_path: Path, path: str
) -> None:
    files = hand_on(checkout, tmp_path / "results", make_status()) / "files"
    files.mkdir()
    (files / path).parent.mkdir(parents=True, exist_ok=True)
    (files / path).write_text("smuggled")
    assert collect_files(read_statuses(tmp_path / "results")) == {}


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("version", 2, "'version'"),
        ("entry", "../x", "'entry'"),
        ("entry", "x\n", "'entry'"),
        ("wave", 0, "'wave'"),
        ("wave", "1", "'wave'"),
        ("targets", [], "'targets'"),
        ("targets", ["../x"], "'targets.0'"),
        ("targets", ["x", "x:test"], "'targets.1'"),
        ("targets", ["x\n"], "'targets.0'"),
        ("targets", "x", "'targets'"),
        ("status", "fine", "'status'"),
        ("commit", "HEAD", "'commit'"),
        ("stages", {"x:train": 1}, "'stages.x:train'"),
        ("stages", {"../x:train": "done"}, "'stages'"),
        ("secret", "x", "unknown key 'secret'"),
    ],
)
def test_status_is_refused_when_no_job_of_ours_wrote_it(
    checkout: Checkout, tmp_path: Path, field: str, value: Any, fault: str
) -> None:
    path = hand_on(checkout, tmp_path / "results", make_status()) / "status.json"
    hand_on(checkout, tmp_path / "results", make_status("sound"))
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    statuses = read_statuses(tmp_path / "results")
    assert [status.entry for status, _ in statuses] == ["x", "sound"]
    assert statuses[0][0].message.startswith(f"left no sound status.json: {fault}")
    assert not statuses[0][0].is_ok
    assert collect_files(statuses[:1]) == {}


@pytest.mark.parametrize("text", ["", "{", "null", "[]"])
def test_status_is_refused_when_it_is_no_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x/status.json"
    path.parent.mkdir()
    path.write_text(text)
    ((status, _),) = read_statuses(tmp_path)
    assert (status.entry, status.status, status.targets) == ("x", "failed", ())
    assert status.message.startswith("left no sound status.json: ")


def test_there_are_no_statuses_when_no_job_left_any(tmp_path: Path) -> None:
    assert read_statuses(tmp_path) == []
    assert read_statuses(tmp_path / "nowhere") == []


def test_results_that_were_to_be_had_elsewhere_give_way_to_those_of_the_job_whose_they_were(
    checkout: Checkout, tmp_path: Path
) -> None:
    write_results(checkout, "common", "in passing")
    passing = make_status("x", wave=2, stages={"common:train": "done", "x:train": "done", "y:train": "up to date"})
    hand_on(checkout, tmp_path, passing)
    assert passing.bystanders == ["common"]
    alone = collect_files(read_statuses(tmp_path))
    assert {path.read_text() for path in alone.values()} == {"in passing"}
    write_results(checkout, "common", "own")
    hand_on(checkout, tmp_path, make_status("common"))
    both = collect_files(read_statuses(tmp_path))
    assert {path.read_text() for path in both.values()} == {"own"}


@pytest.mark.parametrize(
    ("status", "stages", "missing"),
    [
        ("ok", {"x:train": "done"}, []),
        ("failed", {"x:prepare": "done", "x:train": "failed"}, ["x:train"]),
        ("failed", {}, ["x"]),
    ],
)
def test_what_is_missing_are_the_stages_that_failed(status: str, stages: dict[str, str], missing: list[str]) -> None:
    assert make_status(status=status, stages=stages).failed_stages == missing
