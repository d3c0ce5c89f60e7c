"""Mending what a killed run left, without deleting anything of the user's."""

import fcntl
from pathlib import Path

import pytest

from pipeline.dvccache import Damage
from pipeline.recovery import Attic, bring_back_outs, drop_broken_rwlock, quarantine, set_broken_locks_aside
from tests.checkouts import Checkout
from tests.recorded import override, record, resolve, stage_of


@pytest.fixture
def rwlock(tmp_path: Path) -> Path:
    """DVC's lock table, whole."""
    path = tmp_path / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    return path


def test_attic_keeps_files_and_folders_where_it_says_when_they_are_moved(tmp_path: Path) -> None:
    attic = Attic(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.txt").write_text("mine")
    (tmp_path / "a" / "d.txt").write_text("mine too")
    folder, file = attic.keep("a/b"), attic.keep("a/d.txt")
    assert folder.startswith(".force/kept/")
    assert folder.endswith("/a/b")
    assert (tmp_path / folder / "c.txt").read_text() == "mine"
    assert (tmp_path / file).read_text() == "mine too"
    assert list((tmp_path / "a").iterdir()) == []


def test_attic_makes_no_folder_when_nothing_is_kept(tmp_path: Path) -> None:
    Attic(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_runs_keep_apart_when_each_has_an_attic(tmp_path: Path) -> None:
    kept = []
    for text in ("first", "second"):
        (tmp_path / "a.txt").write_text(text)
        kept.append(Attic(tmp_path).keep("a.txt"))
    assert [(tmp_path / path).read_text() for path in kept] == ["first", "second"]


def test_outs_come_back_when_a_killed_run_had_set_them_aside(checkout: Checkout) -> None:
    stages = [stage_of(checkout, "common", name) for name in ("prepare", "train")]
    checkout.write("common/outputs/train.previous/model/weights", "old")
    bring_back_outs(checkout.root, stages)
    assert (checkout.root / "common/outputs/train/model/weights").read_text() == "old"
    assert not (checkout.root / "common/outputs/train.previous").exists()
    assert not (checkout.root / "common/outputs/prepare").exists()


def test_lock_is_kept_aside_when_it_cannot_be_read(checkout: Checkout) -> None:
    checkout.experiment("x", model=override("model"))
    checkout.experiment("y", model=override("model"))
    record(checkout)
    checkout.write("experiments/x/dvc.lock", "stages: [")
    project, ownership = resolve(checkout)
    attic = Attic(checkout.root)
    notes = set_broken_locks_aside(project.planner(ownership), ["common", "x", "y"], attic)
    (kept,) = checkout.root.glob(".force/kept/*/experiments/x/dvc.lock")
    place = kept.relative_to(checkout.root)
    assert notes == [f"warning: experiments/x/dvc.lock could not be read; it is kept as {place}"]
    assert kept.read_text() == "stages: ["
    assert not (checkout.root / "experiments/x/dvc.lock").exists()
    assert (checkout.root / "experiments/y/dvc.lock").exists()
    assert (checkout.root / "dvc.lock").exists()


@pytest.mark.parametrize("data", [b"", b"{", b"\xff"])
def test_lock_table_is_dropped_when_it_is_no_json(tmp_path: Path, rwlock: Path, data: bytes) -> None:
    rwlock.write_bytes(data)
    drop_broken_rwlock(tmp_path)
    assert not rwlock.exists()


def test_lock_table_stays_when_it_is_whole(tmp_path: Path, rwlock: Path) -> None:
    drop_broken_rwlock(tmp_path)
    assert rwlock.read_text() == "{}"


def test_lock_table_stays_when_somebody_is_writing_it(tmp_path: Path, rwlock: Path) -> None:
    rwlock.write_text('{"half')
    with rwlock.with_name("rwlock.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        drop_broken_rwlock(tmp_path)
    assert rwlock.read_text() == '{"half'


def test_nothing_happens_when_there_is_no_lock_table(tmp_path: Path) -> None:
    drop_broken_rwlock(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_damaged_objects_leave_the_cache_when_they_are_quarantined(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "ab" / "cdef.dir"
    path.parent.mkdir(parents=True)
    path.write_text("damaged")
    (note,) = quarantine([Damage("abcdef.dir", path)], Attic(tmp_path))
    (kept,) = tmp_path.glob(".force/kept/*/cache/abcdef.dir")
    place = kept.relative_to(tmp_path)
    assert note == f"warning: {path} in the DVC cache is damaged; it is kept as {place}"
    assert kept.read_text() == "damaged"
    assert not path.exists()
