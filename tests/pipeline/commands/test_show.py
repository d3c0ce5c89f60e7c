"""`force show`."""

import json
from collections.abc import Callable

import torch
from safetensors.torch import save_file

from pipeline.modelforms import hash_file
from tests.checkouts import Checkout, Ended
from tests.models import write_pickle
from tests.recorded import override

OWN_CONFIG = """\
from dataclasses import dataclass

from common.model import Model


@dataclass(frozen=True)
class Config:
    channels: int = 16


class Small(Model):
    pass
"""


def test_each_value_has_the_file_and_line_it_comes_from_when_programs_ask(
    checkout: Checkout, force: Callable[..., Ended]
) -> None:
    checkout.experiment("a", "inherits: common\nparams:\n  train:\n    epochs: 5\n")
    checkout.experiment("b", "inherits: a\ndescription: a test\nowner: us\n", evaluator=override("evaluator"))
    ended = force("show", "b", "--json")
    assert ended.status == 0
    shown = json.loads(ended.out)
    assert (shown["name"], shown["description"], shown["owner"]) == ("b", "a test", "us")
    assert shown["lineage"] == ["b", "a", "common"]
    assert shown["params"]["train.epochs"] == {"value": 5, "file": "experiments/a/experiment.yaml", "line": 4}
    seed = shown["params"]["runtime.seed"]
    assert (seed["value"], seed["file"]) == (0, "params.yaml")
    line = (checkout.root / "params.yaml").read_text().splitlines()[seed["line"] - 1]
    assert line.strip().startswith("seed:")
    evaluator, model = shown["components"]["evaluator"], shown["components"]["model"]
    assert evaluator == {"class": "Other", "file": "experiments/b/evaluator.py", "declared_by": "b"}
    assert model == {"class": "ConvNet", "file": "common/model.py", "declared_by": "common"}
    assert {name: stage["owner"] for name, stage in shown["stages"].items()} == {
        "prepare": "common",
        "train": "a",
        "evaluate": "b",
    }
    assert "experiments/b/evaluator.py" in shown["stages"]["evaluate"]["files"]
    assert shown["dropped_params"] == []


def test_params_are_named_when_an_override_does_not_take_them(checkout: Checkout, force: Callable[..., Ended]) -> None:
    checkout.experiment("a", model=OWN_CONFIG)
    assert json.loads(force("show", "a", "--json").out)["dropped_params"] == ["model.dropout"]
    assert "not inherited: model.dropout" in force("show", "a").out.splitlines()


def test_file_is_shown_when_it_describes_the_model(checkout: Checkout, force: Callable[..., Ended]) -> None:
    checkout.experiment("a")
    checkout.write("experiments/a/model.json", '{"layers": ["Flatten"]}')
    model = json.loads(force("show", "a", "--json").out)["components"]["model"]
    assert model == {"class": "DeclaredModel", "file": "experiments/a/model.json", "declared_by": "a"}


def test_what_was_detected_is_shown_when_a_model_was_saved_elsewhere(
    checkout: Checkout, force: Callable[..., Ended]
) -> None:
    path = checkout.root / "experiments/a/model.pkl"
    write_pickle(path)
    pin = hash_file(path)
    checkout.experiment("a", f"trust: {{model.pkl: {pin}}}\n")
    model = json.loads(force("show", "a", "--json").out)["components"]["model"]
    assert (model["class"], model["file"], model["sha256"]) == ("PickledModel", "experiments/a/model.pkl", pin)
    assert model["description"].startswith("a pickle of protocol 4, ")
    line = f"experiments/a/model.pkl is {model['description']}; its code is trusted by SHA-256 {pin}"
    assert line in force("show", "a").out.splitlines()


def test_weights_that_training_starts_from_are_shown(checkout: Checkout, force: Callable[..., Ended]) -> None:
    checkout.experiment("a")
    save_file({"w": torch.zeros(3)}, checkout.root / "experiments/a/model.safetensors")
    checkout.experiment("b", "inherits: a\nparams: {train: {epochs: 3}}\n")
    line = "training starts from the weights in experiments/a/model.safetensors: 1 tensors of 3 numbers in safetensors"
    assert any(shown.startswith(line) for shown in force("show", "b").out.splitlines())
    weights = json.loads(force("show", "b", "--json").out)["components"]["model"]["weights"]
    assert (weights["file"], weights["declared_by"]) == ("experiments/a/model.safetensors", "a")


def test_built_models_that_training_takes_are_named(checkout: Checkout, force: Callable[..., Ended]) -> None:
    checkout.experiment("wide", "params: {model: {channels: 64}}\n")
    checkout.experiment("judge", "inherits: wide\n", evaluator=override("evaluator"))
    checkout.experiment("a", "params:\n  model: {init_from: judge}\n")
    shown = json.loads(force("show", "a", "--json").out)
    assert shown["built_models"] == {"model.init_from": {"experiment": "judge", "owner": "wide"}}
    assert shown["params"]["model.init_from"] == {
        "value": "judge",
        "file": "experiments/a/experiment.yaml",
        "line": 2,
    }
    line = "training starts from the built model of judge, which is that of wide (model.init_from)"
    assert line in force("show", "a").out.splitlines()


def test_tables_are_printed_when_people_ask(checkout: Checkout, force: Callable[..., Ended]) -> None:
    checkout.experiment("a", "description: a net\nparams: {train: {epochs: 5}}\n", model=override("model"))
    lines = force("show", "a").out.splitlines()
    assert lines[:2] == ["a: a net", "inherits common"]
    rows = [line.split() for line in lines]
    assert ["model", "Other", "experiments/a/model.py"] in rows
    assert ["train.epochs", "5", "experiments/a/experiment.yaml:2"] in rows
    assert ["prepare", "common"] in rows
    assert ["train", "a"] in rows


def test_the_common_build_is_shown_when_nothing_is_named(checkout: Checkout, force: Callable[..., Ended]) -> None:
    lines = force("show").out.splitlines()
    assert lines[:2] == ["common: the common build", "inherits nothing"]


def test_the_closest_is_suggested_when_there_is_no_such_experiment(force: Callable[..., Ended]) -> None:
    ended = force("show", "comon")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == "error: no experiment 'comon'; did you mean 'common'?\nhint: force ls lists them\n"
