"""`force plan`; what it says since a revision is in test_changes.py."""

import json
from collections.abc import Callable

import pytest

from tests.checkouts import Checkout, Ended
from tests.recorded import override, record


@pytest.fixture
def recorded(checkout: Checkout) -> Checkout:
    """A checkout where everything is up to date but the training of `x`."""
    checkout.experiment("x", "params: {train: {epochs: 5}}\n")
    record(checkout)
    checkout.experiment("x", "params: {train: {epochs: 7}}\n")
    return checkout


def test_state_and_reason_are_told_of_each_stage_when_people_ask(
    recorded: Checkout, force: Callable[..., Ended]
) -> None:
    ended = force("plan")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "experiment  stage     state       why",
        "common      prepare   up to date",
        "common      train     up to date",
        "common      evaluate  up to date",
        "x           prepare   up to date  inherited from common",
        "x           train     run         train.epochs: 5 → 7",
        "x           evaluate  run         train runs first",
        "",
        "2 run, 3 up to date, 1 inherited",
    ]


def test_inherited_stage_is_counted_once_where_it_runs_first(checkout: Checkout, force: Callable[..., Ended]) -> None:
    for name in ("a", "b"):
        checkout.experiment(name, f"params: {{train: {{epochs: {ord(name)}}}}}\n")
    assert force("plan", "a", "b").out.splitlines()[-1] == "5 run, 2 inherited"


def test_reasons_have_a_kind_when_programs_ask(recorded: Checkout, force: Callable[..., Ended]) -> None:
    prepare, train, _ = json.loads(force("plan", "x", "--json").out)
    assert prepare == {
        "experiment": "x",
        "stage": "prepare",
        "owner": "common",
        "is_inherited": True,
        "state": "up to date",
        "reasons": [],
    }
    assert train == {
        "experiment": "x",
        "stage": "train",
        "owner": "x",
        "is_inherited": False,
        "state": "run",
        "reasons": [{"kind": "param", "name": "train.epochs", "text": "train.epochs: 5 → 7"}],
    }


def test_inherited_stage_has_its_owners_reason_when_it_would_run(
    checkout: Checkout, force: Callable[..., Ended]
) -> None:
    checkout.experiment("x", model=override("model"))
    prepare = force("plan", "x").out.splitlines()[1]
    assert prepare == "x           prepare   run    inherited from common: has not run yet"


def test_nothing_but_the_index_is_written_when_a_plan_is_made(recorded: Checkout, force: Callable[..., Ended]) -> None:
    def list_files() -> dict[str, int]:
        files = (path for path in recorded.root.rglob("*") if path.is_file())
        return {str(path): path.stat().st_mtime_ns for path in files if ".force" not in path.parts}

    before = list_files()
    assert force("plan").status == 0
    assert list_files() == before
    assert [path.name for path in (recorded.root / ".force").iterdir()] == ["index.json"]


def test_faults_are_told_when_an_experiment_is_not_sound(checkout: Checkout, force: Callable[..., Ended]) -> None:
    checkout.experiment("x", "params: {train: {epoch: 7}}\n")
    ended = force("plan")
    assert (ended.status, ended.out) == (3, "")
    assert ended.err == (
        "error: experiments/x/experiment.yaml:1:18: unknown key 'epoch' in 'params.train'; did you mean 'epochs'?\n"
    )
