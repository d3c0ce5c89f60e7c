"""Committing and pushing results: onto real remotes, as the bot, with a token that is seen nowhere."""

import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.errors import ToolError
from pipeline.tools.git import commit_files, fetch_branch, hold_worktree, is_race, push_commit
from tests.checkouts import Checkout
from tests.remotes import Origin, add_origin, push

pytestmark = pytest.mark.slow

TOKEN = "ghs_s3cr3t"


@pytest.fixture
def origin(checkout: Checkout) -> Origin:
    """What the checkout pushes to; it has the branch main."""
    origin = add_origin(checkout)
    push(checkout)
    return origin


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where git was never told who commits, as a runner is."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")


# Fetching


def test_branch_has_the_remotes_tip_when_somebody_pushed(checkout: Checkout, origin: Origin) -> None:
    other = origin.clone(checkout.root.parent / "other")
    other.write("a.txt", "a")
    tip = push(other)
    assert fetch_branch(checkout.root, "origin", "main", "") == tip
    assert checkout.git("rev-parse", "origin/main") == tip


def test_branch_has_the_remotes_tip_when_it_was_rewritten(checkout: Checkout, origin: Origin) -> None:
    checkout.git("commit", "--quiet", "--amend", "--allow-empty", "--message", "rewritten")
    tip = push(checkout)
    other = origin.clone(checkout.root.parent / "other")
    checkout.git("commit", "--quiet", "--amend", "--allow-empty", "--message", "once more")
    newer = push(checkout)
    assert newer != tip
    assert fetch_branch(other.root, "origin", "main", "") == newer


@pytest.mark.parametrize("name", ["gone", "ain", "heads/main"])
def test_there_is_no_branch_when_the_remote_has_none_of_that_name(
    checkout: Checkout, origin: Origin, name: str
) -> None:
    assert fetch_branch(checkout.root, "origin", name, "") is None


def test_fetching_is_an_error_when_the_remote_cannot_be_asked(checkout: Checkout, origin: Origin) -> None:
    origin.root.rename(origin.root.with_name("moved"))
    with pytest.raises(ToolError, match=r"^'git ls-remote origin refs/heads/main' failed: "):
        fetch_branch(checkout.root, "origin", "main", "")


# Committing


def test_worktree_is_there_as_long_as_it_is_held(checkout: Checkout, tmp_path: Path) -> None:
    checkout.write("a.txt", "before")
    commit = checkout.commit()
    checkout.write("a.txt", "after")
    tree = tmp_path / "tree"
    with hold_worktree(checkout.root, tree, commit):
        assert (tree / "a.txt").read_text() == "before"
        (tree / "b.txt").write_text("not committed")
    assert not tree.exists()
    assert checkout.git("worktree", "list").count("\n") == 0
    assert (checkout.root / "a.txt").read_text() == "after"


def test_worktree_is_removed_when_what_happens_in_it_fails(checkout: Checkout, tmp_path: Path) -> None:
    commit = checkout.commit()
    with pytest.raises(ZeroDivisionError), hold_worktree(checkout.root, tmp_path / "tree", commit):
        raise ZeroDivisionError
    assert checkout.git("worktree", "list").count("\n") == 0


@pytest.mark.usefixtures("nobody")
def test_commit_is_the_bots_when_git_knows_nobody(checkout: Checkout) -> None:
    parent = checkout.commit()
    checkout.write("a.txt", "a")
    checkout.git("config", "commit.gpgsign", "true")  # with a key that is not there
    checkout.write(".git/hooks/pre-commit", "#!/bin/sh\nexit 1\n").chmod(0o755)
    commit = commit_files(checkout.root, ["a.txt"], "results: x\n\nOf the files at abc.\n")
    assert checkout.git("log", "-1", "--format=%H %P %an %ae %cn") == (
        f"{commit} {parent} github-actions[bot] 41898282+github-actions[bot]@users.noreply.github.com "
        "github-actions[bot]"
    )
    assert checkout.git("log", "-1", "--format=%B") == "results: x\n\nOf the files at abc."


def test_only_the_named_files_are_committed_ignored_or_not(checkout: Checkout) -> None:
    checkout.commit()
    checkout.write("a.txt", "a")
    checkout.write("b.txt", "b")
    checkout.write("common/outputs/ignored.txt", "by .gitignore")
    commit = commit_files(checkout.root, ["a.txt", "common/outputs/ignored.txt"], "results")
    assert commit == checkout.git("rev-parse", "HEAD")
    assert checkout.git("show", "--name-only", "--format=").split() == ["a.txt", "common/outputs/ignored.txt"]


@pytest.mark.parametrize("paths", [[], ["params.yaml"]])
def test_nothing_is_committed_when_nothing_differs(checkout: Checkout, paths: list[str]) -> None:
    commit = checkout.commit()
    assert commit_files(checkout.root, paths, "results") is None
    assert checkout.git("rev-parse", "HEAD") == commit


# Pushing


def test_commit_is_the_branchs_tip_when_it_was_pushed(checkout: Checkout, origin: Origin) -> None:
    checkout.write("a.txt", "a")
    commit = checkout.commit()
    assert push_commit(checkout.root, "origin", commit, "main", "") == ""
    assert origin.tip("main") == commit


def test_push_loses_a_race_when_somebody_else_pushed_first(checkout: Checkout, origin: Origin) -> None:
    other = origin.clone(checkout.root.parent / "other")
    other.write("a.txt", "a")
    theirs = push(other)
    checkout.write("b.txt", "b")
    reason = push_commit(checkout.root, "origin", checkout.commit(), "main", "")
    assert reason == "[rejected] (fetch first)"
    assert is_race(reason)
    checkout.git("fetch", "--quiet", "origin")
    reason = push_commit(checkout.root, "origin", checkout.git("rev-parse", "HEAD"), "main", "")
    assert reason == "[rejected] (non-fast-forward)"
    assert is_race(reason)
    assert origin.tip("main") == theirs


def test_push_loses_a_race_when_somebody_else_pushes_just_now(checkout: Checkout, origin: Origin) -> None:
    (origin.root / "refs/heads/main.lock").touch()
    reason = push_commit(checkout.root, "origin", checkout.commit(), "main", "")
    assert reason.startswith("[remote rejected] (")
    assert is_race(reason)


def test_push_fails_with_the_remotes_words_when_a_hook_refuses_it(checkout: Checkout, origin: Origin) -> None:
    tip = origin.tip("main")
    origin.refuse("only reviewed commits")
    reason = push_commit(checkout.root, "origin", checkout.commit(), "main", "")
    assert reason == "[remote rejected] (pre-receive hook declined): only reviewed commits"
    assert not is_race(reason)
    assert origin.tip("main") == tip


def test_push_fails_with_gits_words_when_there_is_no_remote(checkout: Checkout) -> None:
    reason = push_commit(checkout.root, "nowhere", checkout.commit(), "main", "")
    assert reason
    assert not is_race(reason)


# The token


class _Handler(BaseHTTPRequestHandler):
    """Notes who asks, and has nothing."""

    def do_GET(self) -> None:
        """Refuse."""
        self.server.seen.append(self.headers.get("Authorization"))  # type: ignore[attr-defined]
        self.send_error(404)

    def log_message(self, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A server that git asks; `seen` has what authorized each request."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.seen = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(
    ("token", "is_github", "seen"),
    [
        (TOKEN, True, f"basic {b64encode(f'x-access-token:{TOKEN}'.encode()).decode()}"),
        (TOKEN, False, None),
        ("", True, None),
    ],
)
def test_token_is_presented_to_github_alone_and_shown_to_nobody(
    checkout: Checkout,
    server: ThreadingHTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    is_github: bool,
    seen: str | None,
) -> None:
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("GITHUB_SERVER_URL", address if is_github else "https://github.example.org")
    checkout.git("remote", "add", "origin", f"{address}/octo-lab/force-build")
    commit = checkout.commit()
    with pytest.raises(ToolError) as caught:
        fetch_branch(checkout.root, "origin", "main", token)
    reason = push_commit(checkout.root, "origin", commit, "main", token)
    assert server.seen  # type: ignore[attr-defined]
    assert set(server.seen) == {seen}  # type: ignore[attr-defined]
    config = (checkout.root / ".git/config").read_text()
    assert not [text for text in (str(caught.value), reason, config) if TOKEN in text or "basic" in text]


@pytest.mark.usefixtures("nobody")
def test_token_is_presented_beside_what_the_environment_configures(
    checkout: Checkout, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("GITHUB_SERVER_URL", address)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{address}/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "lab:")
    checkout.git("remote", "add", "origin", "lab:octo-lab/force-build")
    with pytest.raises(ToolError):
        fetch_branch(checkout.root, "origin", "main", TOKEN)
    assert set(server.seen) == {f"basic {b64encode(f'x-access-token:{TOKEN}'.encode()).decode()}"}  # type: ignore[attr-defined]
