"""An override is the one class of its file that extends the component's base."""

import pytest

from pipeline.components import (
    FILE_MODEL,
    KINDS,
    READERS,
    Component,
    check_folder,
    choose_override,
    find_declared,
    find_override_files,
    find_subclass,
)
from pipeline.errors import ConfigError
from pipeline.modelforms import STATES, Form
from tests.checkouts import Checkout

NET = "from common.model import ConvNet\n\nclass Net(ConvNet): pass\n"
BLOCK = "from torch import nn\n\nclass Block(nn.Module): pass\n\n"
FOLDER = "experiments/net"


def find(checkout: Checkout, kind: str = "model") -> Component | None:
    """Return the component that the experiment's own file or folder overrides."""
    modules = checkout.project().experiments.modules
    path = choose_override(KINDS[kind], find_override_files(KINDS[kind], FOLDER, modules))
    return Component(kind, *find_subclass(KINDS[kind], path, modules), "net") if path else None


def test_nothing_is_overridden_when_no_file_has_the_name_of_a_component(checkout: Checkout) -> None:
    checkout.write(f"{FOLDER}/blocks.py", NET)
    assert find(checkout) is None


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        ("data", "common.data.DataModule"),
        ("loader", "common.loader.Loader"),
        ("model", "common.model.Model"),
        ("model", "common.model.ConvNet"),
        ("model", "torch.nn.Module"),
        ("trainer", "common.trainer.Trainer"),
        ("evaluator", "common.evaluator.Evaluator"),
    ],
)
def test_file_overrides_its_component_when_it_extends_the_base(checkout: Checkout, kind: str, base: str) -> None:
    module, _, name = base.rpartition(".")
    checkout.write(f"{FOLDER}/{kind}.py", f"from {module} import {name}\n\nclass Mine({name}): pass\n")
    component = find(checkout, kind)
    assert component == Component(kind, f"{FOLDER}/{kind}.py", "Mine", "net")
    assert component.module == f"experiments.net.{kind}"


def test_subclass_of_the_base_is_meant_when_plain_modules_stand_beside_it(checkout: Checkout) -> None:
    checkout.write(f"{FOLDER}/model.py", BLOCK + NET)
    assert find(checkout) == Component("model", f"{FOLDER}/model.py", "Net", "net")


def test_override_extends_another_experiments_class_when_that_leads_to_the_base(checkout: Checkout) -> None:
    checkout.experiment("base", model=NET)
    checkout.write(f"{FOLDER}/model.py", "from experiments.base.model import Net\n\nclass Wider(Net): pass\n")
    assert find(checkout) == Component("model", f"{FOLDER}/model.py", "Wider", "net")


@pytest.mark.parametrize(
    ("init", "file"),
    [
        (NET, "__init__.py"),
        ("from experiments.net.model.net import Net\n", "net.py"),
        ("from .net import Net\n", "net.py"),
    ],
)
def test_folder_overrides_its_component_when_its_init_defines_or_names_the_class(
    checkout: Checkout, init: str, file: str
) -> None:
    checkout.write(f"{FOLDER}/model/net.py", NET)
    checkout.write(f"{FOLDER}/model/__init__.py", init)
    component = find(checkout)
    assert component == Component("model", f"{FOLDER}/model/{file}", "Net", "net")
    assert component.module == f"experiments.net.model{'' if file == '__init__.py' else '.net'}"


def test_class_is_found_when_it_has_the_name_of_the_class_that_it_extends(checkout: Checkout) -> None:
    checkout.write(f"{FOLDER}/model.py", "from common.model import ConvNet\n\nclass ConvNet(ConvNet): pass\n")
    assert find(checkout) == Component("model", f"{FOLDER}/model.py", "ConvNet", "net")


WANTED = "wanted exactly one subclass of common.model.Model"


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("", f"1:1: defines no class, {WANTED}"),
        ("from common.model import ConvNet\n", f"1:1: defines no class, {WANTED}"),
        ("class Config: pass\n", f"1:1: defines no class, {WANTED}"),
        ("class A: pass\n\nclass B(A): pass\n", f"1:1: defines 'A', 'B', {WANTED}"),
        ("from common.trainer import Trainer\n\nclass A(Trainer): pass\n", f"1:1: defines 'A', {WANTED}"),
        (f"{NET}\nclass Other(ConvNet): pass\n", f"5:1: defines 'Net', 'Other', {WANTED}"),
        (f"{BLOCK}{NET}\nclass Other(ConvNet): pass\n", f"9:1: defines 'Net', 'Other', {WANTED}"),
        (f"{NET}\nclass Other(Net): pass\n", f"5:1: defines 'Net', 'Other', {WANTED}"),
    ],
)
def test_override_is_refused_when_it_does_not_define_exactly_one_subclass(
    checkout: Checkout, source: str, fault: str
) -> None:
    checkout.write(f"{FOLDER}/model.py", source)
    with pytest.raises(ConfigError) as raised:
        find(checkout)
    assert raised.value.message == f"{FOLDER}/model.py:{fault}"
    assert raised.value.hint


def test_override_is_refused_when_file_and_folder_both_say_it(checkout: Checkout) -> None:
    checkout.write(f"{FOLDER}/model.py", NET)
    checkout.write(f"{FOLDER}/model/__init__.py", NET)
    with pytest.raises(ConfigError) as raised:
        find(checkout)
    assert raised.value.message == f"{FOLDER}/model.py: '{FOLDER}/model/' overrides the model too; keep one of them"


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        (
            ["model.py", "model.json"],
            f"{FOLDER}/model.py: '{FOLDER}/model.json' overrides the model too; keep one of them",
        ),
        (
            ["model.py", "model/__init__.py", "model.json"],
            f"{FOLDER}/model.py: '{FOLDER}/model/' and '{FOLDER}/model.json' override the model too; keep one of them",
        ),
    ],
)
def test_override_is_refused_when_it_has_two_forms(checkout: Checkout, files: list[str], fault: str) -> None:
    for file in files:
        checkout.write(f"{FOLDER}/{file}", NET)
    with pytest.raises(ConfigError) as raised:
        find(checkout)
    assert raised.value.message == fault


def test_every_form_of_a_whole_model_has_a_class_that_is_built_from_a_file(checkout: Checkout) -> None:
    modules = checkout.project().experiments.modules
    assert READERS.keys() == {"model.json", *(set(Form) - STATES - {Form.UNKNOWN})}
    for reader in READERS.values():
        assert modules.is_subclass(reader.path, reader.class_name, FILE_MODEL)


def test_folder_without_an_init_is_a_form_of_a_model_alone(checkout: Checkout) -> None:
    for kind in ("model", "loader"):
        checkout.write(f"{FOLDER}/{kind}/config.json", "{}")
    modules = checkout.project().experiments.modules
    assert find_override_files(KINDS["model"], FOLDER, modules) == [f"{FOLDER}/model"]
    assert find_override_files(KINDS["loader"], FOLDER, modules) == []
    checkout.write(f"{FOLDER}/model/__init__.py", NET)
    assert find(checkout) == Component("model", f"{FOLDER}/model/__init__.py", "Net", "net")


def test_class_is_refused_when_it_is_built_from_a_file_and_stands_in_python(checkout: Checkout) -> None:
    source = "from common.architecture import DeclaredModel\n\nclass Net(DeclaredModel): pass\n"
    checkout.write(f"{FOLDER}/model.py", source)
    with pytest.raises(ConfigError, match=r"'Net' extends common\.file_model\.FileModel, which reads a file"):
        find(checkout)
    modules = checkout.project().experiments.modules
    with pytest.raises(LookupError, match="reads a file: put that into the folder"):
        find_declared(KINDS["model"], "net", "common.architecture:DeclaredModel", modules)


def test_folder_is_refused_when_it_has_no_init(checkout: Checkout) -> None:
    checkout.write(f"{FOLDER}/loader/net.py", NET)
    modules = checkout.project().experiments.modules
    with pytest.raises(ConfigError, match=r"__init__\.py"):
        check_folder(KINDS["loader"], FOLDER, modules)
    check_folder(KINDS["model"], FOLDER, modules)


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("model", "experiments.net.nets:Net"),
        ("model", "common.model:ConvNet"),
        ("loader", "common.loader:Loader"),
        ("trainer", "common.trainer:Trainer"),
    ],
)
def test_component_is_declared_when_the_reference_leads_to_a_subclass_or_the_default(
    checkout: Checkout, kind: str, reference: str
) -> None:
    checkout.write(f"{FOLDER}/nets.py", NET)
    module, _, name = reference.partition(":")
    path = f"{module.replace('.', '/')}.py"
    found = find_declared(KINDS[kind], "net", reference, checkout.project().experiments.modules)
    assert found == Component(kind, path, name, "net", f"components.{kind}")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("common.modle:ConvNet", "no module 'common.modle' in common or experiments"),
        ("torchvision.models:ResNet", "no module 'torchvision.models' in common or experiments"),
        ("common.model:ConvNt", "'common.model' defines no class 'ConvNt'"),
        ("common.trainer:Engine", "'common.trainer' defines no class 'Engine'"),
        ("common.trainer:Trainer", "'Trainer' is no subclass of common.model.Model"),
        ("common.model:Model", "'Model' is no subclass of common.model.Model"),
    ],
)
def test_reference_is_refused_when_it_leads_to_no_subclass(checkout: Checkout, reference: str, message: str) -> None:
    with pytest.raises(LookupError) as raised:
        find_declared(KINDS["model"], "net", reference, checkout.project().experiments.modules)
    assert raised.value.args == (message,)
