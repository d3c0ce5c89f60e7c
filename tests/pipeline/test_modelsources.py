"""What `force model` is asked for: experiments, built or not, and files of every form. Nothing is loaded."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from common.dataset import write_metadata
from pipeline.errors import ConfigError, ForceError, ToolError, UsageError
from pipeline.modelforms import hash_file
from pipeline.modelsources import CLASS, ModelSource, find_source
from tests.checkouts import Checkout
from tests.datasets import make_dataset
from tests.models import write_built, write_pickle
from tests.recorded import override

LAYERS = '{"layers": ["Flatten", {"Linear": {"out_features": "classes"}}]}'


@pytest.fixture(autouse=True)
def root(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkout, which the test is in."""
    monkeypatch.chdir(checkout.root)
    return checkout.root


@pytest.fixture
def data(root: Path) -> str:
    """Where the metadata of the common data are."""
    folder = root / "common/outputs/prepare/data"
    folder.mkdir(parents=True)
    write_metadata(make_dataset().metadata, folder)
    return str(folder)


def _find(checkout: Checkout, name: str, experiment: str = "", trusted: str = "") -> ModelSource:
    return find_source(checkout.project(), name, experiment, trusted)


def test_a_built_model_is_taken_from_its_owner(checkout: Checkout, root: Path, data: str) -> None:
    checkout.experiment("judge", evaluator=override("evaluator"))
    write_built(root / "common/outputs/train/model")
    found = _find(checkout, "judge")
    assert found.description.startswith("a built ConvNet of 14 tensors, ")
    assert found.description.endswith(", which is that of common")
    assert found.task["inputs"] == {"train": str(root / "common/outputs/train/model"), "prepare": data}
    assert found.is_built


def test_a_model_that_is_not_trained_is_built_for_the_data(checkout: Checkout, data: str) -> None:
    checkout.experiment("wide", "params: {model: {channels: 40}}\n")
    found = _find(checkout, "wide")
    assert (found.form, found.is_built) == (CLASS, False)
    assert found.description == "ConvNet of common/model.py, not trained: random weights"
    assert found.task["components"] == {"model": ["common.model", "ConvNet"]}
    assert found.task["params"]["model"]["channels"] == 40
    assert found.task["inputs"] == {"prepare": data}


def test_without_model_and_data_there_is_nothing_to_show(checkout: Checkout) -> None:
    with pytest.raises(ToolError, match="neither a built model here nor prepared data") as caught:
        _find(checkout, "common")
    assert caught.value.hint == "force run common"


def test_a_damaged_model_is_named(checkout: Checkout, root: Path) -> None:
    folder = root / "common/outputs/train/model"
    write_built(folder)
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ConfigError, match="cannot be read as a model: the header claims"):
        _find(checkout, "common")
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ToolError, match="common/outputs/train/model is no built model: damaged or edited"):
        _find(checkout, "common")


def test_a_file_is_for_the_experiment_that_its_folder_is_of(checkout: Checkout, root: Path, data: str) -> None:
    checkout.experiment("declared")
    checkout.write("experiments/declared/model.json", LAYERS)
    shutil.copy(root / "experiments/declared/model.json", root.parent / "model.json")
    inside, outside = _find(checkout, "experiments/declared/model.json"), _find(checkout, "../model.json")
    assert (inside.form, inside.task["inputs"]) == ("model.json", {"prepare": data})
    assert (outside.form, outside.has_metadata) == ("model.json", False)
    assert _find(checkout, "../model.json", "declared").task["inputs"] == {"prepare": data}


def test_weights_alone_get_the_class_that_somebody_names(checkout: Checkout, data: str) -> None:
    save_file({"a": torch.zeros(3)}, "a.safetensors")
    alone, named = _find(checkout, "a.safetensors"), _find(checkout, "a.safetensors", "common")
    assert "components" not in alone.task
    assert named.task["components"] == {"model": ["common.model", "ConvNet"]}
    assert named.task["weights"] == alone.task["weights"]
    assert alone.task["weights"]["form"] == "safetensors"


def test_code_wants_a_pin(checkout: Checkout, root: Path) -> None:
    write_pickle(root / "model.pkl")
    sha256 = hash_file(root / "model.pkl")
    for trusted in ("", "0" * 64):
        with pytest.raises(ConfigError, match="loading it runs code that it brings; it would use ") as caught:
            _find(checkout, "model.pkl", trusted=trusted)
        assert caught.value.hint == f"if you trust who made it: --trust {sha256}"
    assert _find(checkout, "model.pkl", trusted=sha256).task["trust"] == {"model": sha256}


def test_the_pin_of_an_experiment_counts_for_its_files(checkout: Checkout, root: Path) -> None:
    write_pickle(root / "experiments/pickled/model.pkl")
    checkout.experiment("pickled")
    with pytest.raises(ConfigError, match="loading it runs code"):
        _find(checkout, "experiments/pickled/model.pkl")
    sha256 = hash_file(root / "experiments/pickled/model.pkl")
    checkout.experiment("pickled", f"trust: {{model.pkl: {sha256}}}\n")
    assert _find(checkout, "experiments/pickled/model.pkl").task["trust"] == {"model": sha256}
    with pytest.raises(ConfigError, match="loading it runs code"):
        _find(checkout, shutil.copy("experiments/pickled/model.pkl", "copy.pkl"))


@pytest.mark.parametrize(
    ("name", "experiment", "kind", "message", "hint"),
    [
        (
            "commn",
            "",
            UsageError,
            "there is no experiment 'commn', and no such file; did you mean 'common'?",
            "force ls",
        ),
        ("common", "common", UsageError, "'common' is an experiment, which has data", "leave the option out"),
        ("text.txt", "", ConfigError, "text.txt: is no model: no model file that is known here", "docs/experiments.md"),
        ("experiments/x", "", ConfigError, "experiments/x: is no model", "it is the folder of an experiment: force"),
        ("link", "", ConfigError, "link: no such file", ""),
        ("x.json", "", ConfigError, "x.json:1:", ""),
        ("index.json", "", ConfigError, "index.json: cannot be read as a model", ""),
        ("text.txt", "common", ToolError, "the prepared data of common is not here", "force run common"),
        ("text.txt", "nobody", UsageError, "no experiment 'nobody'", ""),
        ("pipe", "", ConfigError, "it is neither a file nor a folder", ""),
    ],
)
def test_what_is_no_model_is_named(
    name: str, experiment: str, kind: type[ForceError], message: str, hint: str, checkout: Checkout, root: Path
) -> None:
    checkout.experiment("x", model=override("model"))
    checkout.write("text.txt", "a text")
    checkout.write("x.json", '{"layers": ["Flaten"]}')
    checkout.write("index.json", json.dumps({"weight_map": {"a": "../../a.safetensors"}}))
    (root / "link").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    with pytest.raises(kind) as caught:
        _find(checkout, name, experiment)
    assert message in caught.value.message
    assert caught.value.hint.startswith(hint)
