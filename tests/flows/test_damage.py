"""What is damaged, edited or does not fit on the disk: named, never used, never lost."""

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkouts import Checkout
from tests.flows.commands import dvc, force, read_all

pytestmark = pytest.mark.slow


def list_objects(checkout: Checkout, experiment: str = "") -> list[Path]:
    """Return the cached objects that dvc.lock files name, in order."""
    text = "".join(path.read_text() for path in checkout.root.glob(f"**/{experiment}/dvc.lock"))
    objects = (checkout.root / ".dvc/cache/files/md5").glob("*/*")
    return sorted(path for path in objects if path.parent.name + path.name in text)


def corrupt(path: Path, chance: random.Random) -> None:
    """Flip a bit of a file that DVC has made read-only."""
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.parametrize("seed", range(2))
def test_a_damaged_cache_object_is_named_and_its_stage_runs_again(built: Checkout, seed: int) -> None:
    chance = random.Random(seed)
    before = read_all(built, "experiments/wide/outputs/train/model/*")
    damaged = chance.choice(list_objects(built, "wide"))
    corrupt(damaged, chance)
    shutil.rmtree(built.root / "experiments/wide/outputs/train")
    for path in (built.root / "experiments/wide/outputs/evaluate").iterdir():
        if path.name not in ("metrics.json", "certificate.json", "seeds.json"):
            path.unlink()
    done = force(built, "run", "wide")
    assert done.returncode == 0, done.stderr
    assert f"warning: {damaged} in the DVC cache is damaged; it is kept as .force/kept/" in done.stdout
    assert read_all(built, "experiments/wide/outputs/train/model/*") == before
    assert force(built, "run").stdout.startswith("nothing to do")


def test_damage_that_plain_dvc_checks_out_is_not_used(built: Checkout) -> None:
    folder = built.root / "common/outputs/prepare/data"
    wanted = (folder / "train/inputs.safetensors").read_bytes()
    (cached,) = (p for p in (built.root / ".dvc/cache/files/md5").glob("*/*") if p.read_bytes() == wanted)
    corrupt(cached, random.Random(0))
    shutil.rmtree(folder)
    assert dvc(built, "checkout").returncode == 0  # DVC does not verify: this is why we do
    assert (folder / "train/inputs.safetensors").read_bytes() != wanted
    config = built.root / "experiments/wide/experiment.yaml"
    config.write_text(config.read_text().replace("40", "36"))
    force(built, "sync")
    stage = dvc(built, "repro", "--single-item", "experiments/wide/dvc.yaml:train")
    assert (
        "error: common/outputs/prepare/data is not what prepare of common wrote: damaged or edited\n"
        "hint: force run common\n"
    ) in stage.stderr
    done = force(built, "run", "wide:train")
    assert done.returncode == 0, done.stderr
    assert (folder / "train/inputs.safetensors").read_bytes() == wanted


def test_an_edited_out_is_kept_and_the_recorded_one_comes_back(built: Checkout) -> None:
    path = built.root / "experiments/wide/outputs/train/config.json"
    recorded = path.read_bytes()
    path.chmod(0o644)
    path.write_text("mine")
    plan = json.loads(force(built, "plan", "wide", "--json").stdout)
    assert [row["state"] for row in plan] == ["up to date", "cached", "up to date"]
    assert plan[1]["reasons"][0]["text"] == "outputs/train/config.json is not what the stage wrote"
    done = force(built, "run", "wide")
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == recorded
    note = "warning: experiments/wide/outputs/train/config.json is not what dvc.lock records; it is kept as "
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(note))
    assert (built.root / line.removeprefix(note)).read_text() == "mine"


def test_edited_metrics_are_kept_and_evaluated_again(built: Checkout) -> None:
    path = built.root / "experiments/wide/outputs/evaluate/metrics.json"
    recorded = path.read_bytes()
    path.write_text('{"accuracy": 1.0}')
    shown = force(built, "compare", "wide")
    assert "wide is out of date: outputs/evaluate/metrics.json is not what the stage wrote" in shown.stdout
    done = force(built, "run", "wide")
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == recorded
    kept = list((built.root / ".force/kept").glob("*/experiments/wide/outputs/evaluate/metrics.json"))
    assert [path.read_text() for path in kept] == ['{"accuracy": 1.0}']


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that is soon full."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system of its own takes root")
def test_outs_stay_whole_when_the_disk_is_full(built: Checkout, small_disk: Path) -> None:
    outputs = built.root / "experiments/wide/outputs"
    shutil.copytree(outputs / "evaluate", small_disk / "evaluate")
    shutil.rmtree(outputs)
    outputs.symlink_to(small_disk)
    built.experiment("wide", "params:\n  model: {channels: 128}\n")
    assert force(built, "sync").returncode == 0
    done = force(built, "stage", "train", at="experiments/wide")
    assert done.returncode == 6
    assert "No space left on device" in done.stderr
    assert done.stderr.startswith("error: train of wide failed: ")
    left = {path.name for path in (small_disk / "train").iterdir()}
    assert left <= {"outcome.json", "failed.log"}
    assert not (small_disk / "train.partial").exists()
    assert (small_disk / "evaluate" / "metrics.json").exists()
    outputs.unlink()
    again = force(built, "run", "wide:train")
    assert again.returncode == 0, again.stderr
