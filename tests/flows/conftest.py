"""A checkout that `force run` really built once, copied for each test that needs it."""

import fcntl
import re
import shutil
from pathlib import Path

import pytest

from tests.checkouts import Checkout, make_checkout
from tests.flows.commands import force

JUDGE = """\
from common.evaluator import Config, Evaluator, Metric, Predictions


def num_samples(predictions: Predictions, config: Config) -> float:
    return float(len(predictions.ids))


class Judge(Evaluator):
    def metrics(self) -> dict[str, Metric]:
        return {**super().metrics(), "num_samples": Metric(num_samples, "max", "samples")}
"""


def make_small_checkout(root: Path) -> Checkout:
    """Make a checkout with two short experiments: `wide` owns its training, `judge` only its evaluation."""
    checkout = make_checkout(root)
    params = root / "params.yaml"
    params.write_text(re.sub(r"epochs: 20\b.*", "epochs: 2", params.read_text()))
    checkout.experiment("wide", "params:\n  model: {channels: 40}\n")
    checkout.experiment("judge", "description: one metric more\n", evaluator=JUDGE)
    return checkout


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of a checkout in which everything was run and committed; the workers of a run of tests share it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "built"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "checkout").exists():
            _build(folder / "unfinished")
            (folder / "unfinished").rename(folder / "checkout")
    return folder / "checkout"


def _build(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    checkout = make_small_checkout(root)
    done = force(checkout, "run", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    checkout.commit()


@pytest.fixture
def built(built_once: Path, tmp_path: Path) -> Checkout:
    """A copy of the built checkout."""
    root = tmp_path / "checkout"
    shutil.copytree(built_once, root)
    return Checkout(root)
