"""A lab in a folder: a repository with these workflows, its `origin`, its DVC remote, and act to run them."""

import json
import shutil
import socket
import subprocess
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.checkouts import ROOT, Checkout
from tests.flows.commands import BIN, ENVIRONMENT
from tests.flows.conftest import JUDGE

TIMEOUT_S = 600
REPOSITORY = "lab/experiments"
# Made anew in a lab: what this repository itself trained.
_LEFT_OUT = ("experiments/", "common/outputs/", "dvc.lock", "tests/", "benchmarks/", "docs/")


@dataclass
class ActRun:
    """What a run of act printed and left."""

    status: int
    artifacts_dir: Path
    results: dict[str, str] = field(default_factory=dict)  # job → success, failure
    summaries: dict[str, str] = field(default_factory=dict)  # job → Markdown
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)  # job → name → value
    lines: dict[str, list[str]] = field(default_factory=dict)  # job → what its steps printed

    @property
    def text(self) -> str:
        """Everything, for the message of an assertion."""
        return "\n".join(f"{job}: {line}" for job, lines in self.lines.items() for line in lines)

    def find(self, name: str) -> str:
        """Return the full name of the one job whose name contains `name`."""
        (job,) = [job for job in self.results if name in job]
        return job

    def find_entry(self, name: str) -> str:
        """Return the full name of the job that ran an entry of a matrix: act numbers them."""
        (job,) = [job for job, outputs in self.outputs.items() if outputs.get("artifact") == f"experiment-{name}"]
        return job

    def unzip(self, artifact: str, folder: Path) -> Path:
        """Unpack an artifact as GitHub's page would give it."""
        (path,) = self.artifacts_dir.rglob(f"{artifact}.zip")
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        return folder


class Lab(Checkout):
    """A clone in which a researcher works; `origin` and the DVC remote are beside it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "clone")
        self.folder = folder
        self.variables: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What act and the jobs find in their environment: that of a runner which has its own."""
        return {
            **ENVIRONMENT,
            "FORCE_VENV": str(BIN.parent),  # made once; what the set-up makes by itself has a test of its own
            "FORCE_REMOTE_URL": str(self.folder / "storage"),
            "FORCE_CHECKPOINT_DIR": str(self.folder / "checkpoints"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            **self.variables,
        }

    def push(self, branch: str = "main") -> Path:
        """Push what is committed; return the event that GitHub would start the workflows with."""
        before = self.git("ls-remote", "origin", f"refs/heads/{branch}").partition("\t")[0] or "0" * 40
        self.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
        payload = {
            "before": before,
            "after": self.git("rev-parse", "HEAD"),
            "ref": f"refs/heads/{branch}",
            "repository": {"default_branch": "main", "full_name": REPOSITORY},
        }
        return self.write_event("push", payload)

    def write_event(self, name: str, payload: dict[str, Any]) -> Path:
        """Write the payload of an event."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(payload))
        return path

    def act(self, event: str, payload: Path | None = None, *args: str) -> ActRun:
        """Run the workflow `experiments` to its end, with `act` itself and the committed .actrc."""
        artifacts_dir = self.folder / f"artifacts-{len(list(self.folder.glob('artifacts-*')))}"
        command = [
            *("act", event, "--json", "--workflows", ".github/workflows/experiments.yml"),
            *("--artifact-server-path", str(artifacts_dir), "--artifact-server-port", str(_find_port())),
            *("--env", f"GITHUB_REPOSITORY={REPOSITORY}"),
            *(["--eventpath", str(payload)] if payload else []),
            *args,
        ]
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        run = ActRun(done.returncode, artifacts_dir)
        for line in done.stdout.splitlines():
            _read_line(run, line)
        if done.returncode and not run.results:
            raise AssertionError(done.stderr)
        return run

    def force(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run `force` to its end, on the researcher's machine, with the lab's DVC remote."""
        remote = ["dvc", "config", "--local", "remote.storage.url", str(self.folder / "storage")]
        subprocess.run(remote, cwd=self.root, env=self.environment, check=True)
        return subprocess.run(
            ["force", *args], cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=TIMEOUT_S
        )

    def pull(self) -> None:
        """Fetch and check out what `origin` has, as the researcher would after a run."""
        self.git("pull", "--quiet", "--rebase", "origin", "main")

    def copy_to(self, folder: Path) -> "Lab":
        """Return a copy with all that it has, in another folder."""
        shutil.copytree(self.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("cache", "artifacts-*"))
        copy = Lab(folder)
        copy.git("remote", "set-url", "origin", str(folder / "origin.git"))
        return copy


def make_lab(folder: Path) -> Lab:
    """Make a lab with the common build, trained for two epochs only, and no experiments; nothing has run yet."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in tracked.stdout.split("\0"):
        if name and not name.startswith(_LEFT_OUT) and (ROOT / name).is_file():
            (folder / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "clone" / name)
    lab = Lab(folder)
    (lab.root / "experiments").mkdir()
    params = lab.root / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 20", "epochs: 2"))
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", folder / "origin.git"], check=True)
    lab.git("init", "--quiet", "--initial-branch=main")
    lab.git("remote", "add", "origin", str(folder / "origin.git"))
    lab.commit()
    lab.git("push", "--quiet", "origin", "main")
    return lab


def add_experiments(lab: Lab) -> None:
    """Add two experiments: `wide` owns its training, `judge` only its evaluation."""
    lab.experiment("wide", "description: more channels\nparams:\n  model: {channels: 40}\n")
    lab.experiment("judge", "description: one metric more\n", evaluator=JUDGE)


def _read_line(run: ActRun, line: str) -> None:
    """Note what a line of act's log says, by job."""
    try:
        entry = json.loads(line)
    except ValueError:
        return
    job = entry.get("job", "").strip()
    if not job:
        return
    if entry.get("command") == "summary":
        run.summaries[job] = run.summaries.get(job, "") + entry["content"]
    elif entry.get("command") == "set-output":
        run.outputs.setdefault(job, {})[entry["name"]] = entry["arg"]
    elif "jobResult" in entry:
        run.results[job] = entry["jobResult"]
    run.lines.setdefault(job, []).append(entry["msg"].rstrip())


def _find_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def list_containers(*labels: str) -> list[str]:
    """Return the ids of all containers with these labels, running or not."""
    filters = [f"--filter=label={label}" for label in labels]
    done = subprocess.run(["docker", "ps", "--all", "--quiet", *filters], capture_output=True, text=True, check=True)
    return done.stdout.split()
