"""Saved models in the folder of an experiment: what becomes of them, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from common.config import NoParams
from common.model_files.whole_models import PickledModel
from pipeline import index
from pipeline.components import Component
from pipeline.errors import ConfigError
from pipeline.modelforms import hash_file
from tests.checkouts import Checkout
from tests.datasets import make_dataset
from tests.models import make_net, write_built, write_pickle
from tests.pipeline.test_modelfiles import make_onnx

NET = "from common.model import ConvNet\n\nclass Net(ConvNet): pass\n"


def model_of(checkout: Checkout, name: str = "net") -> Component:
    """Return the model of an experiment."""
    return checkout.project().experiments.get(name).components["model"]


def find_fault(checkout: Checkout, name: str = "net") -> str:
    """Return what is wrong with an experiment, and the hint."""
    with pytest.raises(ConfigError) as raised:
        model_of(checkout, name)
    return f"{raised.value.message}\nhint: {raised.value.hint}"


@pytest.fixture
def folder(checkout: Checkout) -> Path:
    """The folder of the experiment `net`."""
    checkout.experiment("net")
    return checkout.root / "experiments/net"


def _trust(checkout: Checkout, **pins: str) -> None:
    checkout.experiment("net", f"trust: {json.dumps(pins)}\n")


def test_program_is_the_model_when_its_pin_stands_in_the_yaml(checkout: Checkout, folder: Path) -> None:
    write_pickle(folder / "model.pkl")
    pin = hash_file(folder / "model.pkl")
    fault = find_fault(checkout)
    assert fault.startswith("experiments/net/model.pkl: is a pickle of protocol 4, ")
    assert "loading it runs code that it brings; it would use " in fault
    line = f'trust: {{"model.pkl": "{pin}"}}'
    assert fault.endswith(f"hint: if you trust who made it, write in experiments/net/experiment.yaml: {line}")
    checkout.experiment("net", f"{line}\n")
    checkout.experiment("heir", "inherits: net\nparams: {train: {epochs: 3}}\n")
    for name in ("net", "heir"):
        model = model_of(checkout, name)
        assert (model.class_name, model.file, model.sha256) == ("PickledModel", "experiments/net/model.pkl", pin)
        assert model.description.startswith("a pickle of protocol 4, ")


def test_program_is_refused_when_the_pin_is_anothers(checkout: Checkout, folder: Path) -> None:
    write_pickle(folder / "model.pkl")
    pin = hash_file(folder / "model.pkl")
    _trust(checkout, **{"model.pt": pin})
    assert f'write in experiments/net/experiment.yaml: trust: {{"model.pkl": "{pin}"}}' in find_fault(checkout)
    _trust(checkout, **{"model.pkl": pin})
    assert model_of(checkout)
    checkout.project().index.save()
    write_pickle(folder / "model.pkl", nn.Sequential(make_net()))
    assert f"the pin is {pin}" in find_fault(checkout)
    assert f"the SHA-256 of model.pkl is {hash_file(folder / 'model.pkl')}" in find_fault(checkout)


def test_classes_of_the_checkout_are_sources_when_a_pickle_is_made_of_them(checkout: Checkout, folder: Path) -> None:
    write_pickle(folder / "model.pkl", write_built(checkout.root / "unused"))
    _trust(checkout, **{"model.pkl": hash_file(folder / "model.pkl")})
    assert "common/model.py" in model_of(checkout).sources
    (folder / "model.pkl").write_bytes((folder / "model.pkl").read_bytes().replace(b"ConvNet", b"ConvNot"))
    _trust(checkout, **{"model.pkl": hash_file(folder / "model.pkl")})
    assert "experiments/net/model.pkl: wants common.model.ConvNot, and there is none" in find_fault(checkout)


@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "model.onnx", "model.safetensors"])
def test_file_is_refused_when_it_is_no_model(checkout: Checkout, folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert f"experiments/net/{name}: is no model: a pointer of Git LFS" in find_fault(checkout)


def test_folder_is_refused_when_it_is_of_no_known_form(checkout: Checkout, folder: Path) -> None:
    checkout.write("experiments/net/model/net.py", NET)
    fault = "experiments/net/model: is no model: a folder of no form that is known here, 59 B"
    assert find_fault(checkout).startswith(f"{fault}, and a folder with a class has to have an __init__.py\n")


def test_damage_is_named(checkout: Checkout, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    assert find_fault(checkout).startswith("experiments/net/model.safetensors: cannot be read as a model: ")


def test_weights_stand_beside_the_class_that_is_inherited_or_own(checkout: Checkout, folder: Path) -> None:
    torch.save({"w": torch.zeros(2)}, folder / "model.pt")
    experiment = checkout.project().experiments.get("net")
    model = experiment.components["model"]
    assert (model.class_name, model.file, model.declared_by) == ("ConvNet", "", "common")
    assert model.weights
    assert (model.weights.path, model.weights.form) == ("experiments/net/model.pt", "torch_state")
    assert model.weights.description.startswith("a PyTorch state of 1 tensors")
    assert experiment.overrides == ("model",)
    checkout.experiment("net", model=NET)
    model = model_of(checkout)
    assert model.class_name == "Net"
    assert model.weights
    checkout.experiment("net", "components: {model: 'common.zoo.mlp:MLP'}\n")
    (folder / "model.py").unlink()
    assert model_of(checkout).weights
    checkout.experiment("heir", "inherits: net\n", model=NET)
    assert model_of(checkout, "heir").weights is None


def test_several_weights_or_whole_models_are_refused(checkout: Checkout, folder: Path) -> None:
    save_file({"w": torch.zeros(2)}, folder / "model.safetensors")
    torch.save({"w": torch.zeros(2)}, folder / "model.pt")
    fault = "experiments/net/model.pt: 'experiments/net/model.safetensors' overrides the model too; keep one of them"
    assert find_fault(checkout).startswith(fault)
    (folder / "model.pt").unlink()
    write_built(folder / "model")
    assert model_of(checkout).weights
    checkout.experiment("net", model=NET)
    fault = "experiments/net/model.py: 'experiments/net/model' overrides the model too; keep one of them"
    assert find_fault(checkout).startswith(fault)


def test_built_model_is_a_model_by_its_own_class(checkout: Checkout, folder: Path) -> None:
    write_built(folder / "model")
    model = model_of(checkout)
    assert (model.class_name, model.file) == ("SavedModel", "experiments/net/model")
    assert model.description.startswith("a built ConvNet of ")
    assert "common/model.py" in model.sources
    path = folder / "model/model.json"
    rebuild = json.loads(path.read_text())
    for module, fault in {
        "os": "is of the class os.ConvNet, which is none of common or experiments",
        "common.gone": "wants common.gone.ConvNet, and there is none in this checkout",
        "experiments.base.model": "imports 'experiments/base/model.py' of experiment 'base', no ancestor",
    }.items():
        checkout.experiment("base", model=NET.replace("Net(", "Other(") + "\nclass ConvNet: pass\n")
        path.write_text(json.dumps({**rebuild, "module": module}))
        assert fault in find_fault(checkout)


def test_built_model_that_brings_code_wants_a_pin(checkout: Checkout, folder: Path, tmp_path: Path) -> None:
    metadata = make_dataset().metadata
    write_pickle(tmp_path / "model.pkl")
    pin = hash_file(tmp_path / "model.pkl")
    write_built(folder / "model", PickledModel(NoParams(), metadata, tmp_path / "model.pkl", pin), metadata)
    line = f'trust: {{"model/architecture/model.pkl": "{pin}"}}'
    assert line in find_fault(checkout)
    checkout.experiment("net", f"{line}\n")
    assert model_of(checkout).sha256 == pin
    write_pickle(folder / "model/architecture/model.pkl", nn.Sequential(make_net()))
    assert f"the pin is {pin}" in find_fault(checkout)


def test_file_is_asked_for_when_dvc_has_it(checkout: Checkout, folder: Path) -> None:
    checkout.write("experiments/net/model.pkl.dvc", "outs: []\n")
    fault = "experiments/net/model.pkl: is not here, and 'experiments/net/model.pkl.dvc' says that DVC has it\n"
    assert find_fault(checkout) == f"{fault}hint: dvc pull experiments/net/model.pkl"


def test_copy_of_the_parents_file_is_refused(checkout: Checkout, folder: Path) -> None:
    write_pickle(folder / "model.pkl")
    _trust(checkout, **{"model.pkl": hash_file(folder / "model.pkl")})
    checkout.experiment("copy", (folder / "experiment.yaml").read_text() + "inherits: net\n")
    shutil.copy(folder / "model.pkl", checkout.root / "experiments/copy")
    assert "is a copy of 'experiments/net/model.pkl'" in find_fault(checkout, "copy")


def test_copy_of_the_parents_weights_is_refused(checkout: Checkout, folder: Path) -> None:
    for name in ("net", "copy"):
        checkout.experiment(name, "inherits: net\n" if name == "copy" else "")
        save_file({"w": torch.zeros(2)}, checkout.root / f"experiments/{name}/model.safetensors")
    assert "is a copy of 'experiments/net/model.safetensors'" in find_fault(checkout, "copy")


def test_file_is_refused_when_the_yaml_says_the_model_too(checkout: Checkout, folder: Path) -> None:
    write_built(folder / "model")
    checkout.experiment("net", "components: {model: 'common.model:ConvNet'}\n")
    assert "'experiments/net/model' overrides the model already" in find_fault(checkout)


def test_near_miss_of_a_name_is_named(checkout: Checkout, folder: Path) -> None:
    checkout.experiment("net", "params: {model: {channels: 8}}\n")
    write_pickle(folder / "modle.pkl")
    assert "experiments/net/modle.pkl: nothing uses this file; did you mean 'model'?" in find_fault(checkout)


def test_what_is_remembered_of_a_graph_does_not_hide_that_its_tensors_are_gone(
    checkout: Checkout, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_RACY_NS", 0)  # remember files at once
    (folder / "model.onnx").write_bytes(make_onnx("parts.bin"))
    (folder / "parts.bin").write_bytes(b"1234")
    model = model_of(checkout)
    assert model.inputs == ("experiments/net/model.onnx", "experiments/net/parts.bin")
    project = checkout.project()
    project.experiments.get("net")
    project.index.save()
    (folder / "parts.bin").unlink()
    assert "'parts.bin', and there is no such file beside it" in find_fault(checkout)


def test_built_model_is_refused_when_its_file_is_elsewhere(checkout: Checkout, folder: Path) -> None:
    write_built(folder / "model")
    write_pickle(folder / "other.pkl")
    path = folder / "model/model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "file": "../other.pkl", "sha256": "0" * 64}))
    assert find_fault(checkout).startswith("experiments/net/model: cannot be read as a model: ")
