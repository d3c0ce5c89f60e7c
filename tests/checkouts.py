"""Small real checkouts: the repository's own common build in a folder of its own, with experiments of the test's."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from pipeline.project import Project

ROOT = Path(__file__).parent.parent


class Checkout:
    """A checkout of Force Build in a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> Path:
        """Write a file, dedented, and make its folders."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(dedent(text))
        return target

    def experiment(self, name: str, text: str = "", **files: str) -> None:
        """Write an experiment: its experiment.yaml, and a file `kind.py` for each keyword."""
        self.write(f"experiments/{name}/experiment.yaml", text or "description: a test\n")
        for kind, source in files.items():
            self.write(f"experiments/{name}/{kind}.py", source)

    def project(self) -> Project:
        """Return the project as the files are now."""
        return Project(self.root)

    def git(self, *args: str) -> str:
        """Run git and return what it printed."""
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        done = subprocess.run(["git", *identity, *args], cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self) -> str:
        """Commit everything and return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a change")
        return self.git("rev-parse", "HEAD")


@dataclass(frozen=True)
class Ended:
    """How a call of `force` ended."""

    status: int
    out: str
    err: str


def with_bins(num_bins: int) -> str:
    """Return an experiment.yaml that changes nothing but a metric's argument, and so trains nothing."""
    return f"params: {{evaluate: {{metrics: {{calibration_error: {{n_bins: {num_bins}}}}}}}}}\n"


def make_checkout(root: Path) -> Checkout:
    """Copy what a checkout needs into `root`, without experiments and results, and make it a git repository."""
    ignored = shutil.ignore_patterns("outputs", "__pycache__", "tmp", "cache", "config.local")
    for name in ("common", ".dvc"):
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    for name in ("params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, root / name)
    (root / "experiments").mkdir()
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main"], cwd=root, check=True)
    return Checkout(root)
