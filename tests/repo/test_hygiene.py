"""The repository itself: nothing that ties it to one machine, requirements that are pinned."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.checkouts import ROOT

# In two parts, so that this file does not hold what it forbids.
REGISTRY_HOSTS = [
    "pypi" + ".org",
    "files.python" + "hosted.org",
    "registry.npm" + "js.org",
    "deb." + "debian.org",
]
LOCK_PATHS = sorted(ROOT.glob("requirements*.lock"))
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)==[\w.+!]+(?: ; [^\\]+?)?(?: --hash=sha256:[0-9a-f]{64})+")


def list_tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def read_text(path: Path) -> str:
    """Return a file's text, nothing where it is none."""
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


def read_requirements(path: Path) -> list[str]:
    """Return each requirement of a lock file as one line."""
    text = re.sub(r"^\s*#.*\n?", "", path.read_text(), flags=re.MULTILINE)
    return [" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def test_no_registry_is_named_when_files_are_tracked() -> None:
    paths = list_tracked()
    assert ROOT / "pyproject.toml" in paths
    found = [(path.name, host) for path in paths for host in REGISTRY_HOSTS if host in read_text(path)]
    assert found == []


def test_both_lock_files_are_there() -> None:
    assert [path.name for path in LOCK_PATHS] == ["requirements-dev.lock", "requirements.lock"]


@pytest.mark.parametrize("path", LOCK_PATHS, ids=lambda path: path.name)
def test_everything_but_torch_is_pinned_with_hashes_when_requirements_are_locked(path: Path) -> None:
    requirements = read_requirements(path)
    assert len(requirements) > 50
    assert [line for line in requirements if not REQUIREMENT.fullmatch(line)] == []
    names = {line.partition("==")[0].lower() for line in requirements}
    assert "torch" not in names
    assert {"dvc", "click", "safetensors", "torchmetrics"} <= names


def test_development_has_the_same_versions_when_both_locks_pin_a_package() -> None:
    dev, run = (
        dict(line.partition(" ")[0].split("==") for line in read_requirements(path) if "==" in line)
        for path in LOCK_PATHS
    )
    assert {name: dev.get(name) for name in run} == run


def test_torch_has_one_version_when_it_is_pinned_in_two_places() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = (line for line in project["dependencies"] if line.startswith("torch=="))
    installed = re.search(r"^TORCH := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert installed
    assert installed[1] == wanted


def test_image_has_each_package_once_when_its_locks_are_put_together() -> None:
    train, cuda = (list_pinned(f"docker/{name}.lock") for name in ("train", "cuda"))
    assert set(train) & set(cuda) == set()
    assert f"torch=={cuda['torch']}" in (ROOT / "docker/train.in").read_text().splitlines()
    assert {"triton", "nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-nccl-cu13"} <= set(cuda)


@pytest.mark.parametrize("path", sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docker/*.lock")))
def test_every_package_has_a_hash_when_a_lock_of_the_image_pins_it(path: str) -> None:
    entries = re.split(r"\n(?=[a-z])", (ROOT / path).read_text().strip())
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []


def list_pinned(path: str) -> dict[str, str]:
    """Return package → version of a lock."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / path).read_text(), re.MULTILINE))
