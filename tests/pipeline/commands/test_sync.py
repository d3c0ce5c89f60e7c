"""`force sync`."""

import json
import shutil
from collections.abc import Callable

import pytest

from pipeline.syncing import PARAMS_SCHEMA
from tests.checkouts import Checkout, Ended
from tests.recorded import override, sync


@pytest.fixture
def synced(checkout: Checkout) -> Checkout:
    """A checkout with an experiment whose generated files are as they should be."""
    checkout.experiment("x", model=override("model"))
    sync(checkout)
    return checkout


def test_generated_files_are_written_once_when_they_are_missing(
    checkout: Checkout, force: Callable[..., Ended]
) -> None:
    checkout.experiment("x", model=override("model"))
    files = ["dvc.yaml", "experiments/x/dvc.yaml", PARAMS_SCHEMA]
    ended = force("sync")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines() == [f"wrote {file}" for file in files]
    assert all((checkout.root / file).is_file() for file in files)
    assert force("sync").out == "nothing to do: every generated file is as it should be\n"
    assert force("sync", "--check").status == 0


def test_drift_is_named_and_left_alone_when_it_is_only_checked(synced: Checkout, force: Callable[..., Ended]) -> None:
    path = synced.write("experiments/x/dvc.yaml", "stages: {}\n")
    ended = force("sync", "--check")
    assert (ended.status, ended.out) == (4, "")
    assert ended.err == "error: out of date: experiments/x/dvc.yaml\nhint: force sync\n"
    assert path.read_text() == "stages: {}\n"


def test_hand_edits_are_undone_when_files_are_synced(synced: Checkout, force: Callable[..., Ended]) -> None:
    path = synced.root / "experiments/x/dvc.yaml"
    generated = path.read_text()
    path.write_text(generated + "# by hand\n")
    assert force("sync").out == "wrote experiments/x/dvc.yaml\n"
    assert path.read_text() == generated


def test_file_of_a_deleted_experiment_is_deleted_when_files_are_synced(
    synced: Checkout, force: Callable[..., Ended]
) -> None:
    folder = synced.root / "experiments/x"
    (folder / "experiment.yaml").unlink()
    (folder / "model.py").unlink()
    synced.write("experiments/by_hand/dvc.yaml", "stages: {}\n")
    ended = force("sync", "--check")
    assert (ended.status, ended.err) == (4, "error: out of date: experiments/x/dvc.yaml\nhint: force sync\n")
    assert force("sync").out == "deleted experiments/x/dvc.yaml\n"
    assert list(folder.iterdir()) == []
    assert (synced.root / "experiments/by_hand/dvc.yaml").exists()


def test_drift_is_listed_when_programs_ask(synced: Checkout, force: Callable[..., Ended]) -> None:
    assert json.loads(force("sync", "--json").out) == {"out_of_date": [], "orphans": []}
    (synced.root / "dvc.yaml").unlink()
    shutil.copytree(synced.root / "experiments/x", synced.root / "experiments/y")
    (synced.root / "experiments/x/experiment.yaml").unlink()
    (synced.root / "experiments/x/model.py").unlink()
    ended = force("sync", "--check", "--json")
    assert ended.status == 4
    assert json.loads(ended.out) == {"out_of_date": ["dvc.yaml"], "orphans": ["experiments/x/dvc.yaml"]}


def test_nothing_is_written_when_an_experiment_is_faulty(checkout: Checkout, force: Callable[..., Ended]) -> None:
    checkout.experiment("x", "colour: red\n")
    assert force("sync").status == 3
    assert not (checkout.root / "dvc.yaml").exists()
