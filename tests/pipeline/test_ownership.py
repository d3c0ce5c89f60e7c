"""Ownership: which stages an experiment owns, which it inherits, and what the owned ones read."""

from collections.abc import Callable

import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import ConfigError
from pipeline.ownership import STAGES, dvc_file_of, folder_of, lock_file_of
from tests.checkouts import Checkout
from tests.models import write_built
from tests.recorded import override, resolve, stage_of

FLAGGED_TRAINER = """\
from dataclasses import dataclass

from common.trainer import Trainer


@dataclass(frozen=True)
class Config:
    flag: object = 0


class Flagged(Trainer):
    pass
"""


def owners(checkout: Checkout, name: str) -> list[str]:
    """Return who owns each stage that an experiment uses, upstream first."""
    _, ownership = resolve(checkout)
    return [ownership.owner(name, stage) for stage in STAGES]


def find_fault(checkout: Checkout) -> str:
    """Return what is wrong with the experiments of a checkout."""
    with pytest.raises(ConfigError) as caught:
        resolve(checkout)
    return caught.value.render()


def test_common_build_owns_every_stage_when_there_is_nothing_else(checkout: Checkout) -> None:
    assert owners(checkout, "common") == ["common", "common", "common"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("data", ["x", "x", "x"]),
        ("loader", ["common", "x", "x"]),
        ("model", ["common", "x", "x"]),
        ("trainer", ["common", "x", "x"]),
        ("evaluator", ["common", "common", "x"]),
    ],
)
def test_stages_from_the_first_that_uses_it_are_owned_when_a_component_is_overridden(
    checkout: Checkout, kind: str, expected: list[str]
) -> None:
    checkout.experiment("x", **{kind: override(kind)})
    assert owners(checkout, "x") == expected


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ("data: {split_seed: 1}", ["x", "x", "x"]),
        ("loader: {batch_size: 8}", ["common", "x", "x"]),
        ("model: {channels: 8}", ["common", "x", "x"]),
        ("train: {epochs: 1}", ["common", "x", "x"]),
        ("runtime: {seed: 1}", ["common", "x", "x"]),
        ("evaluate: {metrics: {calibration_error: {n_bins: 5}}}", ["common", "common", "x"]),
    ],
)
def test_stages_from_the_first_that_reads_it_are_owned_when_a_param_is_set(
    checkout: Checkout, params: str, expected: list[str]
) -> None:
    checkout.experiment("x", f"params:\n  {params}\n")
    assert owners(checkout, "x") == expected


def test_stages_are_inherited_from_the_nearest_owner_when_experiments_inherit_in_a_chain(checkout: Checkout) -> None:
    checkout.experiment("a", model=override("model"))
    checkout.experiment("b", "inherits: a\nparams: {evaluate: {metrics: {calibration_error: {n_bins: 5}}}}\n")
    checkout.experiment("c", "inherits: b\nparams: {evaluate: {metrics: {calibration_error: {n_bins: 6}}}}\n")
    checkout.experiment("d", "inherits: c\nparams: {train: {epochs: 1}}\n")
    assert owners(checkout, "b") == ["common", "a", "b"]
    assert owners(checkout, "c") == ["common", "a", "c"]
    assert owners(checkout, "d") == ["common", "d", "d"]
    assert stage_of(checkout, "d", "train").upstream == {"prepare": "common"}
    assert stage_of(checkout, "c", "evaluate").products == {
        "common/outputs/prepare/data": ("common", "prepare"),
        "experiments/a/outputs/train/model": ("a", "train"),
    }


def test_helper_is_a_dependency_when_it_is_two_imports_away(checkout: Checkout) -> None:
    checkout.experiment(
        "x",
        model=override("model", imports="from experiments.x.layers import Scale"),
        layers="from experiments.x import scales\n\nScale = scales.ONE\n",
        scales="ONE = 1\n",
        notes="NOT_IMPORTED = 1\n",
    )
    files = stage_of(checkout, "x", "train").files
    assert {"experiments/x/model.py", "experiments/x/layers.py", "experiments/x/scales.py"} <= set(files)
    assert "experiments/x/notes.py" not in files
    assert "common/evaluator.py" not in files
    assert "common/data.py" not in files


MODEL = '{"layers": ["Flatten", {"Linear": {"out_features": "classes"}}]}'


def test_file_is_a_dependency_when_it_describes_the_model(checkout: Checkout) -> None:
    checkout.experiment("x")
    checkout.write("experiments/x/model.json", MODEL)
    checkout.experiment("heir", "inherits: x\nparams: {train: {epochs: 1}}\n")
    assert owners(checkout, "x") == ["common", "x", "x"]
    assert owners(checkout, "heir") == ["common", "heir", "heir"]
    for name in ("x", "heir"):
        for stage in ("train", "evaluate"):
            files = set(stage_of(checkout, name, stage).files)
            assert {"experiments/x/model.json", "common/architecture.py", "common/layers.py"} <= files
            assert "common/model.py" not in files


def test_stages_are_owned_when_another_file_describes_the_model(checkout: Checkout) -> None:
    checkout.experiment("x")
    checkout.write("experiments/x/model.json", MODEL)
    checkout.experiment("y", "inherits: x\n")
    checkout.write("experiments/y/model.json", MODEL.replace('"Flatten"', '"ReLU", "Flatten"'))
    assert owners(checkout, "y") == ["common", "y", "y"]
    assert "experiments/x/model.json" not in stage_of(checkout, "y", "train").files


def test_all_files_and_the_classes_are_dependencies_when_a_folder_is_the_model(checkout: Checkout) -> None:
    checkout.experiment("x")
    write_built(checkout.root / "experiments/x/model")
    files = set(stage_of(checkout, "x", "train").files)
    assert {f"experiments/x/model/{name}" for name in ("model.json", "weights.safetensors", "metadata.json")} <= files
    assert {"common/model.py", "common/model_files/saved_models.py"} <= files


def test_weights_are_a_dependency_when_they_stand_beside_a_class(checkout: Checkout) -> None:
    checkout.experiment("x")
    save_file({"w": torch.zeros(2)}, checkout.root / "experiments/x/model.safetensors")
    checkout.experiment("heir", "inherits: x\nparams: {train: {epochs: 3}}\n")
    checkout.experiment("other", "inherits: x\n", model=override("model", "Net"))
    assert owners(checkout, "x") == ["common", "x", "x"]
    reads = {"experiments/x/model.safetensors", "common/model_files/states.py"}
    for name in ("x", "heir"):
        assert reads <= set(stage_of(checkout, name, "train").files)
    assert reads.isdisjoint(stage_of(checkout, "other", "train").files)


def test_evaluator_is_no_dependency_of_training_when_an_experiment_overrides_it(checkout: Checkout) -> None:
    checkout.experiment("x", evaluator=override("evaluator"), model=override("model", "Net"))
    assert "experiments/x/evaluator.py" not in stage_of(checkout, "x", "train").files
    assert "experiments/x/evaluator.py" in stage_of(checkout, "x", "evaluate").files
    assert "common/trainer.py" not in stage_of(checkout, "x", "evaluate").files


def test_package_overrides_a_component_when_its_class_is_in_a_module_of_its_own(checkout: Checkout) -> None:
    checkout.experiment("x")
    checkout.write("experiments/x/model/__init__.py", "from experiments.x.model.net import Net\n")
    checkout.write("experiments/x/model/net.py", override("model", "Net"))
    assert owners(checkout, "x") == ["common", "x", "x"]
    files = stage_of(checkout, "x", "train").files
    assert "experiments/x/model/net.py" in files
    assert "experiments/x/model/__init__.py" in files  # Python runs it first, whatever imports the module


def test_package_overrides_a_component_when_its_class_is_in_its_init(checkout: Checkout) -> None:
    checkout.experiment("x")
    checkout.write("experiments/x/trainer/__init__.py", override("trainer"))
    assert owners(checkout, "x") == ["common", "x", "x"]
    assert "experiments/x/trainer/__init__.py" in stage_of(checkout, "x", "train").files


def test_setting_is_a_param_of_the_stages_when_experiment_yaml_names_a_component(checkout: Checkout) -> None:
    checkout.experiment("a", model=override("model", "Net"), nets=override("model", "Wide"))
    checkout.experiment("b", "inherits: a\ncomponents: {model: 'experiments.a.nets:Wide'}\n")
    checkout.experiment("c", "inherits: b\nparams: {evaluate: {metrics: {calibration_error: {n_bins: 5}}}}\n")
    assert owners(checkout, "b") == ["common", "b", "b"]
    assert owners(checkout, "c") == ["common", "b", "c"]
    declared = {"components.model": "experiments.a.nets:Wide"}
    train, evaluate = stage_of(checkout, "b", "train"), stage_of(checkout, "c", "evaluate")
    assert train.params["experiments/b/experiment.yaml"] == declared
    assert evaluate.params["experiments/b/experiment.yaml"] == declared
    assert "experiments/a/nets.py" in train.files
    assert "experiments/a/model.py" not in train.files


def test_param_is_read_from_the_file_that_sets_it_when_it_moves(checkout: Checkout) -> None:
    checkout.experiment("x", "params: {train: {epochs: 1, optimizer: {lr: 0.003}}}\n")
    params = stage_of(checkout, "x", "train").params
    assert params["experiments/x/experiment.yaml"] == {"params.train.epochs": 1, "params.train.optimizer.lr": 0.003}
    assert "train.optimizer.lr" not in params["params.yaml"]
    assert params["params.yaml"]["train.optimizer.weight_decay"] == 0.05


def test_stage_reads_only_its_own_sections_when_it_is_built(checkout: Checkout) -> None:
    sections = {
        name: {key.partition(".")[0] for key in stage_of(checkout, "common", name).params["params.yaml"]}
        for name in STAGES
    }
    assert sections == {
        "prepare": {"data"},
        "train": {"loader", "model", "train", "runtime"},
        "evaluate": {"loader", "evaluate", "runtime"},
    }


@pytest.mark.parametrize(("before", "after"), [("true", "1"), ("[true]", "[1]")])
def test_stage_is_owned_when_a_param_says_1_instead_of_true(checkout: Checkout, before: str, after: str) -> None:
    checkout.experiment("a", f"params: {{train: {{flag: {before}}}}}\n", trainer=FLAGGED_TRAINER)
    checkout.experiment("b", f"inherits: a\nparams: {{train: {{flag: {after}}}}}\n")
    assert owners(checkout, "b") == ["common", "b", "b"]


def test_experiment_is_refused_when_its_params_are_its_parents(checkout: Checkout) -> None:
    checkout.experiment("x", "params: {train: {epochs: 20}, model: {dropout: 0.2}}\n")
    assert find_fault(checkout) == (
        "error: experiments/x/experiment.yaml:1:1: changes nothing of 'common': "
        "model.dropout is 0.2 in 'common' already, train.epochs is 20 in 'common' already\n"
        "hint: set a param in it, or add one of data.py, loader.py, model.py, trainer.py, evaluator.py beside it"
    )


def test_experiment_is_refused_when_it_has_nothing_but_a_description(checkout: Checkout) -> None:
    checkout.experiment("x")
    assert "experiments/x/experiment.yaml:1:1: changes nothing of 'common'\n" in find_fault(checkout)


def test_experiment_is_refused_when_it_names_the_components_that_its_parent_has(checkout: Checkout) -> None:
    checkout.experiment("x", "components: {model: 'common.model:ConvNet'}\n")
    assert "changes nothing of 'common'" in find_fault(checkout)


def test_all_void_experiments_are_named_when_there_are_several(checkout: Checkout) -> None:
    checkout.experiment("x")
    checkout.experiment("y")
    fault = find_fault(checkout)
    assert "experiments/x/experiment.yaml" in fault
    assert "experiments/y/experiment.yaml" in fault


@pytest.mark.parametrize(
    ("experiment", "path", "expected"),
    [
        ("common", "common/data.py", "data.py"),
        ("common", "params.yaml", "../params.yaml"),
        ("x", "experiments/x/outputs/train/model", "outputs/train/model"),
        ("x", "experiments/xx/experiment.yaml", "../xx/experiment.yaml"),
        ("x", "common/data.py", "../../common/data.py"),
        ("x", "params.yaml", "../../params.yaml"),
    ],
)
def test_path_is_relative_to_the_folder_when_dvc_is_to_read_it(
    checkout: Checkout, experiment: str, path: str, expected: str
) -> None:
    checkout.experiment("x", model=override("model"))
    stage = stage_of(checkout, experiment, "train")
    assert stage.relative(path) == expected
    assert stage.absolute(expected) == path


@pytest.mark.parametrize(
    ("place", "common", "other"),
    [
        (folder_of, "common", "experiments/x"),
        (dvc_file_of, "dvc.yaml", "experiments/x/dvc.yaml"),
        (lock_file_of, "dvc.lock", "experiments/x/dvc.lock"),
    ],
)
def test_files_stand_in_the_experiments_folder_when_it_is_not_the_common_build(
    place: Callable[[str], str], common: str, other: str
) -> None:
    assert (place("common"), place("x")) == (common, other)


CIRCUMSTANCES = [
    "container: {memory_gib: 4}",
    "monitoring: {loggers: [tensorboard]}",
    "reporting: {smallest_differences: {accuracy: 1}}",
]


@pytest.mark.parametrize("section", CIRCUMSTANCES)
def test_circumstances_are_no_input_of_any_stage_when_params_describe_them(checkout: Checkout, section: str) -> None:
    checkout.experiment("x", f"params: {{model: {{channels: 48}}, {section}}}\n")
    for stage in STAGES:
        keys = {key for params in stage_of(checkout, "x", stage).params.values() for key in params}
        assert keys
        assert not [key for key in keys if key.startswith(("container", "monitoring", "reporting"))]


@pytest.mark.parametrize("section", CIRCUMSTANCES)
def test_experiment_is_refused_when_it_changes_nothing_but_its_circumstances(checkout: Checkout, section: str) -> None:
    checkout.experiment("x", f"params: {{{section}}}\n")
    assert find_fault(checkout).startswith("error: experiments/x/experiment.yaml:1:1: changes nothing of 'common'\n")


# Built models of others


def start_from(checkout: Checkout, model: str, more: str = "") -> str:
    """Return an experiment.yaml whose training starts from the built model of another."""
    return f"params: {{model: {{init_from: {model}}}}}\n{more}"


def test_training_needs_the_model_that_it_starts_from_and_the_code_of_its_class(checkout: Checkout) -> None:
    helper = override("model", imports="from experiments.wide.layers import Scale")
    checkout.experiment("wide", model=helper, layers="Scale = 1\n")
    checkout.experiment("judge", "inherits: wide\n", evaluator=override("evaluator"))
    checkout.experiment("x", start_from(checkout, "judge"))
    train, evaluate = stage_of(checkout, "x", "train"), stage_of(checkout, "x", "evaluate")
    assert train.built_models == {"judge": "wide"}
    assert train.needs == (("common", "prepare"), ("wide", "train"))
    assert train.products == {
        "common/outputs/prepare/data": ("common", "prepare"),
        "experiments/wide/outputs/train/model": ("wide", "train"),
    }
    assert {"common/model.py", "experiments/wide/layers.py", "experiments/wide/model.py"} <= set(train.files)
    assert train.params["experiments/x/experiment.yaml"] == {"params.model.init_from": "judge"}
    assert not {"experiments/wide/layers.py", "experiments/wide/model.py"} & set(evaluate.files)
    assert evaluate.needs == (("common", "prepare"), ("x", "train"))


def test_training_is_inherited_with_the_models_that_it_takes(checkout: Checkout) -> None:
    checkout.experiment("wide", "params: {model: {channels: 64}}\n")
    checkout.experiment("x", start_from(checkout, "wide"))
    checkout.experiment("y", "inherits: x\n", evaluator=override("evaluator"))
    checkout.experiment("z", f"inherits: x\n{start_from(checkout, 'common')}")
    assert owners(checkout, "y") == ["common", "x", "y"]
    assert owners(checkout, "z") == ["common", "z", "z"]


def test_child_may_start_from_its_parents_model(checkout: Checkout) -> None:
    checkout.experiment("wide", "params: {model: {channels: 64}}\n")
    checkout.experiment("x", f"inherits: wide\n{start_from(checkout, 'wide')}")
    checkout.experiment("y", f"inherits: x\n{start_from(checkout, 'x')}")
    assert stage_of(checkout, "x", "train").needs == (("common", "prepare"), ("wide", "train"))
    assert stage_of(checkout, "y", "train").needs == (("common", "prepare"), ("x", "train"))


@pytest.mark.parametrize(
    ("experiments", "fault"),
    [
        ({"a": "b", "b": "a"}, "experiments/a/experiment.yaml:1:29: {}a → b → a"),
        ({"c": "b", "b": "d", "d": "c"}, "experiments/b/experiment.yaml:1:29: {}b → d → c → b"),
        ({"a": "b", "b": "heir", "heir": None}, "experiments/a/experiment.yaml:1:29: {}a → b → heir → a"),
    ],
)
def test_circle_of_trainings_is_one_fault_whoever_asks(
    checkout: Checkout, experiments: dict[str, str | None], fault: str
) -> None:
    for name, model in experiments.items():
        if model:
            checkout.experiment(name, start_from(checkout, model))
        else:
            checkout.experiment(name, "inherits: a\n", evaluator=override("evaluator"))
    checkout.experiment("user", start_from(checkout, "a" if "a" in experiments else "b"))
    message = fault.format("trainings wait for each other's built models: ")
    hint = "hint: set model.init_from to another experiment, or to null"
    assert find_fault(checkout) == f"error: {message}\n{hint}"
    for name in (*experiments, "user"):
        project = checkout.project()
        with pytest.raises(ConfigError) as caught:
            project.ownership(project.select((name,)))
        assert caught.value.message == message


def test_circle_is_none_when_the_inherited_param_is_set_to_null(checkout: Checkout) -> None:
    checkout.experiment("a", start_from(checkout, "b"))
    checkout.experiment("b", "inherits: a\nparams: {model: {init_from: null, channels: 8}}\n")
    assert stage_of(checkout, "a", "train").needs == (("common", "prepare"), ("b", "train"))
    assert stage_of(checkout, "b", "train").needs == (("common", "prepare"),)
