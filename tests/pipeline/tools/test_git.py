"""What git tells us, in real repositories."""

import pytest

from pipeline.errors import UsageError
from pipeline.tools.git import list_changed, list_files, read_commit, read_files, resolve_range
from tests.checkouts import Checkout


def commit_new(checkout: Checkout, name: str) -> str:
    """Commit a new file; commits of one second with the same content would be the same commit."""
    checkout.write(name, name)
    return checkout.commit()


def test_there_is_no_commit_when_nothing_was_committed(checkout: Checkout) -> None:
    assert read_commit(checkout.root) == (None, True)


def test_commit_is_clean_only_when_no_tracked_file_differs(checkout: Checkout) -> None:
    commit = checkout.commit()
    assert read_commit(checkout.root) == (commit, False)
    checkout.write("untracked.txt", "new")
    assert read_commit(checkout.root) == (commit, False)
    checkout.write("params.yaml", "{}\n")
    assert read_commit(checkout.root) == (commit, True)


def test_range_ends_at_the_files_when_one_revision_is_named(checkout: Checkout) -> None:
    commit = checkout.commit()
    assert resolve_range(checkout.root, "HEAD") == (commit, None)
    assert resolve_range(checkout.root, commit[:10]) == (commit, None)
    assert resolve_range(checkout.root, "main") == (commit, None)


def test_range_has_both_ends_when_it_has_two_dots(checkout: Checkout) -> None:
    start, end = commit_new(checkout, "a.txt"), commit_new(checkout, "b.txt")
    assert resolve_range(checkout.root, "HEAD~1..HEAD") == (start, end)
    assert resolve_range(checkout.root, "HEAD~1..main") == (start, end)
    assert resolve_range(checkout.root, "HEAD~1..") == (start, end)
    assert resolve_range(checkout.root, "..HEAD") == (end, end)


def test_range_starts_where_branches_part_when_it_has_three_dots(checkout: Checkout) -> None:
    parted = commit_new(checkout, "a.txt")
    checkout.git("checkout", "--quiet", "-b", "topic")
    topic = commit_new(checkout, "b.txt")
    checkout.git("checkout", "--quiet", "main")
    main = commit_new(checkout, "c.txt")
    checkout.git("checkout", "--quiet", "topic")
    assert resolve_range(checkout.root, "main...topic") == (parted, topic)
    assert resolve_range(checkout.root, "main..topic") == (main, topic)


def test_range_is_refused_when_its_end_is_not_checked_out(checkout: Checkout) -> None:
    commit_new(checkout, "a.txt")
    commit_new(checkout, "b.txt")
    with pytest.raises(UsageError, match=r"^'HEAD~1' is not checked out$"):
        resolve_range(checkout.root, "HEAD..HEAD~1")


def test_range_is_refused_when_its_ends_have_nothing_in_common(checkout: Checkout) -> None:
    commit_new(checkout, "a.txt")
    checkout.git("checkout", "--quiet", "--orphan", "alone")
    commit_new(checkout, "b.txt")
    with pytest.raises(UsageError, match=r"^'main' and 'alone' have no merge base$"):
        resolve_range(checkout.root, "main...alone")


@pytest.mark.parametrize("revision", ["nowhere", "HEAD..nowhere", "nowhere...HEAD", "--help", "HEAD:params.yaml"])
def test_revision_is_refused_when_git_does_not_know_it(checkout: Checkout, revision: str) -> None:
    checkout.commit()
    with pytest.raises(UsageError, match=r"^git knows no revision '"):
        resolve_range(checkout.root, revision)


def test_changed_paths_are_those_of_both_ends_when_a_range_has_an_end(checkout: Checkout) -> None:
    checkout.write("moved.txt", "the same text\n")
    start = checkout.commit()
    checkout.git("mv", "moved.txt", "there.txt")
    checkout.write("größe 1.txt", "a name that git would quote\n")
    end = checkout.commit()
    checkout.write("params.yaml", "not committed\n")
    assert list_changed(checkout.root, start, end) == {"moved.txt", "there.txt", "größe 1.txt"}
    assert list_changed(checkout.root, end, end) == set()


def test_changed_paths_hold_what_is_not_committed_when_a_range_has_no_end(checkout: Checkout) -> None:
    start = checkout.commit()
    checkout.write("params.yaml", "not committed\n")
    checkout.write("staged.txt", "staged\n")
    checkout.git("add", "staged.txt")
    checkout.write("new/untracked.txt", "not even added\n")
    checkout.write(".force/index.json", "ignored by git\n")
    (checkout.root / "common/loader.py").unlink()
    expected = {"params.yaml", "staged.txt", "new/untracked.txt", "common/loader.py"}
    assert list_changed(checkout.root, start, None) == expected


def test_contents_are_the_earlier_ones_when_files_are_read_at_a_revision(checkout: Checkout) -> None:
    checkout.write("a.yaml", "größe: 1\n")
    start = checkout.commit()
    checkout.write("a.yaml", "größe: 2\n")
    checkout.write("b.yaml", "new: 1\n")
    assert read_files(checkout.root, start, ["a.yaml", "b.yaml"]) == {"a.yaml": "größe: 1\n".encode()}


def test_contents_come_back_as_they_are_when_they_are_no_utf8(checkout: Checkout) -> None:
    (checkout.root / "a.yaml").write_bytes(b"\xff\r\n")
    start = checkout.commit()
    assert read_files(checkout.root, start, ["a.yaml"]) == {"a.yaml": b"\xff\r\n"}


def test_files_of_the_folder_are_listed_when_a_revision_has_it(checkout: Checkout) -> None:
    before = checkout.commit()
    checkout.experiment("x", model="")
    checkout.write("experiments.txt", "no folder")
    start = checkout.commit()
    assert list_files(checkout.root, start, "experiments") == [
        "experiments/x/experiment.yaml",
        "experiments/x/model.py",
    ]
    assert list_files(checkout.root, before, "experiments") == []
