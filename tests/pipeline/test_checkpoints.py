"""Where trainings keep their state: a folder for each set of inputs, for one training at a time."""

from pathlib import Path

import pytest

from pipeline.checkpoints import DIR_VARIABLE, FINISHED, find_checkpoint_base, find_checkpoint_dir, hold_checkpoints

KEY = "0123456789abcdef" * 4


def finish(folder: Path) -> Path:
    """Mark a training as done, as `common.checkpoint` does."""
    folder.mkdir(parents=True)
    (folder / FINISHED).touch()
    folder.with_suffix(".lock").touch()
    return folder


def test_checkpoints_are_in_the_checkout_when_no_other_place_is_named(tmp_path: Path) -> None:
    assert find_checkpoint_dir(tmp_path, "x", KEY) == tmp_path / ".force/checkpoints/x/0123456789abcdef"


def test_checkpoints_are_where_a_runner_keeps_them_when_it_names_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(DIR_VARIABLE, "kept")
    assert find_checkpoint_base(tmp_path / "checkout") == tmp_path / "kept"
    assert find_checkpoint_dir(tmp_path / "checkout", "x", KEY) == tmp_path / "kept/x/0123456789abcdef"


def test_folder_is_there_when_a_training_holds_it(tmp_path: Path) -> None:
    folder = tmp_path / "x/0123"
    with hold_checkpoints(folder) as held:
        assert held == folder
        (folder / "state").touch()
    assert (folder / "state").exists()


def test_second_training_keeps_none_and_says_so_when_the_first_still_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "x/0123"
    with hold_checkpoints(folder), hold_checkpoints(folder) as second, hold_checkpoints(tmp_path / "x/4567") as other:
        assert second is None
        assert other == tmp_path / "x/4567"
    note = f"note: no checkpoints are kept: another run of the same stage holds {folder}\n"
    assert capsys.readouterr().out == note
    with hold_checkpoints(folder) as held:
        assert held == folder


def test_folder_is_free_again_when_a_training_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold_checkpoints(tmp_path / "0123"):
        raise ZeroDivisionError
    with hold_checkpoints(tmp_path / "0123") as held:
        assert held == tmp_path / "0123"


def test_nothing_is_held_when_a_stage_keeps_no_checkpoints() -> None:
    with hold_checkpoints(None) as held:
        assert held is None


def test_finished_trainings_of_the_experiment_go_when_another_one_starts(tmp_path: Path) -> None:
    finished, others = finish(tmp_path / "x/0123"), finish(tmp_path / "y/0123")
    own = finish(tmp_path / "x/4567")
    unfinished = tmp_path / "x/89ab"
    unfinished.mkdir()
    with hold_checkpoints(own):
        assert not finished.exists()
        assert own.exists()
        assert others.exists()
        assert unfinished.exists()
