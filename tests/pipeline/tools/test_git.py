"""What git tells us, in real repositories; how we publish is in test_git_publishing.py."""

import pytest

from pipeline.errors import UsageError
from pipeline.tools.git import (
    find_commit,
    find_merge_base,
    find_start,
    is_ancestor,
    list_changed,
    list_files,
    read_commit,
    read_files,
    resolve_range,
)
from tests.checkouts import Checkout
from tests.remotes import Origin, add_origin, push


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


# Where a push started from


@pytest.fixture
def origin(checkout: Checkout) -> Origin:
    """What the checkout pushes to; it has the branch main."""
    origin = add_origin(checkout)
    push(checkout)
    return origin


def empty_tree(checkout: Checkout) -> str:
    return checkout.git("hash-object", "-t", "tree", "/dev/null")


def start_topic(checkout: Checkout) -> str:
    """Push main once more, start a branch there, and return where."""
    checkout.write("main.txt", "main")
    parted = push(checkout)
    checkout.git("checkout", "--quiet", "-b", "topic")
    return parted


def test_push_starts_where_the_branch_left_the_default_one_when_it_is_new(checkout: Checkout, origin: Origin) -> None:
    parted = start_topic(checkout)
    checkout.git("checkout", "--quiet", "main")
    checkout.write("later.txt", "main went on")
    push(checkout)
    checkout.git("checkout", "--quiet", "topic")
    checkout.write("a.txt", "a")
    push(checkout, "topic")
    assert find_start(checkout.root, "topic", "main", "") == parted
    assert list_changed(checkout.root, parted, None) == {"a.txt"}


def test_push_starts_from_nothing_when_the_default_branch_is_new(checkout: Checkout) -> None:
    add_origin(checkout)
    push(checkout)
    start = find_start(checkout.root, "main", "main", "")
    assert start == empty_tree(checkout)
    assert "params.yaml" in list_changed(checkout.root, start, None)
    assert list_files(checkout.root, start, "experiments") == []
    assert read_files(checkout.root, start, ["params.yaml"]) == {}


@pytest.mark.parametrize("branch", ["main", "topic"])
def test_push_starts_from_what_the_branch_was_when_it_goes_on(checkout: Checkout, origin: Origin, branch: str) -> None:
    start_topic(checkout)
    checkout.git("checkout", "--quiet", branch)
    checkout.write("a.txt", "a")
    before = push(checkout, branch)
    checkout.write("b.txt", "b")
    push(checkout, branch)
    assert find_start(checkout.root, branch, "main", before) == before


def test_push_starts_from_what_the_branch_was_when_it_brings_a_merge(checkout: Checkout, origin: Origin) -> None:
    start_topic(checkout)
    checkout.write("a.txt", "a")
    before = push(checkout, "topic")
    checkout.git("checkout", "--quiet", "main")
    checkout.write("later.txt", "main went on")
    push(checkout)
    checkout.git("checkout", "--quiet", "topic")
    checkout.git("merge", "--quiet", "--no-edit", "main")
    push(checkout, "topic")
    assert find_start(checkout.root, "topic", "main", before) == before
    assert list_changed(checkout.root, before, None) == {"later.txt"}


def rewrite(checkout: Checkout, branch: str) -> str:
    """Push a commit to a branch and another one in its place; return the first, which origin forgets."""
    checkout.write("a.txt", "a")
    before = push(checkout, branch)
    checkout.write("a.txt", "another text")
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--amend", "--message", "rewritten")
    push(checkout, branch)
    return before


def test_push_starts_from_the_rewritten_commit_when_it_is_still_known(checkout: Checkout, origin: Origin) -> None:
    start_topic(checkout)
    before = rewrite(checkout, "topic")
    assert find_start(checkout.root, "topic", "main", before) == before


def test_push_starts_where_the_branch_left_the_default_one_when_the_rewritten_commit_is_gone(
    checkout: Checkout, origin: Origin
) -> None:
    parted = start_topic(checkout)
    before = rewrite(checkout, "topic")
    origin.git("-c", "gc.pruneExpire=now", "gc", "--quiet", "--prune=now")
    job = origin.clone(checkout.root.parent / "job", "topic")
    assert find_commit(job.root, before) is None
    assert find_start(job.root, "topic", "main", before) == parted


def test_push_starts_from_nothing_when_the_rewritten_commit_of_the_default_branch_is_gone(
    checkout: Checkout, origin: Origin
) -> None:
    before = rewrite(checkout, "main")
    origin.git("-c", "gc.pruneExpire=now", "gc", "--quiet", "--prune=now")
    job = origin.clone(checkout.root.parent / "job")
    assert find_start(job.root, "main", "main", before) == empty_tree(checkout)


def test_push_starts_from_nothing_when_the_branch_has_nothing_in_common_with_the_default_one(
    checkout: Checkout, origin: Origin
) -> None:
    checkout.git("checkout", "--quiet", "--orphan", "alone")
    commit_new(checkout, "a.txt")
    assert find_start(checkout.root, "alone", "main", "") == empty_tree(checkout)


def test_push_starts_from_what_the_remote_has_when_there_is_no_payload(checkout: Checkout, origin: Origin) -> None:
    parted = start_topic(checkout)
    commit_new(checkout, "a.txt")
    assert find_start(checkout.root, "topic", "", "") == parted
    tip = push(checkout, "topic")
    checkout.git("fetch", "--quiet", "origin")
    commit_new(checkout, "b.txt")
    assert find_start(checkout.root, "topic", "", "") == tip


def test_push_starts_from_nothing_when_there_is_neither_payload_nor_remote(checkout: Checkout) -> None:
    checkout.commit()
    assert find_start(checkout.root, "main", "", "") == empty_tree(checkout)


def test_commits_that_a_commit_comes_from_are_its_ancestors(checkout: Checkout) -> None:
    older, newer = commit_new(checkout, "a.txt"), commit_new(checkout, "b.txt")
    checkout.git("checkout", "--quiet", "-b", "topic", older)
    topic = commit_new(checkout, "c.txt")
    assert is_ancestor(checkout.root, older, newer)
    assert is_ancestor(checkout.root, newer, newer)
    assert not is_ancestor(checkout.root, newer, older)
    assert not is_ancestor(checkout.root, topic, newer)
    assert find_merge_base(checkout.root, topic, newer) == older
