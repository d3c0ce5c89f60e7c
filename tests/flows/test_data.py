"""Data that params name: real runs, with a table in git, one that DVC tracks, and one that a server has."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.checkouts import Checkout, make_checkout
from tests.common.test_unpacking import write
from tests.flows.commands import ENVIRONMENT, dvc, force, list_processes, start_force, wait_until
from tests.servers import serve_files

pytestmark = pytest.mark.slow

FLOWERS = """\
description: flowers from a table
components: {model: "common.zoo.mlp:MLP"}
params:
  data:
    source: {name: table, path: data/flowers.csv, target: kind}
    transforms: [{name: normalise}]
  model: {hidden: [8]}
  train: {epochs: 2}
"""


def write_flowers(checkout: Checkout, num: int = 200) -> None:
    """Write a table of two kinds of flowers."""
    rows = (
        f"{place % 7 + place / 1000},{place % 2 * 3 + place % 5 / 10},{'rose' if place % 2 else 'iris'}\n"
        for place in range(num)
    )
    checkout.write("data/flowers.csv", "length,width,kind\n" + "".join(rows))


@pytest.fixture
def flowers(built: Checkout) -> Checkout:
    """The built checkout with an experiment on a table, which has not run."""
    write_flowers(built)
    built.experiment("flowers", FLOWERS)
    return built


def read_metadata(checkout: Checkout, name: str = "flowers") -> dict[str, Any]:
    """Return the metadata of the data that an experiment prepared."""
    found: dict[str, Any] = json.loads(
        (checkout.root / f"experiments/{name}/outputs/prepare/data/metadata.json").read_text()
    )
    return found


def test_table_is_trained_on_and_prepared_again_when_it_changed(flowers: Checkout) -> None:
    done = force(flowers, "run", "flowers")
    assert done.returncode == 0, done.stdout + done.stderr
    metadata = read_metadata(flowers)
    assert (metadata["classes"], sum(metadata["num_samples"].values())) == (["iris", "rose"], 200)
    assert metadata["sources"][0]["name"] == "data/flowers.csv"
    assert force(flowers, "run", "flowers").stdout.startswith("nothing to do")
    assert dvc(flowers, "status").stdout == "Data and pipelines are up to date.\n"

    write_flowers(flowers, 250)
    plan = json.loads(force(flowers, "plan", "flowers", "--json").stdout)
    assert [reason["text"] for reason in plan[0]["reasons"]] == ["data/flowers.csv changed"]
    assert force(flowers, "run", "flowers:prepare").returncode == 0
    assert sum(read_metadata(flowers)["num_samples"].values()) == 250


def test_data_that_dvc_tracks_are_pulled_when_they_are_not_here(flowers: Checkout, tmp_path: Path) -> None:
    dvc(flowers, "remote", "add", "--default", "--force", "storage", str(tmp_path / "storage"))
    assert dvc(flowers, "add", "data/flowers.csv").returncode == 0
    assert dvc(flowers, "push", "data/flowers.csv.dvc").returncode == 0
    (flowers.root / "data/flowers.csv").unlink()
    shutil.rmtree(flowers.root / ".dvc/cache/files")
    done = force(flowers, "run", "flowers:prepare")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (flowers.root / "data/flowers.csv").exists()
    assert sum(read_metadata(flowers)["num_samples"].values()) == 200


def test_images_are_prepared_by_several_processes_to_the_same_bytes(built: Checkout) -> None:
    for place in range(600):
        path = built.root / f"data/shades/{'dark' if place % 2 else 'light'}/{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (place % 256, place % 251, place // 256)).save(path)
    source = "{name: image_folder, path: data/shades}"
    params = f"params:\n  data: {{source: {source}}}\n"
    built.experiment("shades", params)
    done = force(built, "run", "shades:prepare")
    assert done.returncode == 0, done.stdout + done.stderr
    metadata = read_metadata(built, "shades")
    assert (metadata["input_shape"], metadata["stored_dtype"]) == ([3, 8, 8], "uint8")
    assert sum(metadata["num_samples"].values()) == 600


def test_bad_data_end_the_stage_in_one_line(flowers: Checkout) -> None:
    flowers.write("data/flowers.csv", "length,width,kind\n1,2,rose\n3,,iris\n")
    done = force(flowers, "run", "flowers")
    assert done.returncode == 6
    message = "BadSourceError: data/flowers.csv has no value in column 'width' of row 1 (from 0)"
    assert message in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stdout + done.stderr
    assert not (flowers.root / "experiments/flowers/outputs/prepare/data").exists()


# Waits for the state of what is done so far, and is killed, or waits for that, once.
ENDING = """\
import os, signal, time
from collections.abc import Iterator
from pathlib import Path

import torch

from common.data import DataModule, Samples


class Ending(DataModule):
    def read(self) -> Iterator[Samples]:
        for part in range(20):
            if part == 12 and Path("ends").exists():
                while not list(Path(".force/checkpoints/ending").glob("*/parts.json")):
                    time.sleep(0.01)
                if Path("ends").read_text() == "by itself":
                    Path("ends").unlink()
                    os.kill(os.getpid(), signal.SIGKILL)
                Path("ends").rename("waits")
                time.sleep(1000)
            inputs = torch.rand(50, 8, generator=torch.Generator().manual_seed(part))
            yield Samples(inputs, torch.arange(50) % 2, torch.arange(50 * part, 50 * part + 50), ("a", "b"))
"""


@pytest.fixture
def ending(tmp_path: Path) -> Checkout:
    """A checkout with an experiment whose preparation ends too early, if the file `ends` is there; `whole` is done."""
    (tmp_path / "checkout").mkdir()
    checkout = make_checkout(tmp_path / "checkout")
    settings = "params: {data: {valid_fraction: 0.1}, monitoring: {checkpoint_minutes: 0.00001}}\n"
    checkout.experiment("ending", settings, data=ENDING)
    checkout.experiment("whole", settings, data=f"{ENDING}# no other's result\n")
    done = force(checkout, "run", "whole:prepare")
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout


def check_continued(checkout: Checkout) -> None:
    """Check that the next run goes on, to the same bytes, and leaves nothing else."""
    done = force(checkout, "run", "ending:prepare")
    assert done.returncode == 0, done.stdout + done.stderr
    log = (checkout.root / "experiments/ending/outputs/prepare/prepare.log").read_text()
    assert "the preparation was interrupted: it continues at sample " in log
    assert int(log.split(" continues at sample ")[1].split()[0]) in range(50, 601, 50)
    assert read_metadata(checkout, "ending")["files"] == read_metadata(checkout, "whole")["files"]
    assert not list(checkout.root.glob(".force/checkpoints/ending/*/"))
    assert dvc(checkout, "status", "experiments/ending/dvc.yaml:prepare").stdout.endswith("are up to date.\n")


def test_preparation_that_was_killed_goes_on(ending: Checkout) -> None:
    ending.write("ends", "by itself")
    done = force(ending, "run", "ending:prepare")
    assert done.returncode == 6
    assert "killed by SIGKILL" in done.stderr
    assert not (ending.root / "experiments/ending/outputs/prepare/data").exists()
    check_continued(ending)


def test_preparation_goes_on_when_the_whole_run_was_killed(ending: Checkout) -> None:
    ending.write("ends", "with all")
    process = start_force(ending, "run", "ending:prepare")
    wait_until((ending.root / "waits").exists, "waiting for the end")
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: not list_processes(ending), "the end of every process")
    check_continued(ending)


def test_preparation_starts_anew_when_its_params_changed(ending: Checkout) -> None:
    ending.write("ends", "by itself")
    assert force(ending, "run", "ending:prepare").returncode == 6
    config = ending.root / "experiments/ending/experiment.yaml"
    config.write_text(config.read_text().replace("0.1", "0.2"))
    done = force(ending, "run", "ending:prepare")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "continues" not in (ending.root / "experiments/ending/outputs/prepare/prepare.log").read_text()
    assert not list(ending.root.glob(".force/checkpoints/ending/*/"))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system of its own takes root")
def test_nothing_half_written_is_left_when_the_disk_is_full(ending: Checkout, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", small], check=True)
    try:
        (ending.root / ".force/checkpoints").mkdir(exist_ok=True)
        (ending.root / ".force/checkpoints/ending").symlink_to(small)
        done = force(ending, "run", "ending:prepare")
        assert done.returncode == 6
        assert "No space left on device" in done.stderr
        outputs = ending.root / "experiments/ending/outputs"
        assert {path.name for path in outputs.rglob("*")} == {"prepare", "outcome.json", "failed.log"}
        subprocess.run(["mount", "-o", "remount,size=10m", small], check=True)
        done = force(ending, "run", "ending:prepare")
        assert done.returncode == 0, done.stdout + done.stderr
        assert read_metadata(ending, "ending")["files"] == read_metadata(ending, "whole")["files"]
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)


def test_nothing_is_trained_on_data_that_break_what_is_expected(flowers: Checkout) -> None:
    path = flowers.root / "experiments/flowers/experiment.yaml"
    text = path.read_text()
    expect = "    expect: {maximum: 3, columns: {width: [-3, 3]}, classes: [iris, rose], min_samples: {train: 100}}\n"
    path.write_text(text.replace("    transforms: [{name: normalise}]\n", f"    transforms: []\n{expect}"))
    done = force(flowers, "run", "flowers")
    assert done.returncode == 6
    assert "BadSourceError: train: sample " in done.stderr
    assert "in column 'length', above the maximum 3 of data.expect" in done.stderr
    assert not (flowers.root / "experiments/flowers/outputs/train").exists()

    path.write_text(path.read_text().replace("transforms: []", "transforms: [{name: normalise}]"))
    done = force(flowers, "run", "flowers:prepare")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = json.loads(force(flowers, "data", "show", "flowers", "--json").stdout)
    assert [entry["name"] for entry in shown["inputs"]["measures"]] == ["column 'length'", "column 'width'"]
    with Image.open(flowers.root / shown["pictures"][0]) as picture:
        picture.load()
    checked = force(flowers, "data", "check", "flowers")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "the data are as data.expect says" in checked.stdout
    assert "input_shape is (2,), not (1, 8, 8)" in checked.stdout

    path.write_text(path.read_text().replace("maximum: 3", "maximum: 1"))  # what is stored is checked
    checked = force(flowers, "data", "check", "flowers")
    assert (checked.returncode, checked.stderr.splitlines()[0]) == (
        7,
        "error: the data of flowers break 3 expectations",
    )
    assert "out of date: data.expect.maximum: 3 → 1" in checked.stdout


def test_archive_of_a_server_is_prepared_until_its_sha256_is_another(flowers: Checkout, tmp_path: Path) -> None:
    content = write(tmp_path / "flowers.tar.gz", {"flowers.csv": (flowers.root / "data/flowers.csv").read_bytes()})
    sha256 = hashlib.sha256(content.read_bytes()).hexdigest()
    with serve_files() as server:
        server.files["/flowers.tar.gz"] = content.read_bytes()
        pinned = f"{server.url}/flowers.tar.gz#sha256={sha256}"
        flowers.experiment("flowers", FLOWERS.replace("data/flowers.csv", f"'{pinned}'"))
        done = force(flowers, "run", "flowers:prepare")
        assert done.returncode == 0, done.stdout + done.stderr
        metadata = read_metadata(flowers)
        assert metadata["sources"][0] == {"name": f"{server.url}/flowers.tar.gz", "sha256": sha256}
        assert metadata["sources"][1]["name"] == f"{server.url}/flowers.tar.gz/flowers.csv"
        assert sum(metadata["num_samples"].values()) == 200
        assert dvc(flowers, "status", "experiments/flowers/dvc.yaml:prepare").stdout.endswith("are up to date.\n")
        folder = flowers.root / "experiments/flowers/outputs/prepare"
        assert not list(folder.parent.rglob("copies-*"))

        flowers.experiment("flowers", FLOWERS.replace("data/flowers.csv", f"'{pinned[:-2]}00'"))
        done = force(flowers, "run", "flowers")
        assert done.returncode == 6
        message = f"BadSourceError: '{server.url}/flowers.tar.gz' has the sha256 {sha256}, wanted {sha256[:-2]}00"
        assert message in done.stderr.splitlines()[0]
        assert not list(folder.parent.rglob("copies-*"))


def test_function_of_an_experiment_is_called(built: Checkout) -> None:
    shapes = """\
        import torch

        from common.samples import Samples


        def draw(num: int) -> Samples:
            targets = torch.arange(num) % 2
            noise = torch.rand(num, 2, generator=torch.Generator().manual_seed(0))
            return Samples(noise + targets[:, None], targets, torch.arange(num), ("near", "far"))
    """
    source = "{name: function, call: 'experiments.rings.shapes:draw', arguments: {num: 300}}"
    built.experiment("rings", f"params: {{data: {{source: {source}}}}}\n", shapes=shapes)
    done = force(built, "run", "rings:prepare")
    assert done.returncode == 0, done.stdout + done.stderr
    metadata = read_metadata(built, "rings")
    assert (metadata["name"], metadata["classes"]) == ("experiments.rings.shapes:draw", ["near", "far"])
    assert force(built, "run", "rings:prepare").stdout.startswith("nothing to do")


def test_saved_dataset_of_another_library_is_prepared(built: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    monkeypatch.setitem(ENVIRONMENT, "HF_HUB_OFFLINE", "1")
    kinds = datasets.Features({"x": datasets.Value("float32"), "kind": datasets.ClassLabel(names=["low", "high"])})
    columns = {"x": [place / 100 for place in range(300)], "kind": [int(place >= 150) for place in range(300)]}
    datasets.Dataset.from_dict(columns, features=kinds).save_to_disk(str(built.root / "data/steps"))
    built.experiment("steps", "params: {data: {source: {name: huggingface, path: data/steps, target: kind}}}\n")
    done = force(built, "run", "steps:prepare")
    assert done.returncode == 0, done.stdout + done.stderr
    metadata = read_metadata(built, "steps")
    assert (metadata["classes"], sum(metadata["num_samples"].values())) == (["low", "high"], 300)
    assert "data/steps/state.json" in [source["name"] for source in metadata["sources"]]
    assert force(built, "run", "steps:prepare").stdout.startswith("nothing to do")
