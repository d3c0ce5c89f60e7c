"""The index: what was read from a file is remembered for as long as the file is the same."""

import os
import time
from pathlib import Path

import pytest

import pipeline.index
from pipeline.index import FileIndex


class CountLines:
    """A derivation that counts how often it is asked."""

    def __init__(self) -> None:
        self.num_calls = 0

    def __call__(self, text: bytes) -> int:
        """Return the number of lines."""
        self.num_calls += 1
        return len(text.splitlines())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one file in it, too young to be remembered."""
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "a.txt").write_text("abc")
    return folder


def open_index(root: Path) -> FileIndex:
    return FileIndex(root, root.parent / "state" / "index.json")


def settle(path: Path) -> None:
    """Return as soon as a file's last change is so long ago that it may be remembered."""
    while time.time_ns() - path.stat().st_ctime_ns < 100_000_000:
        time.sleep(0.01)


def test_unchanged_file_is_not_read_again_when_an_index_was_saved(root: Path) -> None:
    settle(root / "a.txt")
    count = CountLines()
    index = open_index(root)
    assert index.fact("a.txt", "lines", count) == 1
    index.save()
    assert open_index(root).fact("a.txt", "lines", count) == 1
    assert count.num_calls == 1


@pytest.mark.parametrize(("file", "num_calls"), [("code.py", 2), ("catalog.json", 2), ("notes.txt", 1)])
def test_nothing_is_remembered_when_what_it_was_derived_by_changed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, num_calls: int
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(pipeline.index, "__file__", str(package / "index.py"))
    settle(root / "a.txt")
    count = CountLines()
    index = open_index(root)
    index.fact("a.txt", "lines", count)
    index.save()
    (package / file).write_text("new")
    open_index(root).fact("a.txt", "lines", count)
    assert count.num_calls == num_calls


def test_unchanged_file_is_not_read_again_when_it_is_looked_at_again(root: Path) -> None:
    count = CountLines()
    index = open_index(root)
    index.fact("a.txt", "lines", count)
    index.forget()
    index.fact("a.txt", "lines", count)
    assert count.num_calls == 1


def test_facts_are_kept_apart_when_their_kinds_differ(root: Path) -> None:
    index = open_index(root)
    assert index.fact("a.txt", "lines", CountLines()) == 1
    assert index.fact("a.txt", "size", len) == 3


def test_edit_is_seen_when_the_index_was_saved_before_it(root: Path) -> None:
    settle(root / "a.txt")
    index = open_index(root)
    assert index.md5("a.txt") == "900150983cd24fb0d6963f7d28e17f72"
    index.save()
    (root / "a.txt").write_text("abcd")
    assert open_index(root).md5("a.txt") == "e2fc714c4727ee9395f324cd2e7f331f"


def test_edit_is_seen_when_it_keeps_size_and_modification_time(root: Path) -> None:
    path = root / "a.txt"
    settle(path)
    before = path.stat()
    index = open_index(root)
    assert index.md5("a.txt") == "900150983cd24fb0d6963f7d28e17f72"
    index.save()
    path.write_text("xyz")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert open_index(root).md5("a.txt") == "d16fb36f0911f878998c136191af705e"


def test_file_is_not_remembered_when_it_changed_just_now(root: Path) -> None:
    path = root / "a.txt"
    just_now = time.time_ns() + 10_000_000_000  # so that it stays recent however slow the machine is
    os.utime(path, ns=(just_now, just_now))
    count = CountLines()
    index = open_index(root)
    index.fact("a.txt", "lines", count)
    index.save()
    open_index(root).fact("a.txt", "lines", count)
    assert count.num_calls == 2


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"version": 1}', b"\xff\xfe"])
def test_index_file_is_ignored_when_it_is_corrupt(root: Path, text: bytes) -> None:
    store = root.parent / "state" / "index.json"
    store.parent.mkdir()
    store.write_bytes(text)
    index = open_index(root)
    assert index.md5("a.txt") == "900150983cd24fb0d6963f7d28e17f72"
    index.save()
    assert store.read_bytes() != text


def test_index_file_is_replaced_whole_when_it_is_saved(root: Path) -> None:
    store = root.parent / "state" / "index.json"
    store.parent.mkdir()
    store.write_bytes(b"what was there before")
    with store.open("rb") as reader:
        index = open_index(root)
        index.md5("a.txt")
        index.save()
        assert reader.read() == b"what was there before"
    assert [path.name for path in store.parent.iterdir()] == ["index.json"]


def test_index_is_not_written_when_nothing_new_was_learnt(root: Path) -> None:
    open_index(root).save()
    assert not (root.parent / "state").exists()


def test_saving_is_no_error_when_the_folder_cannot_be_written_to(root: Path) -> None:
    (root.parent / "state").write_text("a file where the folder should be")
    index = open_index(root)
    index.md5("a.txt")
    index.save()
    assert (root.parent / "state").is_file()


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), 2**70])
def test_number_comes_back_the_same_when_json_has_no_word_for_it(root: Path, value: float) -> None:
    settle(root / "a.txt")
    index = open_index(root)
    index.fact("a.txt", "yaml", lambda _: {"train": {"clip": value}})
    index.save()
    assert open_index(root).fact("a.txt", "yaml", lambda _: {"train": {"clip": value}}) == {"train": {"clip": value}}


def test_exception_is_not_remembered_when_deriving_a_fact_fails(root: Path) -> None:
    index = open_index(root)

    def fail(_: bytes) -> int:
        raise ValueError("not this time")

    with pytest.raises(ValueError, match="not this time"):
        index.fact("a.txt", "lines", fail)
    assert index.fact("a.txt", "lines", CountLines()) == 1


def test_fact_is_refused_when_the_file_is_missing(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"b\.txt"):
        open_index(root).fact("b.txt", "lines", CountLines())


def test_check_is_not_repeated_when_it_passed_on_the_same_file(root: Path) -> None:
    calls: list[int] = []
    index = open_index(root)
    index.confirm("a.txt", "sound", lambda: calls.append(1))
    index.forget()
    index.confirm("a.txt", "sound", lambda: calls.append(2))
    (root / "a.txt").write_text("another text")
    index.forget()
    index.confirm("a.txt", "sound", lambda: calls.append(3))
    assert calls == [1, 3]


def test_check_is_repeated_when_it_failed(root: Path) -> None:
    index = open_index(root)

    def fail() -> None:
        raise ValueError("a fault")

    for _ in range(2):
        with pytest.raises(ValueError, match="a fault"):
            index.confirm("a.txt", "sound", fail)


def test_answers_stay_the_same_until_a_path_is_forgotten(root: Path) -> None:
    index = open_index(root)
    assert not index.exists("new.txt")
    assert not index.exists("sub/new.txt")
    (root / "new.txt").write_text("now there")
    (root / "sub").mkdir()
    (root / "sub" / "new.txt").write_text("now there")
    assert not index.exists("new.txt")
    index.forget("sub")
    assert index.exists("sub/new.txt")
    assert not index.exists("new.txt")
    index.forget()
    assert index.exists("new.txt")


def test_only_what_is_below_is_forgotten_when_names_start_alike(root: Path) -> None:
    index = open_index(root)
    assert index.md5("a.txt")
    (root / "a.txt").unlink()
    index.forget("a")
    assert index.exists("a.txt")
    index.forget("a.txt")
    assert not index.exists("a.txt")


def test_nothing_but_regular_files_exists_when_asked(root: Path) -> None:
    (root / "folder").mkdir()
    (root / "loose").symlink_to("nowhere")
    (root / "link").symlink_to("a.txt")
    index = open_index(root)
    assert [index.exists(path) for path in ("folder", "loose", "a.txt/b", "link")] == [False, False, False, True]
    assert index.md5("folder") is None
