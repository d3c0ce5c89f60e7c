"""Where a stage's files stand: results appear whole, and nothing that was there is lost on the way."""

import os
from pathlib import Path

import pytest

from pipeline.workspace import LOCK, TASK, Workspace, open_regular, read_end, read_json, write_json


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """The folders of a stage that has run once."""
    space = Workspace(tmp_path, "train")
    space.final.mkdir(parents=True)
    (space.final / "model").mkdir()
    (space.final / "model" / "weights").write_text("old")
    (space.final / "run.json").write_text("old")
    return space


def list_files(folder: Path) -> dict[str, str]:
    """Return relative path → text of every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


OLD = {"train/model/weights": "old", "train/run.json": "old"}


def test_partial_folder_is_empty_when_a_killed_run_left_one(workspace: Workspace) -> None:
    workspace.partial.mkdir()
    (workspace.partial / "rest").write_text("of a killed run")
    workspace.start()
    assert list(workspace.partial.iterdir()) == []
    assert list_files(workspace.final.parent) == OLD


def test_others_see_whether_somebody_works_in_the_partial_folder(workspace: Workspace) -> None:
    assert not workspace.is_held()
    workspace.start()
    assert not workspace.is_held()
    with workspace.hold():
        assert Workspace(workspace.final.parents[1], "train").is_held()
    assert not workspace.is_held()
    assert list_files(workspace.partial) == {LOCK: ""}


def test_nobody_waits_for_what_stands_in_the_place_of_the_lock(workspace: Workspace, tmp_path: Path) -> None:
    workspace.start()
    (workspace.partial / LOCK).symlink_to(tmp_path / "elsewhere")
    assert not workspace.is_held()
    (workspace.partial / LOCK).unlink()
    (workspace.partial / LOCK).mkdir()
    with workspace.hold():  # the stage runs all the same
        assert not workspace.is_held()


def test_the_lock_goes_after_the_task(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    deleted: list[str] = []
    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda path, *args, **options: (deleted.append(path.name), unlink(path))[1])
    workspace.start()
    with workspace.hold():
        write_json(workspace.partial / TASK, {})
        workspace.discard()
    assert deleted == [TASK]


@pytest.mark.parametrize(("max_bytes", "expected"), [(3, b"end"), (100, b"the end")])
def test_the_end_of_a_file_is_read(tmp_path: Path, max_bytes: int, expected: bytes) -> None:
    path = tmp_path / "log"
    path.write_text("the end")
    assert read_end(path, max_bytes) == expected


def test_only_files_are_read_whatever_an_experiment_left(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", ".", "nothing"):
        assert read_end(tmp_path / name, 10) is None, name
        with pytest.raises(OSError, match=r"regular|symbolic|No such|directory"):
            open_regular(tmp_path / name)


def test_new_result_takes_the_place_of_the_old_one_when_it_is_published(workspace: Workspace) -> None:
    workspace.start()
    workspace.log_path.write_text("a log")
    (workspace.partial / "model").mkdir()
    (workspace.partial / "run.json").write_text("new")
    (workspace.final / "failed.log").write_text("an earlier failure")
    (workspace.final / "notes.md").write_text("mine")
    workspace.publish()
    new = {"train/train.log": "a log", "train/run.json": "new", "train/notes.md": "mine"}
    assert list_files(workspace.final.parent) == new
    assert [path.name for path in workspace.final.parent.iterdir()] == ["train"]


def test_result_is_published_when_it_is_the_first(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "new", "prepare")
    workspace.start()
    (workspace.partial / "run.json").write_text("first")
    workspace.publish()
    assert list_files(workspace.final) == {"run.json": "first"}


def test_only_the_log_stays_when_a_run_failed(workspace: Workspace) -> None:
    workspace.start()
    workspace.log_path.write_text("what went wrong")
    (workspace.partial / "history.jsonl").write_text("half")
    (workspace.partial / "model").mkdir()
    (workspace.partial / "model" / "weights").write_text("half")
    workspace.discard()
    assert list_files(workspace.final.parent) == {**OLD, "train/failed.log": "what went wrong"}
    assert workspace.failed_log_path.read_text() == "what went wrong"
    assert not workspace.partial.exists()


def test_nothing_is_left_when_a_run_failed_before_it_wrote(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "train")
    workspace.discard()
    assert list_files(tmp_path) == {}
    assert workspace.final.is_dir()


def test_what_is_neither_file_nor_folder_is_dropped_unread(workspace: Workspace, tmp_path: Path) -> None:
    workspace.start()
    (tmp_path / "elsewhere").mkdir()
    secret = tmp_path / "elsewhere" / "secret"
    secret.write_text("not the stage's")
    (workspace.partial / "model").mkdir()
    (workspace.partial / "model" / "weights").write_text("new")
    (workspace.partial / "model" / "linked").symlink_to(secret)
    (workspace.partial / "folder").symlink_to(secret.parent)
    (workspace.partial / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(workspace.partial / "pipe")
    assert workspace.drop_strange() == ["dangling", "folder", "model/linked", "pipe"]
    assert list_files(workspace.partial) == {"model/weights": "new"}
    assert secret.read_text() == "not the stage's"
    assert workspace.drop_strange() == []


def test_result_comes_back_when_a_run_failed(workspace: Workspace) -> None:
    workspace.set_aside()
    assert not workspace.final.exists()
    workspace.bring_back()
    assert list_files(workspace.final.parent) == OLD
    assert [path.name for path in workspace.final.parent.iterdir()] == ["train"]


def test_what_is_newer_wins_when_a_failed_run_left_something(workspace: Workspace) -> None:
    workspace.set_aside()
    workspace.final.mkdir()
    (workspace.final / "failed.log").write_text("new")
    (workspace.final / "run.json").write_text("new")
    workspace.bring_back()
    assert list_files(workspace.final) == {"failed.log": "new", "run.json": "new", "model/weights": "old"}


def test_nothing_is_lost_when_a_run_is_killed_and_the_next_sets_aside_again(workspace: Workspace) -> None:
    workspace.set_aside()
    workspace.final.mkdir()
    (workspace.final / "failed.log").write_text("of the killed run")
    workspace.set_aside()
    workspace.bring_back()
    assert list_files(workspace.final.parent) == {**OLD, "train/failed.log": "of the killed run"}


def test_only_what_is_not_the_stages_own_stays_when_there_is_a_new_result(workspace: Workspace) -> None:
    (workspace.final / "failed.log").write_text("an earlier failure")
    (workspace.final / "notes.md").write_text("mine")
    workspace.set_aside()
    workspace.start()
    (workspace.partial / "model").mkdir()
    (workspace.partial / "run.json").write_text("new")
    workspace.publish()
    workspace.drop_previous()
    workspace.bring_back()
    assert list_files(workspace.final.parent) == {"train/run.json": "new", "train/notes.md": "mine"}


def test_nothing_happens_when_there_is_nothing_to_set_aside_or_bring_back(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "train")
    workspace.set_aside()
    workspace.bring_back()
    assert list(tmp_path.iterdir()) == []


def test_json_is_replaced_whole_when_somebody_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": "ü"})
    with path.open() as reader:
        write_json(path, [2])
        assert reader.read() == '{\n "a": "\\u00fc",\n "b": 1\n}\n'
    assert read_json(path) == [2]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("data", [None, b"", b"{", b"\xff"])
def test_there_is_no_value_when_a_file_is_missing_or_no_json(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / "a.json").write_bytes(data)
    assert read_json(tmp_path / "a.json") is None
