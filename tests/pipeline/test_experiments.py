"""Experiments are discovered, checked, and resolved with all that they inherit."""

from typing import Any

import pytest

from pipeline import index
from pipeline.configs import RESERVED_SCHEMAS
from pipeline.errors import ConfigError, UsageError
from pipeline.experiments import Experiment, Experiments, suggest_name
from pipeline.params import Setting, flatten, nest
from tests.checkouts import Checkout

NET = "from common.model import ConvNet\n\nclass Net(ConvNet): pass\n"
WIDE = "params: {model: {channels: 64}}\n"
TRAINER = """\
from collections.abc import Mapping
from dataclasses import dataclass, field

from common import trainer
from common.trainer import Trainer


@dataclass(frozen=True)
class Config(trainer.Config):
    gamma: float = 2.0
    schedule: Mapping[str, int] | None = None
    steps: list[int] = field(default_factory=list)


class GammaTrainer(Trainer): pass
"""


def load(checkout: Checkout) -> Experiments:
    return checkout.project().experiments


def get(checkout: Checkout, name: str = "net") -> Experiment:
    return load(checkout).get(name)


def find_faults(checkout: Checkout, name: str = "net") -> str:
    with pytest.raises(ConfigError) as raised:
        get(checkout, name)
    return raised.value.message


def test_names_are_those_of_folders_with_an_experiment_in_them(checkout: Checkout) -> None:
    checkout.experiment("wide")
    checkout.experiment("deep")
    checkout.write("experiments/forgotten/model.py", NET)
    checkout.write("experiments/forgotten_folder/model/__init__.py", NET)
    checkout.write("experiments/notes/README.md", "")
    checkout.write("experiments/README.md", "")
    assert load(checkout).names() == ["common", "deep", "forgotten", "forgotten_folder", "wide"]


def test_only_the_common_build_is_named_when_there_is_no_folder_of_experiments(checkout: Checkout) -> None:
    (checkout.root / "experiments").rmdir()
    assert load(checkout).names() == ["common"]


def test_common_build_has_the_common_components_and_params_when_nothing_is_inherited(checkout: Checkout) -> None:
    common = get(checkout, "common")
    assert (common.parent, common.lineage, common.overrides) == (None, ("common",), ())
    assert {kind: component.module for kind, component in common.components.items()} == {
        kind: f"common.{kind}" for kind in ("data", "loader", "model", "trainer", "evaluator", "engine")
    }
    assert common.settings["model.channels"] == Setting(32, "params.yaml", "model.channels")


def test_everything_is_inherited_when_an_experiment_says_nothing(checkout: Checkout) -> None:
    checkout.write("experiments/net/experiment.yaml", "")
    net, common = get(checkout), get(checkout, "common")
    assert (net.name, net.folder, net.description, net.owner) == ("net", "experiments/net", "", "")
    assert (net.settings, net.components) == (common.settings, common.components)
    assert (net.lineage, net.overrides, net.own_settings) == (("net", "common"), (), {})


def test_setting_says_which_file_it_comes_from_when_ancestors_set_others(checkout: Checkout) -> None:
    checkout.experiment("base", "params: {model: {channels: 64}, train: {epochs: 5}}\n")
    checkout.experiment("net", "inherits: base\nowner: vision\nparams: {train: {epochs: 7}}\n")
    net = get(checkout)
    assert net.lineage == ("net", "base", "common")
    assert net.owner == "vision"
    assert net.settings["train.epochs"] == Setting(7, "experiments/net/experiment.yaml", "params.train.epochs")
    assert net.settings["model.channels"] == Setting(64, "experiments/base/experiment.yaml", "params.model.channels")
    assert net.settings["model.dropout"] == Setting(0.2, "params.yaml", "model.dropout")
    assert list(net.own_settings) == ["train.epochs"]
    assert net.section("model") == {"channels": 64, "dropout": 0.2}


def test_params_are_merged_deeply_when_parent_and_child_set_the_same_mapping(checkout: Checkout) -> None:
    checkout.experiment("base", "params: {train: {schedule: {warmup: 1, decay: 2}, steps: [1, 2]}}\n", trainer=TRAINER)
    checkout.experiment("net", "inherits: base\nparams: {train: {schedule: {warmup: 5}, steps: [3]}}\n")
    train = get(checkout).section("train")
    assert train["schedule"] == {"warmup": 5, "decay": 2}
    assert train["steps"] == [3]


@pytest.mark.parametrize(
    ("parent", "child", "schedule"),
    [("null", "{warmup: 1}", {"warmup": 1}), ("{warmup: 1}", "null", None), ("{}", "{warmup: 1}", {"warmup": 1})],
)
def test_param_takes_the_place_of_the_parents_when_only_one_of_them_is_a_filled_mapping(
    checkout: Checkout, parent: str, child: str, schedule: dict[str, int] | None
) -> None:
    checkout.experiment("base", f"params: {{train: {{schedule: {parent}}}}}\n", trainer=TRAINER)
    checkout.experiment("net", f"inherits: base\nparams: {{train: {{schedule: {child}}}}}\n")
    net = get(checkout)
    assert net.section("train")["schedule"] == schedule
    assert len([key for key in net.settings if key.split(".")[1] == "schedule"]) == 1


@pytest.mark.parametrize("params", ["{train: {}}", "{train: {schedule: {}}}"])
def test_params_stay_the_parents_when_an_empty_mapping_is_merged_onto_them(checkout: Checkout, params: str) -> None:
    checkout.experiment("base", "params: {train: {schedule: {warmup: 1}}}\n", trainer=TRAINER)
    checkout.experiment("net", f"inherits: base\nparams: {params}\n")
    assert get(checkout).settings == get(checkout, "base").settings


def test_mapping_is_refused_when_a_key_holds_a_dot_that_dvc_would_take_for_a_level(checkout: Checkout) -> None:
    checkout.experiment("net", "params: {train: {schedule: {layer.1: 3}}}\n", trainer=TRAINER)
    assert find_faults(checkout).startswith("experiments/net/experiment.yaml:1:29: ")


def test_param_is_dropped_when_the_new_component_does_not_take_it(checkout: Checkout) -> None:
    checkout.experiment("base", "params: {train: {gamma: 3.0, epochs: 5}}\n", trainer=TRAINER)
    plain = "from common.trainer import Trainer\n\nclass Plain(Trainer): pass\n"
    checkout.experiment("net", "inherits: base\n", trainer=plain)
    train = get(checkout).section("train")
    assert "gamma" not in train
    assert train["epochs"] == 5


def test_param_is_kept_when_the_new_component_extends_the_parents(checkout: Checkout) -> None:
    checkout.experiment("base", "params: {train: {gamma: 3.0}}\n", trainer=TRAINER)
    source = "from experiments.base.trainer import GammaTrainer\n\nclass Mine(GammaTrainer): pass\n"
    checkout.experiment("net", "inherits: base\n", trainer=source)
    net = get(checkout)
    assert net.section("train")["gamma"] == 3.0


def test_override_is_inherited_when_the_child_overrides_something_else(checkout: Checkout) -> None:
    checkout.experiment("base", model=NET)
    checkout.experiment("net", "inherits: base\n", trainer=TRAINER)
    net = get(checkout)
    assert net.overrides == ("trainer",)
    assert (net.components["model"].path, net.components["model"].declared_by) == ("experiments/base/model.py", "base")


def test_component_is_the_declared_one_when_no_file_overrides_it(checkout: Checkout) -> None:
    checkout.experiment("net", "components: {model: 'experiments.net.nets:Net'}\n", nets=NET)
    net = get(checkout)
    assert net.overrides == ("model",)
    assert (net.components["model"].module, net.components["model"].class_name) == ("experiments.net.nets", "Net")


CONFIG = """\
from dataclasses import dataclass

from common.model import ConvNet


@dataclass(frozen=True)
class Config:
    depth: int
    depth_max: int = 9


class Net(ConvNet): pass
"""


def test_param_is_taken_when_it_has_no_default_and_is_set(checkout: Checkout) -> None:
    checkout.experiment("net", "params: {model: {depth: 3}}\n", model=CONFIG)
    assert get(checkout).section("model") == {"depth": 3}


def test_common_build_is_refused_when_a_param_has_no_default_and_is_not_set(checkout: Checkout) -> None:
    path = checkout.root / "common/model.py"
    dropout = "    dropout: Fraction = 0.2\n"
    path.write_text(path.read_text().replace(dropout, f"{dropout}    depth: int\n"))
    assert find_faults(checkout, "common") == "params.yaml: 'model.depth' has no value and no default"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("class ConvNet(Model)", "class ConvolutionalNet(Model)", "common/model.py:1:1: defines no class 'ConvNet'"),
        ("from torch import", "from common.zzz import", "common/model.py:5:1: no module 'common.zzz'"),
    ],
)
def test_common_build_is_refused_when_its_own_source_is_at_fault(
    checkout: Checkout, old: str, new: str, fault: str
) -> None:
    path = checkout.root / "common/model.py"
    path.write_text(path.read_text().replace(old, new))
    assert find_faults(checkout, "common").startswith(fault)


def test_common_build_is_refused_when_a_component_of_it_is_missing(checkout: Checkout) -> None:
    (checkout.root / "common/model.py").unlink()
    assert "common/model.py: no such file" in find_faults(checkout, "common")


@pytest.mark.parametrize(
    ("name", "hint"), [("zzz", ""), ("nett", "; did you mean 'net'?"), ("net/", "; did you mean 'net'?")]
)
def test_experiment_is_unknown_when_no_folder_has_its_name(checkout: Checkout, name: str, hint: str) -> None:
    checkout.experiment("net", WIDE)
    with pytest.raises(UsageError) as raised:
        get(checkout, name)
    assert raised.value.message == f"no experiment '{name}'{hint}"


def test_faults_of_all_experiments_are_found_when_all_are_loaded(checkout: Checkout) -> None:
    checkout.experiment("good", WIDE)
    checkout.experiment("bad", "owner: 3\n")
    checkout.experiment("child", "inherits: bad\n")
    checkout.experiment("worse", "inherits: zzz\n")
    sound, problems = load(checkout).load_all()
    assert list(sound) == ["common", "good"]
    assert [str(problem) for problem in problems] == [
        "experiments/bad/experiment.yaml:1:8: 'owner' is 3, wanted a text",
        "experiments/worse/experiment.yaml:1:11: inherits 'zzz', which is no experiment",
    ]


def test_faults_of_a_file_are_found_together_when_its_parent_is_unknown_too(checkout: Checkout) -> None:
    checkout.experiment("net", "inherits: zzz\nowner: 3\n")
    assert find_faults(checkout) == (
        "2 faults\n"
        "  experiments/net/experiment.yaml:1:11: inherits 'zzz', which is no experiment\n"
        "  experiments/net/experiment.yaml:2:8: 'owner' is 3, wanted a text"
    )


def test_role_with_all_defaults_is_one(checkout: Checkout) -> None:
    checkout.experiment("net", "params: {train: {roles: {features: {}, classifier: {every: 2}}}}\n")
    assert get(checkout).section("train")["roles"] == {"features": {}, "classifier": {"every": 2}}
    checkout.experiment("child", "inherits: net\nparams: {train: {roles: {classifier: {}, features: {every: 3}}}}\n")
    roles = load(checkout).get("child").section("train")["roles"]
    assert roles == {"features": {"every": 3}, "classifier": {"every": 2}}


@pytest.mark.parametrize("value", [".inf", "-.inf", "1e-3", "12345678901234567890123"])
def test_param_is_the_same_when_the_index_remembers_it(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setattr(index, "_RACY_NS", 0)  # remember files at once
    checkout.experiment("net", f"params: {{train: {{optimizer: {{lr: {value}}}}}}}\n")
    project = checkout.project()
    before = project.experiments.get("net").settings["train.optimizer.lr"]
    project.index.save()
    assert repr(get(checkout).settings["train.optimizer.lr"]) == repr(before)


def test_params_schema_takes_the_fields_of_the_common_configs_and_others_in_overrides(checkout: Checkout) -> None:
    schema = load(checkout).params_schema()
    model = {
        "channels": {"type": "integer", "minimum": 1},
        "dropout": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        **RESERVED_SCHEMAS["model"],
    }
    assert schema["properties"]["model"] == {"type": "object", "additionalProperties": False, "properties": model}
    assert schema["$defs"]["overrides"]["properties"]["model"]["additionalProperties"] is True


@pytest.mark.parametrize(
    ("nested", "flat"),
    [
        ({}, {}),
        ({"a": 1}, {"a": 1}),
        ({"a": {"b": 1, "c": {"d": 2}}, "e": [{"f": 3}]}, {"a.b": 1, "a.c.d": 2, "e": [{"f": 3}]}),
        ({"a": {}}, {"a": {}}),
        ({"a": None}, {"a": None}),
    ],
)
def test_dicts_come_back_when_they_are_flattened_and_nested(nested: dict[str, Any], flat: dict[str, Any]) -> None:
    assert dict(flatten(nested)) == flat
    assert nest(flat) == nested


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("wide-net 2", "wide_net_2"),
        ("2x", "x_2x"),
        ("class", "x_class"),
        ("../up", "up"),
        ("grün", "gr_n"),
        ("--", "experiment"),
        ("", "experiment"),
        ("common", "x_common"),
    ],
)
def test_identifier_is_close_to_the_name_when_that_is_none(name: str, identifier: str) -> None:
    assert suggest_name(name) == identifier


# Built models of others

STARTED = "params: {model: {init_from: wide}}\n"
USER = """\
from collections.abc import Mapping
from dataclasses import dataclass, field

from common import trainer
from common.config import BuiltModel
from common.trainer import Trainer


@dataclass(frozen=True)
class Role:
    model_from: BuiltModel | None = None


@dataclass(frozen=True)
class Config(trainer.Config):
    teacher: BuiltModel | None = None
    roles: Mapping[str, Role] = field(default_factory=dict)
    ensemble: tuple[BuiltModel, ...] = ()


class User(Trainer): pass
"""


@pytest.fixture
def wide(checkout: Checkout) -> Checkout:
    """A checkout with an experiment whose built model others take."""
    checkout.experiment("wide", WIDE)
    return checkout


def test_built_models_are_those_that_effective_params_name(wide: Checkout) -> None:
    params = "{teacher: wide, roles: {student: {model_from: common}, other: {}}, ensemble: [wide, common]}"
    wide.experiment("net", f"params: {{train: {params}, model: {{init_from: wide}}}}\n", trainer=USER)
    wide.experiment("child", "inherits: net\nparams: {train: {teacher: null, epochs: 3}}\n")
    wide.experiment("heir", "inherits: net\n" + WIDE)
    models = {
        "train.teacher": "wide",
        "train.roles.student.model_from": "common",
        "train.ensemble.0": "wide",
        "train.ensemble.1": "common",
        "model.init_from": "wide",
    }
    assert get(wide).built_models == get(wide, "heir").built_models == models
    assert get(wide, "child").built_models == {key: name for key, name in models.items() if key != "train.teacher"}
    assert get(wide, "wide").built_models == get(wide, "common").built_models == {}


def test_init_from_is_taken_whatever_the_models_config(wide: Checkout) -> None:
    wide.experiment("net", "params: {model: {init_from: wide, init_map: {a.b.: c., '': null}}}\n", model=NET)
    model = "from torch import nn\n\nclass Net(nn.Module): pass\n"
    wide.experiment("other", "inherits: net\n", model=model)
    other = get(wide, "other")
    assert other.section("model") == {"init_from": "wide", "init_map": {"a.b.": "c.", "": None}}
    assert other.built_models == {"model.init_from": "wide"}


def test_map_is_replaced_as_a_whole(wide: Checkout) -> None:
    wide.experiment("net", "params: {model: {init_from: wide, init_map: {a.: b., c.: null}}}\n")
    wide.experiment("other", "inherits: net\nparams: {model: {init_map: {x.: y.}}}\n")
    wide.experiment("strict", "inherits: net\nparams: {model: {init_map: null}}\n")
    assert get(wide, "other").section("model")["init_map"] == {"x.": "y."}
    assert get(wide, "strict").section("model")["init_map"] is None


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        (
            "model: {init_from: wid}",
            "1:29: 'model.init_from' names 'wid', which is no experiment; did you mean 'wide'?",
        ),
        ("model: {init_from: ../wide}", "1:29: 'model.init_from' names '../wide', which is no experiment"),
        ("model: {init_from: net}", "1:29: 'model.init_from' names 'net' itself"),
        ("model: {init_from: 3}", "1:29: 'params.model.init_from' is 3, wanted a text or nothing"),
        ("model: {init_map: {a.: 3}}", "1:33: 'params.model.init_map.a.' is 3, wanted a text or nothing"),
        (
            "train: {roles: {student: {model_from: zzz}}}",
            "1:48: 'train.roles.student.model_from' names 'zzz', which is no experiment",
        ),
        ("train: {ensemble: [wide, wid]}", "1:35: 'train.ensemble.1' names 'wid', which is no experiment"),
    ],
)
def test_built_model_is_refused_with_the_place(wide: Checkout, params: str, fault: str) -> None:
    wide.experiment("net", f"params: {{{params}}}\n", trainer=USER)
    assert find_faults(wide).startswith(f"experiments/net/experiment.yaml:{fault}")


def test_built_model_is_refused_when_evaluation_would_read_it(wide: Checkout) -> None:
    config = "from common.config import BuiltModel\nfrom dataclasses import dataclass\n\n@dataclass\nclass Config:\n"
    evaluator = f"{config}    other: BuiltModel | None = None\n\nfrom common.evaluator import Evaluator\n\n"
    wide.experiment(
        "net", "params: {evaluate: {other: wide}}\n", evaluator=f"{evaluator}class Judge(Evaluator): pass\n"
    )
    assert find_faults(wide) == (
        "experiments/net/experiment.yaml:1:21: 'evaluate.other' names a built model: "
        "only the params of train, and model.init_from, may"
    )


def test_built_model_is_refused_when_an_inherited_param_names_the_heir(wide: Checkout) -> None:
    wide.experiment("base", "params: {model: {init_from: net}}\n")
    wide.experiment("net", "inherits: base\nparams: {train: {epochs: 3}}\n")
    with pytest.raises(ConfigError) as raised:
        get(wide)
    place = "experiments/base/experiment.yaml:1:29"
    assert str(raised.value) == f"{place}: 'model.init_from' names 'net', which inherits it"
    assert raised.value.hint == "in net, set model.init_from to null or to another experiment"


def test_experiment_reaches_its_ancestors_and_all_whose_models_they_take(wide: Checkout) -> None:
    wide.experiment("deep", "inherits: wide\nparams: {model: {init_from: common}}\n")
    wide.experiment("base", "params: {model: {init_from: deep}}\n")
    wide.experiment("net", "inherits: base\nparams: {model: {init_from: null}}\n")
    assert set(load(wide).reach("net")) == {"net", "base", "deep", "wide", "common"}
    assert load(wide).reach("wide") == ("wide", "common")


def test_experiment_is_faulty_when_one_is_whose_model_it_takes(checkout: Checkout) -> None:
    checkout.experiment("wide", "colour: red\n")
    checkout.experiment("net", STARTED)
    checkout.experiment("heir", "inherits: net\nparams: {train: {epochs: 3}}\n")
    fault = "experiments/wide/experiment.yaml:1:1: unknown key 'colour'"
    assert find_faults(checkout).startswith(fault)
    assert find_faults(checkout, "heir").startswith(fault)
    sound, problems = load(checkout).load_all()
    assert (list(sound), [problem.path for problem in problems]) == (["common"], ["experiments/wide/experiment.yaml"])


# Models that a file describes

MODEL = '{"layers": ["Flatten",\n {"Linear": {"out_features": "classes"}}]}'


@pytest.fixture
def declared(checkout: Checkout) -> Checkout:
    """A checkout with the experiment `net`, whose model is a model.json."""
    checkout.experiment("net")
    checkout.write("experiments/net/model.json", MODEL)
    return checkout


def test_model_is_that_of_the_file_when_there_is_one(declared: Checkout) -> None:
    declared.experiment("heir", "inherits: net\nparams: {train: {epochs: 3}}\n")
    for name in ("net", "heir"):
        model = get(declared, name).components["model"]
        assert (model.class_name, model.file, model.declared_by) == (
            "DeclaredModel",
            "experiments/net/model.json",
            "net",
        )
        assert get(declared, name).section("model") == {}


def test_experiment_wants_its_yaml_when_it_holds_a_model_file_alone(checkout: Checkout) -> None:
    checkout.write("experiments/net/model.json", MODEL)
    assert find_faults(checkout).startswith("experiments/net/experiment.yaml: there is an override beside it")


def test_params_of_a_model_file_are_whose_weights_it_starts_from_alone(declared: Checkout) -> None:
    declared.experiment("net", "params: {model: {init_from: common, init_map: {classifier.: null}}}\n")
    assert get(declared).built_models == {"model.init_from": "common"}
    declared.experiment("net", "params: {model: {channels: 8}}\n")
    assert "unknown key 'channels' in 'params.model'; there are init_from, init_map" in find_faults(declared)


def test_fault_is_found_again_when_the_file_changes(declared: Checkout) -> None:
    assert get(declared)
    declared.project().index.save()
    declared.write("experiments/net/model.json", MODEL.replace("Linear", "Liner"))
    fault = "experiments/net/model.json:2:3: unknown key 'Liner' in 'layers.1'; did you mean 'Linear'?"
    assert find_faults(declared).startswith(fault)
    assert find_faults(declared).startswith(fault)


def test_file_is_refused_when_it_is_a_copy_of_the_parents(declared: Checkout) -> None:
    declared.experiment("copy", "inherits: net\n")
    declared.write("experiments/copy/model.json", MODEL)
    assert "experiments/copy/model.json: is a copy of 'experiments/net/model.json'" in find_faults(declared, "copy")


def test_file_is_refused_when_python_or_the_yaml_says_the_model_too(declared: Checkout) -> None:
    declared.experiment("net", "components: {model: common.model:ConvNet}\n")
    assert "'experiments/net/model.json' overrides the model already" in find_faults(declared)
    declared.experiment("net", model=NET)
    fault = "experiments/net/model.py: 'experiments/net/model.json' overrides the model too; keep one of them"
    assert find_faults(declared).startswith(fault)


@pytest.mark.parametrize(("file", "meant"), [("modle.json", "model"), ("loader.json", "loader")])
def test_file_is_refused_when_its_name_is_nearly_that_of_a_form(checkout: Checkout, file: str, meant: str) -> None:
    checkout.experiment("net", WIDE)
    checkout.write("experiments/net/notes.json", "{}")
    assert get(checkout)
    checkout.write(f"experiments/net/{file}", MODEL)
    fault = f"experiments/net/{file}: nothing uses this file; did you mean '{meant}'?"
    assert find_faults(checkout).startswith(fault)


def test_files_that_are_trusted_are_the_experiments_own(checkout: Checkout) -> None:
    pin = "0" * 64
    checkout.experiment("base", f'trust: {{"model.pkl": "{pin}"}}\n', model=NET)
    checkout.experiment("net", "inherits: base\n", model=NET.replace("Net(", "Deep("))
    assert get(checkout, "base").trust == {"model.pkl": pin}
    assert get(checkout).trust == {}


@pytest.mark.parametrize("pin", ["'00'", "1", f"{'0' * 63}G", f"'{'A' * 64}'"])
def test_a_pin_has_to_be_a_sha256(pin: str, checkout: Checkout) -> None:
    checkout.experiment("net", f"trust: {{model.pkl: {pin}}}\n", model=NET)
    assert "experiments/net/experiment.yaml:" in find_faults(checkout)
    assert "model.pkl" in find_faults(checkout)
