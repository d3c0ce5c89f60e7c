"""What others' linters say of the workflows and actions: nothing, but for what is listed here with its reason."""

import fcntl
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.checkouts import ROOT
from tests.repo.workflow_files import read_files

BIN = Path(sys.executable).parent
LANGUAGE_SERVICE = Path(__file__).parent / "workflow_linters"
STATE_DIR = ROOT / ".force" / "linters"
FILES = read_files(ROOT)
WORKFLOWS = [file.path for file in FILES if file.is_workflow]
ACTIONS = [file.path for file in FILES if not file.is_workflow]

# What .github/zizmor.yml lets pass, where it says why.
EXPECTED_FINDINGS = {"self-repository", "self-hosted-runner"}
# act sets the variable ACT, which no workflow can say.
FALSE_ALARMS = {"Context access might be invalid: ACT"}
# What the language service says of experiments.yml after each of these changes.
PLANTED = {
    "Context access might be invalid: any_9": ("needs.plan.outputs.any_1 ", "needs.plan.outputs.any_9 "),
    "Invalid input, waves is not defined in the referenced workflow.": ("      wave: ${{", "      waves: ${{"),
    "Unrecognized function: 'cancled'": ("!cancelled() &&", "!cancled() &&"),
    "Unexpected value 'timeout_minutes'": ("    timeout-minutes: 15\n", "    timeout_minutes: 15\n"),
}


def run(*args: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(args, cwd=cwd, capture_output=True, text=True, check=False)


def plant(root: Path, path: str, *changes: tuple[str, str]) -> Path:
    """Copy the workflows and actions below a root, with changes in one of them."""
    shutil.copytree(ROOT / ".github", root / ".github")
    text = (root / path).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (root / path).write_text(text)
    return root


# zizmor: security.


def run_zizmor(root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run zizmor as its most suspicious persona."""
    common = ("--offline", "--persona", "auditor", "--strict-collection", "--no-progress")
    return run(BIN / "zizmor", *common, *args, ".github", cwd=root)


def test_zizmor_finds_nothing() -> None:
    done = run_zizmor(ROOT)
    assert done.returncode == 0, done.stdout
    assert all(path in done.stderr for path in [*WORKFLOWS, *ACTIONS])


def test_zizmor_needs_each_exception_that_its_file_has() -> None:
    done = run_zizmor(ROOT, "--no-config", "--no-exit-codes", "--format", "json")
    assert {finding["ident"] for finding in json.loads(done.stdout)} == EXPECTED_FINDINGS


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("run: force ci plan", "run: echo ${{ github.head_ref }}", "template-injection"),
        ("  pull_request:\n", "  pull_request_target:\n", "dangerous-triggers"),
        ("permissions: {}\n", "", "excessive-permissions"),
        ("persist-credentials: false", "persist-credentials: true", "artipacked"),
    ],
)
def test_zizmor_finds_a_fault_that_is_planted(tmp_path: Path, old: str, new: str, finding: str) -> None:
    root = plant(tmp_path, ".github/workflows/experiments.yml", (old, new))
    done = run_zizmor(root, "--format", "json")
    assert finding in {found["ident"] for found in json.loads(done.stdout)}


# check-jsonschema: the published schemas.


@pytest.mark.parametrize(("schema", "paths"), [("github-workflows", WORKFLOWS), ("github-actions", ACTIONS)])
def test_published_schema_is_kept(schema: str, paths: list[str]) -> None:
    done = run(BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *paths)
    assert done.returncode == 0, done.stdout


def test_published_schema_is_broken_by_a_fault_that_is_planted(tmp_path: Path) -> None:
    path = ".github/workflows/ci.yml"
    plant(tmp_path, path, ("timeout-minutes: 30", "timeout: 30"))
    done = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", tmp_path / path)
    assert done.returncode == 1
    assert "'timeout' was unexpected" in done.stdout


# GitHub's own language service: keys, expressions, contexts, the inputs of called workflows.


@pytest.fixture(scope="session")
def language_service() -> Path:
    """The folder that GitHub's language service is installed in, once for each lock file."""
    if shutil.which("npm") is None:
        pytest.fail("npm is not on PATH: install Node.js 20 or newer")
    digest = hashlib.sha256()
    for path in sorted(LANGUAGE_SERVICE.iterdir()):
        digest.update(path.read_bytes())
    folder = STATE_DIR / digest.hexdigest()[:16]
    STATE_DIR.mkdir(parents=True, exist_ok=True)
    with (STATE_DIR / "lock").open("w") as lock:  # tests may run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.copytree(LANGUAGE_SERVICE, folder, dirs_exist_ok=True)
            done = run("npm", "ci", cwd=folder)
            assert done.returncode == 0, done.stderr
            (folder / "ready").touch()
    return folder


def run_language_service(folder: Path, root: Path) -> list[dict[str, Any]]:
    """Return all that the language service says of the workflows and actions below a root."""
    done = run("node", "--no-warnings", folder / "lint.mjs", root, *WORKFLOWS, *ACTIONS)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_language_service_finds_nothing_but_false_alarms(language_service: Path) -> None:
    found = run_language_service(language_service, ROOT)
    assert [finding for finding in found if finding["message"] not in FALSE_ALARMS] == []
    assert {finding["message"] for finding in found} == FALSE_ALARMS


@pytest.mark.slow
def test_language_service_finds_the_faults_that_are_planted(language_service: Path, tmp_path: Path) -> None:
    root = plant(tmp_path, ".github/workflows/experiments.yml", *PLANTED.values())
    assert {finding["message"] for finding in run_language_service(language_service, root)} >= set(PLANTED)


def test_language_service_is_locked_without_the_name_of_a_registry() -> None:
    lock = json.loads((LANGUAGE_SERVICE / "package-lock.json").read_text())
    packages = [package for name, package in lock["packages"].items() if name]
    assert len(packages) > 5
    assert all(re.match(r"sha512-", package["integrity"]) and "resolved" not in package for package in packages)


# ShellCheck: the scripts of the steps.


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_scripts_are_sound_when_shellcheck_reads_them(file: Any, tmp_path: Path) -> None:
    for number, (_, step) in enumerate(file.steps()):
        if "run" in step:
            (tmp_path / f"{number}.sh").write_text(step["run"])
    paths = sorted(tmp_path.glob("*.sh"))
    # SC2153 takes variables of the step for misspelt ones of the script; the policy has a rule for those.
    done = run(BIN / "shellcheck", "--shell=bash", "--exclude=SC2153", *paths) if paths else None
    assert done is None or done.returncode == 0, done.stdout
