"""`force ls`."""

import json
from collections.abc import Callable

from tests.checkouts import Checkout, Ended
from tests.recorded import override


def test_experiments_are_listed_with_what_they_change_when_all_are_sound(
    checkout: Checkout, force: Callable[..., Ended]
) -> None:
    checkout.experiment("a", "description: a net\nparams: {train: {epochs: 1}}\n", model=override("model"))
    checkout.experiment("b", "inherits: a\ndescription: more\n", evaluator=override("evaluator"))
    ended = force("ls")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "experiment  inherits  changes                owns                      description",
        "common                                       prepare, train, evaluate  the common build",
        "a           common    model, train.epochs=1  train, evaluate           a net",
        "b           a         evaluator              evaluate                  more",
    ]


def test_experiments_are_described_in_full_when_programs_ask(checkout: Checkout, force: Callable[..., Ended]) -> None:
    text = "description: a net\nowner: vision\nparams: {train: {epochs: 1}}\n"
    checkout.experiment("a", text, model=override("model"))
    _, a = json.loads(force("ls", "--json").out)
    assert a == {
        "name": "a",
        "is_sound": True,
        "inherits": "common",
        "description": "a net",
        "owner": "vision",
        "overrides": ["model"],
        "params": {"train.epochs": 1},
        "owns": ["train", "evaluate"],
    }


def test_faulty_experiments_are_listed_too_when_there_are_some(checkout: Checkout, force: Callable[..., Ended]) -> None:
    checkout.experiment("a", model=override("model"))
    checkout.experiment("broken", "colour: red\n")
    checkout.experiment("void")
    ended = force("ls")
    rows = [line.split() for line in ended.out.splitlines()[1:]]
    assert [row[0] for row in rows] == ["common", "a", "broken", "void"]
    assert rows[2][1:] == rows[3][1:] == ["?", "has", "faults"]
    assert ended.status == 3
    assert "experiments/broken/experiment.yaml:1:1: unknown key 'colour'" in ended.err
    assert "experiments/void/experiment.yaml:1:1: changes nothing of 'common'" in ended.err


def test_experiments_are_faulty_when_their_trainings_wait_for_each_other(
    checkout: Checkout, force: Callable[..., Ended]
) -> None:
    checkout.experiment("a", "params: {model: {init_from: b}}\n")
    checkout.experiment("b", "params: {model: {init_from: a}}\n")
    ended = force("ls")
    assert [line.split()[:2] for line in ended.out.splitlines()[2:]] == [["a", "?"], ["b", "?"]]
    assert ended.err == (
        "error: experiments/a/experiment.yaml:1:29: trainings wait for each other's built models: a → b → a\n"
        "hint: set model.init_from to another experiment, or to null\n"
    )


def test_faulty_experiments_are_marked_when_programs_ask(checkout: Checkout, force: Callable[..., Ended]) -> None:
    checkout.experiment("broken", "colour: red\n")
    ended = force("ls", "--json")
    assert ended.status == 3
    assert json.loads(ended.out)[1] == {"name": "broken", "is_sound": False}
