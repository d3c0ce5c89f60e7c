"""Repositories that checkouts push to, and other clones of them."""

import subprocess
from pathlib import Path

from tests.checkouts import Checkout


class Origin:
    """A bare repository in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def git(self, *args: str) -> str:
        """Run git in it and return what it printed."""
        done = subprocess.run(["git", *args], cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def tip(self, branch: str) -> str:
        """Return the newest commit of a branch."""
        return self.git("rev-parse", f"refs/heads/{branch}")

    def read(self, branch: str, path: str) -> str:
        """Return the text of a file on a branch."""
        return self.git("show", f"{branch}:{path}")

    def clone(self, folder: Path, branch: str = "main") -> Checkout:
        """Clone it into a new folder, as a job's checkout does: nothing of what a rewritten branch was before."""
        self.git("clone", "--quiet", "--branch", branch, str(self.root), str(folder))
        return Checkout(folder)

    def refuse(self, words: str) -> None:
        """Refuse every push from now on, with these words."""
        hook = self.root / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\necho refused >> '{self.root}/refused'\necho '{words}' >&2\nexit 1\n")
        hook.chmod(0o755)

    def count_refused(self) -> int:
        """Return how many pushes were refused."""
        path = self.root / "refused"
        return len(path.read_text().splitlines()) if path.exists() else 0


def add_origin(checkout: Checkout) -> Origin:
    """Make the repository that a checkout calls origin, beside it, empty."""
    root = checkout.root.parent / "origin.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(root)], check=True)
    checkout.git("remote", "add", "origin", str(root))
    return Origin(root)


def push(checkout: Checkout, branch: str = "main") -> str:
    """Commit everything, push it to a branch of origin, by force where need be, and return the commit."""
    commit = checkout.commit()
    checkout.git("push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{branch}")
    return commit
