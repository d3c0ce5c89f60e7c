"""What a runner leans on, for real: a Docker engine, a remote with a real S3 API."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline.runners import SCRIPTS_DIR
from tests.checkouts import Checkout
from tests.flows.commands import ENVIRONMENT, TIMEOUT_S, force


def docker(*args: str, text: str = "") -> str:
    """Run docker to its end and return what it printed."""
    done = subprocess.run(["docker", *args], input=text, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    return done.stdout.strip()


@pytest.fixture
def image() -> Iterator[str]:
    """An image of nothing, and no container of it in the end."""
    name = f"force-build-test-{uuid4().hex[:8]}"
    archive = subprocess.run(["tar", "--create", "--files-from=/dev/null"], capture_output=True, check=True).stdout
    docker("import", "-", name, text=archive.decode())
    yield name
    for container in docker("ps", "--all", "--quiet", "--filter", f"ancestor={name}").split():
        docker("rm", "--force", container)
    docker("rmi", name)


def test_only_containers_of_the_job_are_removed_when_it_has_ended(image: str, tmp_path: Path) -> None:
    workspace = tmp_path / "run" / "_work" / "a" / "a"
    workspace.mkdir(parents=True)
    (workspace / "left").touch()
    folders = (workspace, workspace / "worktree", f"{workspace}2", "/elsewhere")
    containers = [docker("create", f"--label=force-build.workspace={folder}", image, "true") for folder in folders]
    containers.append(docker("create", image, "true"))
    environment = {**ENVIRONMENT, "GITHUB_WORKSPACE": str(workspace)}
    done = subprocess.run(
        [SCRIPTS_DIR / "clean.sh"], env=environment, capture_output=True, text=True, check=True, timeout=TIMEOUT_S
    )
    assert done.stderr == ""
    assert done.stdout.count("removing container") == 2
    left = docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"ancestor={image}").split()
    assert sorted(left) == sorted(containers[2:])
    assert list(workspace.iterdir()) == []


def test_engine_and_remote_are_tried_for_real(checkout: Checkout, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_url,
        "FORCE_REMOTE_URL": "s3://lab/force",
    }.items():
        monkeypatch.setitem(ENVIRONMENT, name, value)
    assert not examine(checkout)["DVC remote, tried"]["is_fine"]  # there is no such bucket
    script = "import boto3; s3 = boto3.client('s3')\n"
    subprocess.run(["python", "-c", f"{script}s3.create_bucket(Bucket='lab')"], env=ENVIRONMENT, check=True)
    findings = examine(checkout)
    assert findings["DVC remote, tried"]["text"] == "s3://lab/force: write works"
    count = f"{script}print(s3.list_objects_v2(Bucket='lab')['KeyCount'])"
    done = subprocess.run(["python", "-c", count], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
    assert findings["Docker engine"]["text"].startswith(docker("version", "--format", "{{.Server.Version}}"))
    assert findings["BuildKit"]["text"].startswith("builds with /")
    assert docker("info", "--format", "{{.DockerRootDir}}") in findings["disk of Docker"]["text"]


def examine(checkout: Checkout) -> dict[str, dict[str, object]]:
    """Return the findings by check."""
    done = force(checkout, "doctor", "--runner", "--labels", "cpu", "--json")
    return {finding["check"]: finding for finding in json.loads(done.stdout)}
