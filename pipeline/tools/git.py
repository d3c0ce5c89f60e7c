"""What git knows of a checkout."""

import base64
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.history import Change
from pipeline.tools.process import last_line, read_output, run

# GitHub shows commits of this address as those of its own bot.
BOT_EMAIL = "41898282+github-actions[bot]@users.noreply.github.com"
_BOT = (
    "-c",
    "user.name=github-actions[bot]",
    "-c",
    f"user.email={BOT_EMAIL}",
    "-c",
    "commit.gpgsign=false",
)


def read_commit(root: Path) -> tuple[str | None, bool]:
    """Return the commit that is checked out, None before the first one or outside git, and whether files differ."""
    commit = run(["git", "rev-parse", "--verify", "--quiet", "HEAD"], root, check=False).stdout.strip()
    if not commit:
        return None, True
    return commit, bool(run(["git", "status", "--porcelain", "--untracked-files=no"], root).stdout)


def resolve_range(root: Path, revision: str) -> tuple[str, str | None]:
    """Return (start, end) of `A..B`, or (REV, None) where the end is the files as they are.

    `A...B` starts at the merge base. Raises UsageError for a revision that there is not, and where B is not what is
    checked out: what a change affects is read from the files here.
    """
    left, dots, right = revision.partition("...") if "..." in revision else revision.partition("..")
    start = _resolve(root, left or ("HEAD" if dots else ""))
    if not dots:
        return start, None
    end = _resolve(root, right or "HEAD")
    if end != _resolve(root, "HEAD"):
        raise UsageError(f"'{right}' is not checked out", f"git checkout {right}, or leave the end off")
    if dots == "...":
        done = run(["git", "merge-base", start, end], root, check=False)
        if done.returncode:
            raise UsageError(f"'{left}' and '{right}' have no merge base", "name a revision that both come from")
        start = done.stdout.strip()
    return start, end


@dataclass(frozen=True)
class Commit:
    """A commit: who wrote it, who put it where it is, and what it says."""

    sha: str
    author_email: str
    committer_email: str
    subject: str


def list_commits(root: Path, revision: str, limit: int = 100) -> list[Commit]:
    """Return the newest commits of a revision, the newest first, of merges only what was merged into."""
    form = "%H%x00%ae%x00%ce%x00%s"
    args = ["git", "log", "--first-parent", f"--max-count={limit}", f"--format={form}", "--end-of-options", revision]
    return [Commit(*line.split("\0")) for line in run(args, root).stdout.split("\n") if line]


def find_commit(root: Path, revision: str) -> str | None:
    """Return the commit of a revision, None where git knows none."""
    done = run(
        ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"], root, check=False
    )
    return done.stdout.strip() or None


def find_merge_base(root: Path, left: str, right: str) -> str | None:
    """Return the commit that two others come from, None where there is none."""
    return run(["git", "merge-base", left, right], root, check=False).stdout.strip() or None


def find_start(root: Path, branch: str, default_branch: str, before: str) -> str:
    """Return the commit that a push started from; the empty tree where everything is new.

    That is what the branch was before; where it is new, or was rewritten so that nothing of that is left, where it left
    the default branch. Without a payload (act): what the remote last had of it.
    """
    if before and (commit := find_commit(root, before)):
        return commit
    others = [default_branch] if default_branch not in ("", branch) else []
    if not before and not default_branch:
        if tip := find_commit(root, f"refs/remotes/origin/{branch}"):
            return tip
        others = ["HEAD", "main", "master"]
    for name in others:
        tip = find_commit(root, f"refs/remotes/origin/{name}")
        if tip and (start := find_merge_base(root, tip, "HEAD")):
            return start
    return run(["git", "hash-object", "-t", "tree", "--stdin"], root).stdout.strip()


def is_ancestor(root: Path, older: str, newer: str) -> bool:
    """Say whether a commit is another, or among those that it comes from."""
    return run(["git", "merge-base", "--is-ancestor", older, newer], root, check=False).returncode == 0


def list_changed(root: Path, start: str, end: str | None) -> set[str]:
    """Return the paths that differ between two revisions, or between one and the files as they are, new ones too."""
    args = ["git", "diff", "--relative", "--name-only", "--no-renames", "-z", start, *([end] if end else [])]
    changed = set(run(args, root).stdout.split("\0"))
    if end is None:
        changed |= set(run(["git", "ls-files", "--others", "--exclude-standard", "-z"], root).stdout.split("\0"))
    return changed - {""}


def count_lines(root: Path, start: str, end: str) -> list[tuple[str, int | None, int | None]]:
    """Return each path that differs between two revisions, lines added and taken away; None for what is no text."""
    done = run(["git", "diff", "--relative", "--numstat", "--no-renames", "-z", start, end], root)
    rows = [entry.split("\t", 2) for entry in done.stdout.split("\0") if entry]
    return [(path, _read_count(added), _read_count(taken)) for added, taken, path in rows]


def read_files(root: Path, revision: str, paths: list[str]) -> dict[str, bytes]:
    """Return the contents of those files that exist at a revision."""
    found = {}
    for path in paths:
        content = read_output(["git", "show", f"{revision}:./{path}"], root)
        if content is not None:
            found[path] = content
    return found


def list_changes(root: Path, patterns: Sequence[str]) -> list[Change]:
    """Return what the commits of the branch did to files that pathspecs name, the oldest first; none without commits.

    Of what was merged, that is what the merge brought: values that were never those of this branch are none of its own.
    """
    form = "--format=%H %cI %s"
    settings = ["-c", "log.showRoot=true", "-c", "log.showSignature=false"]
    how = [
        "--first-parent",
        "--diff-merges=first-parent",
        "-O/dev/null",
        "--raw",
        "--no-abbrev",
        "--no-renames",
        "--relative",
        "--reverse",
    ]
    args = ["git", *settings, "log", *how, "--encoding=UTF-8", form, "HEAD", "--", *patterns]
    changes: list[Change] = []
    for line in (read_output(args, root) or b"").decode(errors="replace").split("\n"):
        if line.startswith(":"):
            status, _, path = line.partition("\t")
            content = status.split(" ")[3]
            changes[-1].contents[path] = content if content.strip("0") else ""
        elif line:
            commit, date, subject = line.split(" ", 2)
            changes.append(Change(commit, date, subject, {}))
    return changes


def read_contents(root: Path, names: Collection[str]) -> dict[str, bytes]:
    """Return those contents that are here, by what git calls them; of a partial clone none is fetched."""
    text = "".join(f"{name}\n" for name in names).encode()
    rest = read_output(["git", "cat-file", "--batch"], root, text, {"GIT_NO_LAZY_FETCH": "1"}) or b""
    found: dict[str, bytes] = {}
    start = 0
    while (end := rest.find(b"\n", start)) >= 0:
        name, _, kind = rest[start:end].decode().partition(" ")
        start = end + 1
        if kind.startswith("blob "):
            size = int(kind.removeprefix("blob "))
            found[name], start = rest[start : start + size], start + size + 1
    return found


def is_shallow(root: Path) -> bool:
    """Say whether commits are missing that the first ones here come from."""
    return run(["git", "rev-parse", "--is-shallow-repository"], root, check=False).stdout.strip() == "true"


def list_files(root: Path, revision: str, folder: str) -> list[str]:
    """Return the paths of all files below a folder at a revision."""
    done = run(["git", "ls-tree", "-r", "--name-only", "-z", revision, "--", f"{folder}/"], root)
    return [path for path in done.stdout.split("\0") if path]


def _read_count(text: str) -> int | None:
    return None if text == "-" else int(text)


def _resolve(root: Path, revision: str) -> str:
    commit = find_commit(root, revision)
    if commit is None:
        raise UsageError(f"git knows no revision '{revision}'", "git fetch, or name another revision")
    return commit


# Publishing. The token goes through the environment: never on a command line, never into a file.


def fetch_branch(root: Path, remote: str, branch: str, token: str) -> str | None:
    """Fetch a branch and return its tip, None where the remote has no such branch (any more).

    Raises ToolError where the remote cannot be asked.
    """
    listed = run(["git", "ls-remote", remote, f"refs/heads/{branch}"], root, variables=_authorize(token))
    if not listed.stdout.strip():
        return None
    spec = f"+refs/heads/{branch}:refs/remotes/{remote}/{branch}"
    run(["git", "fetch", "--quiet", remote, spec], root, variables=_authorize(token))
    return find_commit(root, f"refs/remotes/{remote}/{branch}")


@contextmanager
def hold_worktree(root: Path, folder: Path, commit: str) -> Iterator[None]:
    """Check a commit out into a new folder, for as long as the context lasts."""
    run(["git", "worktree", "add", "--quiet", "--detach", str(folder), commit], root)
    try:
        yield
    finally:
        run(["git", "worktree", "remove", "--force", str(folder)], root)


def commit_files(tree: Path, paths: list[str], message: str) -> str | None:
    """Commit these files of a worktree as the bot; return the commit, None where nothing differs."""
    run(["git", "add", "--force", "--", *paths], tree)
    if run(["git", "diff", "--cached", "--quiet"], tree, check=False).returncode == 0:
        return None
    run(["git", *_BOT, "commit", "--quiet", "--no-verify", "--message", message], tree)
    return find_commit(tree, "HEAD")


def push_commit(root: Path, remote: str, commit: str, branch: str, token: str) -> str:
    """Push a commit to a branch, never by force; return git's reason where that fails, and the remote's, else ""."""
    args = ["git", "push", "--quiet", "--porcelain", remote, f"{commit}:refs/heads/{branch}"]
    done = run(args, root, check=False, variables=_authorize(token))
    if done.returncode == 0:
        return ""
    rejected = [line.rpartition("\t")[2] for line in done.stdout.splitlines() if line.startswith("!")]
    told = [line.removeprefix("remote:").strip() for line in done.stderr.splitlines() if line.startswith("remote:")]
    return ": ".join(filter(None, [*rejected, " ".join(told)])) if rejected else last_line(done.stderr)


def is_race(reason: str) -> bool:
    """Say whether a push failed because somebody else pushed first."""
    words = ("non-fast-forward", "fetch first", "cannot lock ref", "failed to update ref", "incorrect old value")
    return any(word in reason for word in words)


def _authorize(token: str) -> dict[str, str]:
    """Return the variables that make git present a token to GitHub; it ignores them elsewhere."""
    if not token:
        return {"GIT_TERMINAL_PROMPT": "0"}
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    number = int(os.environ.get("GIT_CONFIG_COUNT") or 0)  # after those that the environment has
    return {
        "GIT_CONFIG_COUNT": str(number + 1),
        f"GIT_CONFIG_KEY_{number}": f"http.{server}/.extraheader",
        f"GIT_CONFIG_VALUE_{number}": f"AUTHORIZATION: basic {basic}",
        "GIT_TERMINAL_PROMPT": "0",
    }
