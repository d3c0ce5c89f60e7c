"""Artifacts: what is copied into them, and the manifest that says what they hold."""

import json
from pathlib import Path

import pytest

from pipeline.manifest import copy_tree, find_damage, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files."""
    folder = tmp_path / "artifact"
    (folder / "x/train").mkdir(parents=True)
    (folder / "x/train/history.jsonl").write_text("{}\n")
    (folder / "größe 1.txt").write_bytes(b"\xff")
    return folder


def test_every_file_is_in_the_manifest_but_itself(folder: Path) -> None:
    (folder / "x/manifest.json").write_text("another's")
    write_manifest(folder)
    manifest = write_manifest(folder)
    assert manifest == json.loads((folder / "manifest.json").read_text())
    assert [(file["path"], file["size"]) for file in manifest["files"]] == [
        ("größe 1.txt", 1),
        ("x/manifest.json", 9),
        ("x/train/history.jsonl", 3),
    ]
    assert manifest["files"][2]["sha256"] == "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"


def test_nothing_is_damaged_when_nothing_changed(folder: Path) -> None:
    assert find_damage(folder, write_manifest(folder)) == []


def test_damage_is_found_when_a_file_is_missing_or_another_one_of_the_same_size(folder: Path) -> None:
    manifest = write_manifest(folder)
    (folder / "größe 1.txt").unlink()
    (folder / "x/train/history.jsonl").write_text("[]\n")
    assert find_damage(folder, manifest) == ["größe 1.txt", "x/train/history.jsonl"]


def test_files_are_copied_without_what_is_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data/train.safetensors").touch()
    (folder / "a.lock").touch()
    target = tmp_path / "target"
    copy_tree(folder, target, ["data", "*.lock"])
    copied = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert copied == ["größe 1.txt", "x/train/history.jsonl"]


def test_links_are_followed_when_files_are_in_a_cache(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cached").write_text("from the cache")
    (folder / "linked").symlink_to(tmp_path / "cached")
    copy_tree(folder, tmp_path / "target")
    assert not (tmp_path / "target/linked").is_symlink()
    assert (tmp_path / "target/linked").read_text() == "from the cache"


def test_links_are_left_out_when_they_are_not_to_be_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not for an artifact")
    (folder / "x/linked").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path)
    (folder / "dangling").symlink_to(tmp_path / "nowhere")
    (folder / "a.lock").touch()
    target = tmp_path / "target"
    copy_tree(folder, target, ["*.lock"], follow_links=False)
    copied = sorted(str(path.relative_to(target)) for path in target.rglob("*") if not path.is_dir())
    assert copied == ["größe 1.txt", "x/train/history.jsonl"]


def test_files_that_are_there_stay_when_more_are_copied(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "earlier").touch()
    copy_tree(folder, target)
    assert {path.name for path in target.iterdir()} == {"earlier", "größe 1.txt", "x"}


def test_nothing_is_copied_when_there_is_no_such_folder(tmp_path: Path) -> None:
    copy_tree(tmp_path / "nowhere", tmp_path / "target")
    assert not (tmp_path / "target").exists()
