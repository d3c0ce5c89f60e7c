"""The lab after its first push with two experiments, run once under act, and copied for each test."""

import subprocess
from pathlib import Path

import pytest

from tests.flows.commands import ENVIRONMENT
from tests.workflows.labs import ActRun, Lab, add_experiments, make_lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here: it needs a Docker engine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of this checkout's files, built before anything is timed or killed."""
    lab = make_lab(tmp_path_factory.mktemp("image"))
    done = subprocess.run(
        ["force", "image", "build"], cwd=lab.root, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="session")
def first_push(tmp_path_factory: pytest.TempPathFactory, image: str) -> tuple[Lab, ActRun]:
    """The lab, and the run of the push that brought two experiments."""
    lab = make_lab(tmp_path_factory.mktemp("lab"))
    add_experiments(lab)
    params = lab.root / "params.yaml"
    params.write_text(params.read_text().replace("batch_size: 64", "batch_size: 48"))  # touches the common build, too
    lab.commit()
    run = lab.act("push", lab.push(), "--var", "FORCE_RESULTS=branch")
    lab.pull()
    return lab, run


@pytest.fixture
def lab(first_push: tuple[Lab, ActRun], tmp_path: Path) -> Lab:
    """A copy of the lab in which everything has run."""
    built, run = first_push
    assert run.status == 0, run.text
    return built.copy_to(tmp_path / "lab")
