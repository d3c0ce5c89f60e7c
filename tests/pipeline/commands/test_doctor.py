"""`force doctor`; that it finds any damage is in test_dvccache.py."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.checkouts import Checkout, Ended
from tests.recorded import override, read_lock, record

Findings = dict[str, dict[str, Any]]
CACHE = "DVC cache"


@pytest.fixture
def recorded(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A checkout in which nothing is amiss, on a machine where the environment is activated."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    checkout.experiment("x", model=override("model"))
    record(checkout)
    return checkout


def examine(force: Callable[..., Ended], *args: str) -> tuple[int, Findings]:
    """Return the exit status and the findings by check."""
    ended = force("doctor", "--json", *args)
    return ended.status, {finding["check"]: finding for finding in json.loads(ended.out)}


def object_of(checkout: Checkout, experiment: str, stage: str, out: str) -> Path:
    (entry,) = (entry for entry in read_lock(checkout, experiment)[stage]["outs"] if entry["path"] == out)
    return checkout.project().cache.object_path(entry["md5"])


def test_everything_is_fine_when_nothing_is_amiss(recorded: Checkout, force: Callable[..., Ended]) -> None:
    status, findings = examine(force)
    machine = {"free disk space", "GPU"}
    assert [f for name, f in findings.items() if name not in machine and not f["is_fine"]] == []
    assert findings["experiments"]["text"] == "2 are sound"
    assert findings["generated files"]["text"] == "as they should be"
    assert status == (0 if all(findings[name]["is_fine"] for name in machine) else 5)


def test_checks_are_a_table_when_people_ask(recorded: Checkout, force: Callable[..., Ended]) -> None:
    lines = force("doctor").out.splitlines()
    assert lines[0].split() == ["check", "found", "mend", "with"]
    assert any(line.split()[:2] == ["experiments", "fine"] for line in lines)


def test_the_mending_command_is_named_when_a_generated_file_drifted(
    recorded: Checkout, force: Callable[..., Ended]
) -> None:
    recorded.write("experiments/x/dvc.yaml", "stages: {}\n")
    status, findings = examine(force)
    assert status == 5
    assert findings["generated files"] == {
        "check": "generated files",
        "is_fine": False,
        "text": "experiments/x/dvc.yaml",
        "mend": "force sync",
    }


def test_faults_are_found_when_an_experiment_is_not_sound(recorded: Checkout, force: Callable[..., Ended]) -> None:
    recorded.experiment("y", "colour: red\n")
    status, findings = examine(force)
    assert status == 5
    assert findings["experiments"]["text"].startswith("experiments/y/experiment.yaml:1:1: unknown key 'colour'")


def test_the_mending_command_is_named_when_there_is_no_remote(recorded: Checkout, force: Callable[..., Ended]) -> None:
    recorded.write(".dvc/config", "[core]\n    analytics = false\n")
    status, findings = examine(force)
    assert status == 5
    assert not findings["DVC remote"]["is_fine"]
    assert findings["DVC remote"]["mend"] == "dvc remote add --default storage URL"


def test_a_lock_is_named_when_it_cannot_be_read(recorded: Checkout, force: Callable[..., Ended]) -> None:
    recorded.write("experiments/x/dvc.lock", "stages: [")
    status, findings = examine(force)
    assert status == 5
    assert findings[CACHE]["text"].startswith("not checked: experiments/x/dvc.lock")


def test_missing_programs_are_found_when_path_has_none(
    recorded: Checkout, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(recorded.root))
    status, findings = examine(force)
    assert status == 5
    names = ("git", "dvc", "force")
    assert [findings[f"{name} on PATH"]["is_fine"] for name in names] == [False, False, False]
    assert [findings[f"{name} on PATH"]["mend"] for name in names] == [
        "apt-get install git",
        "source .venv/bin/activate",
        "source .venv/bin/activate",
    ]


def test_damaged_object_is_named_with_its_mending_command_when_the_cache_is_checked(
    recorded: Checkout, force: Callable[..., Ended]
) -> None:
    path = object_of(recorded, "x", "train", "outputs/train/train.log")
    path.write_text("damaged")
    ended = force("doctor")
    (line,) = (line for line in ended.out.splitlines() if line.startswith(CACHE))
    assert " ".join(line.split()) == f"{CACHE} failed {path} is damaged force doctor --mend-cache"
    assert ended.status == 5
    assert ended.err.endswith("hint: force doctor --mend-cache\n")
    assert path.exists()


def test_damaged_object_is_taken_out_when_the_cache_is_mended(recorded: Checkout, force: Callable[..., Ended]) -> None:
    path = object_of(recorded, "x", "train", "outputs/train/model")
    path.write_text("damaged")
    _, findings = examine(force, "--mend-cache")
    (kept,) = recorded.root.glob(".force/kept/*/cache/*.dir")
    assert findings[CACHE]["is_fine"]
    assert str(kept.relative_to(recorded.root)) in findings[CACHE]["text"]
    assert kept.read_text() == "damaged"
    assert not path.exists()
    assert examine(force)[1][CACHE]["is_fine"]
