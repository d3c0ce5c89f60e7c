"""Results travel: the default remote beside the checkout, a fresh clone, and S3 through a real S3 API."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.checkouts import Checkout
from tests.flows.commands import ENVIRONMENT, TIMEOUT_S, dvc, force, read_all

pytestmark = pytest.mark.slow


def clone(built: Checkout, folder: Path) -> Checkout:
    """Clone a checkout beside it: nothing but what git keeps."""
    subprocess.run(["git", "clone", "--quiet", built.root, folder], check=True)
    return Checkout(folder)


def test_a_fresh_clone_fetches_what_was_pushed_to_the_default_remote(built: Checkout) -> None:
    storage = built.root.parent / "force-build-storage"
    assert not storage.exists()
    pushed = dvc(built, "push")
    assert pushed.returncode == 0, pushed.stderr
    assert storage.is_dir()
    fresh = clone(built, built.root.parent / "fresh")
    states = {row["state"] for row in json.loads(force(fresh, "plan", "--json").stdout)}
    assert states == {"fetch"}
    compared = force(fresh, "compare")  # metrics and certificates are in git
    assert compared.stdout == force(built, "compare").stdout
    done = force(fresh, "run")
    assert done.returncode == 0, done.stderr
    assert "done" not in done.stdout
    assert read_all(fresh, "**/outputs/train/model/*") == read_all(built, "**/outputs/train/model/*")
    assert fresh.git("status", "--porcelain") == ""


def test_plain_dvc_pull_brings_everything(built: Checkout) -> None:
    assert dvc(built, "push").returncode == 0
    fresh = clone(built, built.root.parent / "fresh")
    pulled = dvc(fresh, "pull")
    assert pulled.returncode == 0, pulled.stderr
    assert force(fresh, "run").stdout.startswith("nothing to do: 6 stages are up to date")


def test_a_fresh_clone_without_the_remote_runs_again(built: Checkout, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    fresh = clone(built, elsewhere / "fresh")
    plan = json.loads(force(fresh, "plan", "judge", "--json").stdout)
    assert [row["state"] for row in plan] == ["run", "run", "run"]
    assert plan[0]["reasons"][-1]["text"] == "not in the cache"
    assert force(fresh, "run", "judge").returncode == 0


def test_damage_in_the_remote_is_named_and_the_stage_runs(built: Checkout) -> None:
    assert dvc(built, "push").returncode == 0
    storage = built.root.parent / "force-build-storage"
    weights = (built.root / "common/outputs/train/model/weights.safetensors").read_bytes()
    (stored,) = (p for p in storage.glob("files/md5/*/*") if p.read_bytes() == weights)
    stored.chmod(0o644)
    stored.write_bytes(weights[:-1])
    fresh = clone(built, built.root.parent / "fresh")
    done = force(fresh, "run", "judge")
    assert done.returncode == 0, done.stderr
    assert "in the DVC cache is damaged; it is kept as" in done.stdout or "the remote does not have" in done.stdout
    assert (fresh.root / "common/outputs/train/model/weights.safetensors").read_bytes() == weights


def test_s3_is_one_config_line(built: Checkout, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_url,
    }.items():
        monkeypatch.setitem(ENVIRONMENT, name, value)
    make_bucket = "import boto3; boto3.client('s3').create_bucket(Bucket='lab')"
    subprocess.run(["python", "-c", make_bucket], env=ENVIRONMENT, check=True, timeout=TIMEOUT_S)
    assert dvc(built, "remote", "modify", "storage", "url", "s3://lab/force").returncode == 0
    pushed = dvc(built, "push")
    assert pushed.returncode == 0, pushed.stderr
    built.commit()
    fresh = clone(built, built.root.parent / "fresh")
    done = force(fresh, "run")
    assert done.returncode == 0, done.stderr
    assert "done" not in done.stdout
    assert read_all(fresh, "**/outputs/train/model/*") == read_all(built, "**/outputs/train/model/*")
    assert not os.path.exists(built.root.parent / "force-build-storage")
