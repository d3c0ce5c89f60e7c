"""`force new`: experiments that run at once."""

import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest
import yaml

from pipeline.components import KINDS
from pipeline.documents import parse_yaml
from tests.checkouts import ROOT, Checkout, Ended
from tests.recorded import resolve


def assert_is_clean(checkout: Checkout) -> None:
    """Check that the experiments keep the repository's own rules for Python."""
    shutil.copy(ROOT / "pyproject.toml", checkout.root)
    for args in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *args, "--no-cache", "experiments"]
        done = subprocess.run(command, cwd=checkout.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_experiment_is_sound_and_clean_when_it_overrides_any_component(
    checkout: Checkout, force: Callable[..., Ended]
) -> None:
    for kind in KINDS:
        name = f"other_{kind}"
        ended = force("new", name, "--override", kind)
        assert (ended.status, ended.err) == (0, "")
        assert ended.out.splitlines() == [
            f"wrote experiments/{name}/experiment.yaml",
            f"wrote experiments/{name}/{kind}.py",
            f"wrote experiments/{name}/dvc.yaml",
            f"next: edit experiments/{name}/{kind}.py, then `force run {name}`",
        ]
        assert force("plan", name).status == 0
        assert checkout.project().experiments.get(name).overrides == (kind,)
    assert force("sync", "--check").status == 4  # the common build was not synced; the new ones were
    assert "experiments/" not in force("sync", "--check").err
    assert_is_clean(checkout)


def test_experiment_extends_its_parents_classes_when_the_parent_has_its_own(
    checkout: Checkout, force: Callable[..., Ended]
) -> None:
    everything = ",".join(KINDS)
    assert force("new", "first", "--override", everything).status == 0
    ended = force("new", "second", "--inherits", "first", "--override", everything)
    assert (ended.status, ended.err) == (0, "")
    assert force("plan", "second").status == 0
    assert "class SecondTrainer(FirstTrainer):" in (checkout.root / "experiments/second/trainer.py").read_text()
    _, ownership = resolve(checkout)
    assert "experiments/first/trainer.py" in ownership.stage("second", "train").files
    assert_is_clean(checkout)


def test_experiment_extends_an_ancestors_class_when_the_parent_inherits_it(
    checkout: Checkout, force: Callable[..., Ended]
) -> None:
    force("new", "first", "--override", "model")
    force("new", "second", "--inherits", "first", "--set", "train.epochs=1")
    assert force("new", "third", "--inherits", "second", "--override", "model").status == 0
    assert "class ThirdModel(FirstModel):" in (checkout.root / "experiments/third/model.py").read_text()
    assert force("plan", "third").status == 0
    assert_is_clean(checkout)


def test_override_is_refused_when_a_file_describes_the_parents_model(
    checkout: Checkout, force: Callable[..., Ended]
) -> None:
    checkout.experiment("net")
    checkout.write("experiments/net/model.json", '{"layers": ["Flatten"]}')
    ended = force("new", "x", "--inherits", "net", "--override", "model")
    assert ended.status == 2
    assert ended.err.startswith(
        "error: the model of 'net' is experiments/net/model.json, which no class can extend\nhint:"
    )
    assert not (checkout.root / "experiments/x").exists()
    assert force("new", "x", "--inherits", "net", "--override", "trainer").status == 0


def test_params_are_written_as_they_were_given_when_they_are_set(
    checkout: Checkout, force: Callable[..., Ended]
) -> None:
    settings = ["train.epochs=7", "train.optimizer.lr=1e-3", "runtime.device=cpu", "runtime.deterministic=false"]
    ended = force("new", "x", *(arg for setting in settings for arg in ("--set", setting)))
    assert (ended.status, ended.err) == (0, "")
    params = parse_yaml((checkout.root / "experiments/x/experiment.yaml").read_bytes(), "x")["params"]
    assert params == {
        "train": {"epochs": 7, "optimizer": {"lr": 0.001}},
        "runtime": {"device": "cpu", "deterministic": False},
    }
    assert force("plan", "x").status == 0


@pytest.mark.parametrize("value", [".inf", "1e-07", "-0.5", "3"])
def test_number_reads_back_the_same_when_it_is_set(checkout: Checkout, force: Callable[..., Ended], value: str) -> None:
    ended = force("new", "x", "--set", f"train.loss.label_smoothing={value}")
    assert (ended.status, ended.err) == (0, "")
    params = parse_yaml((checkout.root / "experiments/x/experiment.yaml").read_bytes(), "x")["params"]
    assert params["train"]["loss"]["label_smoothing"] == parse_yaml(value, "value")


def test_mapping_reads_back_the_same_when_it_is_set(checkout: Checkout, force: Callable[..., Ended]) -> None:
    text = "{'features.': \"it's.\", classifier.: null}"
    ended = force("new", "x", "--set", "model.init_from=common", "--set", f"model.init_map={text}")
    assert (ended.status, ended.err) == (0, "")
    params = parse_yaml((checkout.root / "experiments/x/experiment.yaml").read_bytes(), "x")["params"]
    assert params == {"model": {"init_from": "common", "init_map": {"features.": "it's.", "classifier.": None}}}


@pytest.mark.parametrize("text", ["it's: a #question?", "- [x]", "größer"])
def test_description_reads_back_the_same_when_it_is_given(
    checkout: Checkout, force: Callable[..., Ended], text: str
) -> None:
    assert force("new", "x", "--override", "model", "--description", text).status == 0
    assert yaml.safe_load((checkout.root / "experiments/x/experiment.yaml").read_text())["description"] == text


def test_editors_find_the_schema_when_they_open_the_file(checkout: Checkout, force: Callable[..., Ended]) -> None:
    force("new", "x", "--override", "model")
    first = (checkout.root / "experiments/x/experiment.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=../../pipeline/schemas/experiment.schema.json"


@pytest.mark.parametrize(
    ("args", "status", "error"),
    [
        (["x"], 2, "an experiment has to change something"),
        (["x", "--override", "modle"], 2, "no component 'modle'; did you mean 'model'?"),
        (["x", "--inherits", "comon", "--override", "model"], 2, "no experiment 'comon'; did you mean 'common'?"),
        (["wide-net", "--override", "model"], 2, "'wide-net' is no Python identifier or is taken"),
        (["class", "--override", "model"], 2, "'class' is no Python identifier or is taken"),
        (["common", "--override", "model"], 2, "'common' is no Python identifier or is taken"),
        (["taken", "--override", "model"], 2, "'experiments/taken' exists already"),
        (["x", "--set", "epochs=3"], 2, "'epochs=3' is not section.key=value"),
        (["x", "--set", "train.epochs"], 2, "'train.epochs' is not section.key=value"),
        (["x", "--set", "train.epoch=3"], 3, "unknown key 'epoch' in 'params.train'; did you mean 'epochs'?"),
        (["x", "--set", "train.epochs=many"], 3, "'params.train.epochs' is \"many\", wanted a whole number"),
        (["x", "--set", "train.epochs=20"], 3, "changes nothing of 'common': train.epochs is 20 in 'common' already"),
    ],
)
def test_nothing_is_left_behind_when_what_was_asked_for_cannot_be(
    checkout: Checkout, force: Callable[..., Ended], args: list[str], status: int, error: str
) -> None:
    checkout.write("experiments/taken/notes.md", "mine\n")
    ended = force("new", *args)
    assert ended.status == status
    assert error in ended.err
    assert [path.name for path in (checkout.root / "experiments").iterdir()] == ["taken"]
    assert not (checkout.root / "dvc.yaml").exists()


def test_nothing_is_left_behind_when_settings_contradict_each_other(
    checkout: Checkout, force: Callable[..., Ended]
) -> None:
    ended = force("new", "x", "--set", "train.epochs=1", "--set", "train.epochs.first=1")
    assert ended.status in (2, 3)
    assert "train.epochs" in ended.err
    assert list((checkout.root / "experiments").iterdir()) == []


def test_a_class_of_the_zoo_is_taken_by_name(checkout: Checkout, force: Callable[..., Ended]) -> None:
    for name in ("__init__", "mlp", "fitting"):
        (checkout.root / "common/zoo").mkdir(exist_ok=True)
        shutil.copy(ROOT / f"common/zoo/{name}.py", checkout.root / f"common/zoo/{name}.py")
    mlp = "model=common.zoo.mlp:MLP"
    ended = force("new", "table_net", "--component", mlp, "--set", "model.hidden=[32]")
    assert (ended.status, ended.err) == (0, "")
    text = (checkout.root / "experiments/table_net/experiment.yaml").read_text()
    assert yaml.safe_load(text)["components"] == {"model": "common.zoo.mlp:MLP"}
    assert force("show", "table_net").out.splitlines()[6].split() == ["model", "MLP", "common/zoo/mlp.py"]
    for arguments, message in (
        (["--component", "modl=common.zoo.mlp:MLP"], "is not KIND=MODULE:CLASS; did you mean 'model'?"),
        (["--component", "model"], "'model' is not KIND=MODULE:CLASS"),
        (["--component", mlp, "--override", "model"], "'model' is overridden, and its class is named"),
        (["--component", "model=common.zoo.mlp:MPL"], "--component: "),
        (["--component", "model=common.zoo.mlp:MLP:x"], "is not KIND=MODULE:CLASS"),
        (["--component", "model=a:B\nx: 1"], "is not KIND=MODULE:CLASS"),
        (["--component", mlp, "--component", mlp], "one component is named twice"),
    ):
        ended = force("new", "other", *arguments)
        assert ended.status in (2, 3)
        assert message in ended.err
        assert not (checkout.root / "experiments/other").exists()


def test_a_class_with_two_colons_is_a_fault_of_the_file(checkout: Checkout, force: Callable[..., Ended]) -> None:
    checkout.experiment("x", "components: {model: 'common.model:ConvNet:x'}\n")
    ended = force("plan", "x")
    assert ended.status == 3
    assert "experiments/x/experiment.yaml:" in ended.err
