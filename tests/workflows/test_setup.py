"""What a runner without anything makes of itself: an environment for each lock file, kept for the next job."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.checkouts import ROOT
from tests.workflows.labs import TIMEOUT_S, Lab, make_lab


def set_up(lab: Lab, purpose: str, folder: Path) -> dict[str, str]:
    """Run the set-up as the runner does; return the environment that the next step gets."""
    for name in ("path", "env"):
        (folder / name).write_text("")
    environment = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "FOR": purpose,
        "RUNNER_TOOL_CACHE": str(folder / "tools"),
        "RUNNER_TEMP": str(folder),
        "GITHUB_PATH": str(folder / "path"),
        "GITHUB_ENV": str(folder / "env"),
    }
    command = ["bash", str(lab.root / ".github/actions/setup/setup.sh")]
    done = subprocess.run(
        command, cwd=lab.root, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    first = [*reversed((folder / "path").read_text().split()), "/usr/local/bin", "/usr/bin", "/bin"]
    settings = dict(line.split("=", 1) for line in (folder / "env").read_text().splitlines())
    return {"HOME": str(folder), "PATH": os.pathsep.join(first), **settings}


@pytest.mark.parametrize(("purpose", "missing"), [("plan", "dvc"), ("run", "torch")])
def test_a_bare_runner_gets_just_what_its_job_needs(tmp_path: Path, purpose: str, missing: str) -> None:
    lab = make_lab(tmp_path)
    environment = set_up(lab, purpose, tmp_path)
    plan = subprocess.run(
        ["force", "ci", "plan"], cwd=lab.root, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert plan.returncode == 0, plan.stderr
    assert "any=" in plan.stdout
    found = subprocess.run(["python", "-c", f"import {missing}"], env=environment, capture_output=True, text=True)
    assert "ModuleNotFoundError" in found.stderr
    (venv,) = (tmp_path / "tools/force-build").glob(f"{purpose}-*/ready")
    before = venv.stat().st_mtime_ns
    set_up(lab, purpose, tmp_path)
    assert venv.stat().st_mtime_ns == before


def test_the_code_is_the_checkouts_own(tmp_path: Path) -> None:
    lab = make_lab(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(lab.root)}
    lab.write("pipeline/commands/ls.py", "raise SystemExit('the checkout')\n")
    done = subprocess.run(
        [ROOT / "docker/force", "ls"], cwd=lab.root / "common", env=environment, capture_output=True, text=True
    )
    assert done.stderr == "the checkout\n"
