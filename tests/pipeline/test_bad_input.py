"""What people get wrong, and the whole of what `force` says about it."""

import re
from collections.abc import Callable
from textwrap import dedent

import pytest

from tests.checkouts import Checkout, Ended

Force = Callable[..., Ended]

NET = "from common.model import ConvNet\n\n\nclass Net(ConvNet):\n    pass\n"
WIDE = "params:\n  model: {channels: 64}\n"
YAML = "experiments/net/experiment.yaml"
MODEL = "experiments/net/model.py"
VOID = "hint: set a param in it, or add one of data.py, loader.py, model.py, trainer.py, evaluator.py beside it\n"
WANTED = "wanted exactly one subclass of common.model.Model"
SECTIONS = "data, loader, model, train, evaluate, runtime, container, monitoring, reporting"
MODEL_KEYS = "there are channels, dropout, init_from, init_map"
ADD = "hint: docs/development.md says how to add one"


def refused(status: int, text: str) -> Ended:
    """Return how a call ends that prints nothing but this error."""
    return Ended(status, "", f"error: {text.rstrip()}\n")


# The command line.


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["plan", "wide"], "no experiment 'wide'\nhint: force ls lists them"),
        (["plan", "nett"], "no experiment 'nett'; did you mean 'net'?\nhint: force ls lists them"),
        (["plan", "net", "comon"], "no experiment 'comon'; did you mean 'common'?\nhint: force ls lists them"),
        (["plan", "net/"], "no experiment 'net/'; did you mean 'net'?\nhint: force ls lists them"),
        (["show", "nett"], "no experiment 'nett'; did you mean 'net'?\nhint: force ls lists them"),
        (["compare", "nett"], "no experiment 'nett'; did you mean 'net'?\nhint: force ls lists them"),
        (["compare", "--baseline", "nett"], "no experiment 'nett'; did you mean 'net'?\nhint: force ls lists them"),
        (["plan", "--changed-since", "zzz"], "git knows no revision 'zzz'\nhint: git fetch, or name another revision"),
        (["plan", "--changed-since"], "option '--changed-since' requires an argument\nhint: force plan --help"),
        (["show", "net", "common"], "got unexpected extra argument (common)\nhint: force show --help"),
        (["--zzz"], "no such option '--zzz'\nhint: force --help"),
        (["runner", "systemd", "--zzz"], "no such option '--zzz'\nhint: force runner systemd --help"),
        (["image", "bild"], "no such command 'bild'. Did you mean 'build'?\nhint: force image --help"),
        (["ci", "gate", "x", "--needs"], "option '--needs' requires an argument\nhint: force ci gate --help"),
        (
            ["show", "experiments/net"],
            "no experiment 'experiments/net'; did you mean 'net'?\nhint: force ls lists them",
        ),
        (["plam"], "no command 'plam'; did you mean 'plan'?\nhint: force --help"),
        (["zzz"], "no command 'zzz'\nhint: force --help"),
    ],
)
def test_call_is_refused_when_it_asks_for_something_that_is_not_there(
    checkout: Checkout, force: Force, args: list[str], text: str
) -> None:
    checkout.experiment("net", WIDE)
    assert force(*args) == refused(2, text)


def test_help_is_printed_as_it_is_when_no_command_is_named(force: Force) -> None:
    assert force() == Ended(2, "", force("--help").out)


@pytest.mark.parametrize("args", [["plan"], ["ls"], ["sync"], ["new", "net"], ["doctor"], ["stage", "train"]])
def test_call_is_refused_when_the_folder_is_in_no_checkout(checkout: Checkout, force: Force, args: list[str]) -> None:
    folder = checkout.root.parent.resolve()
    hint = "hint: cd into a checkout: the folder with params.yaml and common/"
    assert force(*args, at="..") == refused(2, f"'{folder}' is in no Force Build checkout\n{hint}")


# experiment.yaml


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "params:\n  model: {chanels: 64}\n",
            "2:11: unknown key 'chanels' in 'params.model'; did you mean 'channels'?",
        ),
        ("params:\n  model: {zzz: 1}\n", f"2:11: unknown key 'zzz' in 'params.model'; {MODEL_KEYS}"),
        ("params:\n  modl: {channels: 64}\n", "2:3: unknown key 'modl' in 'params'; did you mean 'model'?"),
        ("params:\n  zzz: 1\n", f"2:3: unknown key 'zzz' in 'params'; there are {SECTIONS}"),
        ("params: {model.channels: 64}\n", f"1:10: unknown key 'model.channels' in 'params'; there are {SECTIONS}"),
        (
            "params: {model: {channels: wide}}\n",
            "1:28: 'params.model.channels' is \"wide\", wanted a whole number of at least 1",
        ),
        (
            "params: {train: {epochs: 40.0}}\n",
            "1:26: 'params.train.epochs' is 40.0, wanted a whole number of at least 0 or nothing",
        ),
        (
            "params: {train: {epochs: -1}}\n",
            "1:26: 'params.train.epochs' is -1, wanted a whole number of at least 0 or nothing",
        ),
        (
            "params: {train: {patience: 0}}\n",
            "1:28: 'params.train.patience' is 0, wanted a whole number of at least 1 or nothing",
        ),
        (
            "params: {train: {clip_norm: 0}}\n",
            "1:29: 'params.train.clip_norm' is 0, wanted a number above 0 or nothing",
        ),
        (
            "params: {train: {precision: bf32}}\n",
            '1:29: \'params.train.precision\' is "bf32", wanted one of "fp32", "bf16", "fp16"',
        ),
        (
            "params: {train: {clip_norm: .nan}}\n",
            "1:29: 'params.train.clip_norm' is NaN, wanted a number above 0 or nothing",
        ),
        (
            "params: {train: {ema_decay: 1.0}}\n",
            "1:29: 'params.train.ema_decay' is 1.0, wanted a number of at least 0 and below 1 or nothing",
        ),
        (
            "params: {train: {roles: {features: {every: 0}}}}\n",
            "1:44: 'params.train.roles.features.every' is 0, wanted a whole number of at least 1",
        ),
        (
            "params: {loader: {batch_size: 0}}\n",
            "1:31: 'params.loader.batch_size' is 0, wanted a whole number of at least 1",
        ),
        (
            "params: {model: {channels: }}\n",
            "1:28: 'params.model.channels' is empty, wanted a whole number of at least 1",
        ),
        (
            "params: {runtime: {deterministic: on}}\n",
            "1:35: 'params.runtime.deterministic' is \"on\", wanted true or false",
        ),
        (
            "params: {runtime: {device: gpu}}\n",
            '1:28: \'params.runtime.device\' is "gpu", wanted one of "auto", "cpu", "cuda"',
        ),
        ("params: {model: 64}\n", "1:17: 'params.model' is 64, wanted a mapping of keys to values"),
        ("params: [model]\n", "1:9: 'params' is [\"model\"], wanted a mapping of keys to values"),
        ("params:\n", "1:8: 'params' is empty, wanted a mapping of keys to values"),
        ("descriptio: x\n", "1:1: unknown key 'descriptio'; did you mean 'description'?"),
        (
            "zzz: x\n",
            "1:1: unknown key 'zzz'; there are inherits, description, owner, params, trust, gates, components",
        ),
        ("owner: 3\n", "1:8: 'owner' is 3, wanted a text"),
        ("inherits: [base]\n", "1:11: 'inherits' is [\"base\"], wanted a text"),
        ("inherits: zzz\n", "1:11: inherits 'zzz', which is no experiment"),
        ("inherits: bas\n", "1:11: inherits 'bas', which is no experiment; did you mean 'base'?"),
        ("- params\n", '1:1: the file is ["params"], wanted a mapping of keys to values'),
        ("params: {model: {channels: 64}\n", "2:1: did not find expected ',' or '}'"),
        ("description: a: b\n", "1:15: mapping values are not allowed in this context"),
        ("owner: a\nparams: {}\nowner: b\n", "3:1: the key 'owner' comes twice"),
        ("params: {model: {channels: 64, channels: 32}}\n", "1:32: the key 'channels' comes twice"),
        ("params: {1: 2}\n", "1:10: a key must be text"),
    ],
)
def test_experiment_yaml_is_refused_with_the_place_when_it_is_faulty(
    checkout: Checkout, force: Force, text: str, fault: str
) -> None:
    checkout.experiment("base", WIDE)
    checkout.experiment("net", text)
    assert force("plan", "net") == refused(3, f"{YAML}:{fault}")


def test_faults_are_listed_together_when_a_file_has_several(checkout: Checkout, force: Force) -> None:
    text = """\
        descriptio: x
        owner: 3
        components: {modle: 'common.model:ConvNet'}
        params:
          modl: {channels: 64}
          train: {epochs: 3.5, epoch: 1}
        """
    checkout.experiment("net", text)
    faults = f"""\
        6 faults
          {YAML}:1:1: unknown key 'descriptio'; did you mean 'description'?
          {YAML}:2:8: 'owner' is 3, wanted a text
          {YAML}:3:14: unknown key 'modle' in 'components'; did you mean 'model'?
          {YAML}:5:3: unknown key 'modl' in 'params'; did you mean 'model'?
          {YAML}:6:19: 'params.train.epochs' is 3.5, wanted a whole number of at least 0 or nothing
          {YAML}:6:24: unknown key 'epoch' in 'params.train'; did you mean 'epochs'?
        """
    assert force("plan", "net") == refused(3, dedent(faults))


def test_faults_of_every_experiment_are_listed_when_several_are_asked_for(checkout: Checkout, force: Force) -> None:
    checkout.experiment("one", "owner: 1\n")
    checkout.experiment("two", "owner: 2\n")
    faults = """\
        2 faults
          experiments/one/experiment.yaml:1:8: 'owner' is 1, wanted a text
          experiments/two/experiment.yaml:1:8: 'owner' is 2, wanted a text
        """
    assert force("plan", "two", "one") == refused(3, dedent(faults))
    assert force("sync", "--check") == refused(3, dedent(faults))


def test_experiment_is_refused_when_its_parent_is_faulty(checkout: Checkout, force: Force) -> None:
    checkout.experiment("base", "owner: 3\n")
    checkout.experiment("net", f"inherits: base\n{WIDE}")
    assert force("plan", "net") == refused(3, "experiments/base/experiment.yaml:1:8: 'owner' is 3, wanted a text")


@pytest.mark.parametrize(
    ("parents", "circle"),
    [
        ({"a": "a"}, "experiments/a/experiment.yaml:1:11: experiments inherit in a circle: a → a"),
        ({"a": "b", "b": "a"}, "experiments/b/experiment.yaml:1:11: experiments inherit in a circle: a → b → a"),
        (
            {"a": "b", "b": "c", "c": "a"},
            "experiments/c/experiment.yaml:1:11: experiments inherit in a circle: a → b → c → a",
        ),
    ],
    ids=["itself", "two", "three"],
)
def test_experiments_are_refused_when_they_inherit_in_a_circle(
    checkout: Checkout, force: Force, parents: dict[str, str], circle: str
) -> None:
    for name, parent in parents.items():
        checkout.experiment(name, f"inherits: {parent}\n")
    checkout.experiment("outside", "inherits: a\n")
    assert force("plan", "a") == refused(3, circle)
    assert force("plan", "outside") == refused(3, circle)
    assert force("plan") == refused(3, circle)


def test_plan_is_made_when_only_an_unrelated_experiment_is_faulty(checkout: Checkout, force: Force) -> None:
    checkout.experiment("bad", "inherits: zzz\n", model="def (\n")
    checkout.experiment("good_one", WIDE)
    planned = force("plan", "good_one")
    assert (planned.status, planned.err) == (0, "")
    assert planned.out.endswith("\n3 run, 1 inherited\n")


# params.yaml


@pytest.mark.parametrize(
    ("old", "new", "faults"),
    [
        (
            "  channels: 32",
            "  chanels: 32",
            "params.yaml:11:3: unknown key 'chanels' in 'model'; did you mean 'channels'?",
        ),
        (
            "epochs: 20",
            "epochs: many",
            "params.yaml:14:11: 'train.epochs' is \"many\", wanted a whole number of at least 0 or nothing",
        ),
        ("runtime:", "rntime:", "params.yaml:23:1: unknown key 'rntime'; did you mean 'runtime'?"),
        ("runtime:", "model:", "params.yaml:23:1: the key 'model' comes twice"),
        ("epochs: 20", "epochs: [20", "params.yaml:15:3: did not find expected ',' or ']'"),
        (
            "channels: 32\n  dropout: 0.2",
            "channels: many\n  dropout: often",
            "2 faults\n"
            "  params.yaml:11:13: 'model.channels' is \"many\", wanted a whole number of at least 1\n"
            "  params.yaml:12:12: 'model.dropout' is \"often\", wanted a number of at least 0 and below 1",
        ),
    ],
)
def test_params_yaml_is_refused_with_the_place_when_it_is_faulty(
    checkout: Checkout, force: Force, old: str, new: str, faults: str
) -> None:
    path = checkout.root / "params.yaml"
    path.write_text(path.read_text().replace(old, new))
    checkout.experiment("net", WIDE)
    assert force("plan", "net") == refused(3, faults)
    assert force("sync", "--check") == refused(3, faults)


# Names of folders.


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("wide-net", "git mv experiments/wide-net experiments/wide_net"),
        ("2net", "git mv experiments/2net experiments/x_2net"),
        ("class", "git mv experiments/class experiments/x_class"),
        ("wide net", "git mv 'experiments/wide net' experiments/wide_net"),
        ("common", "git mv experiments/common experiments/x_common"),
    ],
)
def test_folder_is_refused_when_its_name_cannot_be_imported(
    checkout: Checkout, force: Force, name: str, hint: str
) -> None:
    checkout.experiment(name, WIDE)
    fault = f"experiments/{name}: '{name}' is no Python identifier or is taken\nhint: {hint}"
    assert force("plan") == refused(3, fault)


@pytest.mark.parametrize("path", ["model.py", "model/__init__.py"])
def test_override_is_refused_when_no_experiment_yaml_is_beside_it(checkout: Checkout, force: Force, path: str) -> None:
    checkout.write(f"experiments/net/{path}", NET)
    hint = rf"hint: printf 'inherits: common\ndescription: ...\n' > {YAML}"
    assert force("plan") == refused(3, f"{YAML}: there is an override beside it, but the file is missing\n{hint}")


# Overrides.


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("", f"1:1: defines no class, {WANTED}\nhint: write `class ...(ConvNet):`"),
        ("from common.model import ConvNet\n", f"1:1: defines no class, {WANTED}\nhint: write `class ...(ConvNet):`"),
        ("class A:\n    pass\n", f"1:1: defines 'A', {WANTED}\nhint: write `class ...(ConvNet):`"),
        (
            f"{NET}\n\nclass Other(ConvNet):\n    pass\n",
            f"8:1: defines 'Net', 'Other', {WANTED}\n"
            "hint: move the one that is not meant to another file of the folder",
        ),
        ("class Net(:\n", "1:11: syntax error: invalid syntax"),
        ("def build(\n", "1:10: syntax error: '(' was never closed"),
        (f"import common.zzz\n{NET}", "1:1: no module 'common.zzz'"),
        (f"from common import modle\n{NET}", "1:1: 'common' has no 'modle'; did you mean 'model'?"),
        (NET.replace(".model", ".modle"), "1:1: no module 'common.modle'; did you mean 'common.model'?"),
        (f"{NET}\nfrom common.model import Modl\n", "7:1: 'common.model' has no 'Modl'; did you mean 'Model'?"),
        (NET.replace("ConvNet", "ConvNt"), "1:1: 'common.model' has no 'ConvNt'; did you mean 'ConvNet'?"),
        (f"import torchvison\n{NET}", f"1:1: no module 'torchvison' is installed\n{ADD}"),
        (f"{NET}\n    def f(self):\n        import wandbb.sdk\n", f"8:9: no module 'wandbb' is installed\n{ADD}"),
        (
            f"{NET}\nfrom pipeline.errors import ForceError\n",
            "7:1: imports 'pipeline.errors': components know torch and common, not the tooling",
        ),
        (f"import pipeline\n{NET}", "1:1: imports 'pipeline': components know torch and common, not the tooling"),
        (
            NET.replace("common.model", "experiments.other.model"),
            "1:1: imports 'experiments/other/model.py' of experiment 'other', no ancestor\n"
            "hint: inherit from other, or move the code that both need to common/",
        ),
        (
            f"{NET}\nfrom experiments.other.blocks import Block\n",
            "7:1: imports 'experiments/other/blocks.py' of experiment 'other', no ancestor\n"
            "hint: inherit from other, or move the code that both need to common/",
        ),
    ],
)
def test_override_is_refused_with_the_place_when_it_is_faulty(
    checkout: Checkout, force: Force, source: str, fault: str
) -> None:
    other = "from common.model import ConvNet\n\n\nclass ConvNet(ConvNet):\n    pass\n"
    checkout.experiment("other", model=other.replace("class ConvNet", "class Base"), blocks="class Block: pass\n")
    checkout.experiment("net", model=source)
    assert force("plan", "net") == refused(3, f"{MODEL}:{fault}")


def test_override_is_refused_when_a_file_that_it_imports_is_faulty(checkout: Checkout, force: Force) -> None:
    checkout.experiment(
        "net", model=f"from experiments.net.blocks import Block\n{NET}", blocks="import common.zzz\nBlock = 1\n"
    )
    assert force("plan", "net") == refused(3, "experiments/net/blocks.py:1:1: no module 'common.zzz'")


def test_overrides_are_refused_together_when_two_are_faulty(checkout: Checkout, force: Force) -> None:
    checkout.experiment("net", model="", trainer="def (\n")
    faults = f"""\
        2 faults
          {MODEL}:1:1: defines no class, {WANTED}
          experiments/net/trainer.py:1:5: syntax error: invalid syntax
        hint: write `class ...(ConvNet):`
        """
    assert force("plan", "net") == refused(3, dedent(faults))


def test_override_is_refused_when_components_names_the_same_component(checkout: Checkout, force: Force) -> None:
    checkout.experiment("net", "components: {model: 'common.model:ConvNet'}\n", model=NET)
    assert force("plan", "net") == refused(3, f"{YAML}:1:21: '{MODEL}' overrides the model already")


def test_override_is_refused_when_file_and_folder_both_say_it(checkout: Checkout, force: Force) -> None:
    checkout.experiment("net", model=NET)
    checkout.write("experiments/net/model/__init__.py", NET)
    assert force("plan", "net") == refused(
        3, f"{MODEL}: 'experiments/net/model/' overrides the model too; keep one of them"
    )


@pytest.mark.parametrize(
    ("reference", "fault"),
    [
        ("common.modle:ConvNet", "no module 'common.modle' in common or experiments"),
        ("torchvision.models:ResNet", "no module 'torchvision.models' in common or experiments"),
        ("common.model:ConvNt", "'common.model' defines no class 'ConvNt'"),
        ("common.trainer:Trainer", "'Trainer' is no subclass of common.model.Model"),
        (
            "experiments.other.model:Net",
            "imports 'experiments/other/model.py' of experiment 'other', no ancestor\n"
            "hint: inherit from other, or move the code that both need to common/",
        ),
        ("common.model", "'components.model' is \"common.model\", wanted a text like common.model:ConvNet"),
        ("3", "'components.model' is 3, wanted a text"),
    ],
)
def test_reference_is_refused_with_the_place_when_it_leads_to_no_model(
    checkout: Checkout, force: Force, reference: str, fault: str
) -> None:
    checkout.experiment("other", model=NET)
    checkout.experiment("net", f"components:\n  model: {reference}\n")
    assert force("plan", "net") == refused(3, f"{YAML}:2:10: {fault}")


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", f"{YAML}: 'model.depth' has no value and no default"),
        ("params: {model: {depth_max: 3}}\n", f"{YAML}: 'model.depth' has no value and no default"),
        ("params: {model: {dept: 3}}\n", f"{YAML}:1:18: unknown key 'dept' in 'params.model'; did you mean 'depth'?"),
    ],
)
def test_experiment_is_refused_when_its_config_wants_a_value_that_nobody_gives(
    checkout: Checkout, force: Force, text: str, faults: str
) -> None:
    config = (
        "from dataclasses import dataclass\n\n\n@dataclass\nclass Config:\n    depth: int\n    depth_max: int = 9\n\n\n"
    )
    checkout.experiment("net", text, model=config + NET)
    assert force("plan", "net") == refused(3, faults)


def test_config_is_refused_when_it_is_no_dataclass(checkout: Checkout, force: Force) -> None:
    checkout.experiment("net", WIDE, model=f"class Config:\n    channels: int = 3\n\n\n{NET}")
    fault = f"{MODEL}:1:1: 'Config' has fields, but is no dataclass"
    assert force("plan", "net") == refused(3, f"{fault}\nhint: write @dataclass(frozen=True) above `class Config`")


def test_file_is_refused_when_its_name_is_nearly_that_of_a_component_and_nothing_uses_it(
    checkout: Checkout, force: Force
) -> None:
    checkout.experiment("net", WIDE, modle=NET)
    path = "experiments/net/modle.py"
    text = f"{path}: nothing uses this file; did you mean 'model'?\nhint: rename it, or delete {path}"
    assert force("plan", "net") == refused(3, text)
    checkout.write(
        "experiments/net/model.py", NET.replace("common.model", "experiments.net.modle").replace("ConvNet", "Net")
    )
    assert force("plan", "net").status == 0


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("from ....torch import nn", "1:1: imports '....torch' from above the checkout"),
        ("import tests.checkouts", "1:1: imports 'tests.checkouts': components know torch and common, not the tooling"),
    ],
)
def test_import_is_refused_when_it_leads_out_of_what_components_know(
    checkout: Checkout, force: Force, line: str, fault: str
) -> None:
    checkout.experiment("net", model=f"{line}\n{NET}")
    assert force("plan", "net") == refused(3, f"{MODEL}:{fault}")


# Experiments that change nothing.


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", ""),
        ("description: only words\n", ""),
        ("params: {}\n", ""),
        ("params: {model: {}}\n", ""),
        ("params: {model: {channels: 32}}\n", ": model.channels is 32 in 'common' already"),
        (
            "params: {model: {channels: 32, dropout: 0.2}}\n",
            ": model.channels is 32 in 'common' already, model.dropout is 0.2 in 'common' already",
        ),
        ("components: {model: 'common.model:ConvNet'}\n", ": model is common.model:ConvNet in 'common' already"),
    ],
)
def test_experiment_is_refused_when_it_changes_nothing(checkout: Checkout, force: Force, text: str, why: str) -> None:
    checkout.write(YAML, text)
    assert force("plan", "net") == refused(3, f"{YAML}:1:1: changes nothing of 'common'{why}\n{VOID}")


def test_override_is_refused_when_it_is_a_copy_of_the_parents(checkout: Checkout, force: Force) -> None:
    checkout.experiment("base", model=NET)
    checkout.experiment("net", f"inherits: base\n{WIDE}", model=NET)
    copy = f"{MODEL}: is a copy of 'experiments/base/model.py' and changes nothing"
    assert force("plan", "net") == refused(3, f"{copy}\nhint: change it, or delete it to inherit")


@pytest.mark.parametrize("kind", ["loader", "model", "trainer"])
def test_override_is_refused_when_it_is_a_copy_of_the_common_one(checkout: Checkout, force: Force, kind: str) -> None:
    checkout.experiment("net", WIDE, **{kind: (checkout.root / f"common/{kind}.py").read_text()})
    copy = f"experiments/net/{kind}.py: is a copy of 'common/{kind}.py' and changes nothing"
    assert force("plan", "net") == refused(3, f"{copy}\nhint: change it, or delete it to inherit")


# Generated and recorded files.


def test_check_names_the_file_when_a_generated_one_is_out_of_date(checkout: Checkout, force: Force) -> None:
    checkout.experiment("net", WIDE)
    checkout.experiment("other", WIDE)
    assert force("sync").status == 0
    assert force("sync", "--check") == Ended(0, "every generated file is as it should be\n", "")
    checkout.write("experiments/net/dvc.yaml", "stages: {}\n")
    assert force("sync", "--check") == refused(4, "out of date: experiments/net/dvc.yaml\nhint: force sync")


def test_check_names_the_file_when_its_experiment_is_gone(checkout: Checkout, force: Force) -> None:
    checkout.experiment("net", WIDE)
    assert force("sync").status == 0
    (checkout.root / YAML).unlink()
    assert force("sync", "--check") == refused(4, "out of date: experiments/net/dvc.yaml\nhint: force sync")


MARKERS = "schema: '2.0'\nstages:\n<<<<<<< HEAD\n  train:\n    cmd: force stage train\n=======\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (MARKERS, ":4:8: could not find expected ':'"),
        ("stages: [train\n", ":2:1: did not find expected ',' or ']'"),
    ],
)
def test_lock_is_refused_with_the_place_when_it_is_no_yaml(
    checkout: Checkout, force: Force, text: str, fault: str
) -> None:
    checkout.experiment("net", WIDE)
    path = "experiments/net/dvc.lock"
    checkout.write(path, text)
    hint = f"hint: git checkout -- {path} brings back the committed one"
    assert force("plan", "net") == refused(3, f"{path}{fault}\n{hint}")


@pytest.mark.parametrize("text", ["a: 1\n", "stages: 3\n", "stages: {train: 3}\n", "stages: {train: {deps: []}}\n"])
def test_lock_is_refused_in_words_of_the_file_when_it_records_no_stages(
    checkout: Checkout, force: Force, text: str
) -> None:
    checkout.experiment("net", WIDE)
    checkout.write("experiments/net/dvc.lock", text)
    ended = force("plan", "net")
    assert (ended.status, ended.out) == (3, "")
    hint = "hint: git checkout -- experiments/net/dvc.lock brings back the committed one"
    assert re.fullmatch(rf"error: experiments/net/dvc\.lock: .+\n{re.escape(hint)}\n", ended.err)
    assert not re.search(r"[A-Z]\w+Error", ended.err)  # a class of Python's tells a user nothing


# force new


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["wide-net"], "'wide-net' is no Python identifier or is taken\nhint: force new wide_net"),
        (["class"], "'class' is no Python identifier or is taken\nhint: force new x_class"),
        (["../up"], "'../up' is no Python identifier or is taken\nhint: force new up"),
        (["common"], "'common' is no Python identifier or is taken\nhint: force new x_common"),
        (["net"], "'experiments/net' exists already\nhint: choose another name, or change it there"),
        (["deep", "--inherits", "nett"], "no experiment 'nett'; did you mean 'net'?\nhint: force ls lists them"),
        (
            ["deep", "--override", "modle"],
            "no component 'modle'; did you mean 'model'?\nhint: there are data, loader, model, trainer, evaluator",
        ),
        (
            ["deep", "--override", "model,zzz"],
            "no component 'zzz'\nhint: there are data, loader, model, trainer, evaluator",
        ),
        (["deep", "--set", "channels=3"], "'channels=3' is not section.key=value\nhint: --set train.epochs=30"),
        (["deep", "--set", "model.channels"], "'model.channels' is not section.key=value\nhint: --set train.epochs=30"),
        (["deep", "--set", "model.=3"], "'model.=3' is not section.key=value\nhint: --set train.epochs=30"),
        (["deep", "--set", ".channels=3"], "'.channels=3' is not section.key=value\nhint: --set train.epochs=30"),
    ],
)
def test_nothing_is_made_when_new_is_called_wrongly(
    checkout: Checkout, force: Force, args: list[str], text: str
) -> None:
    checkout.experiment("net", WIDE)
    assert force("new", "--set", "train.epochs=3", *args) == refused(2, text)
    assert [path.name for path in (checkout.root / "experiments").iterdir()] == ["net"]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ([], "missing argument 'NAME'\nhint: force new --help"),
        (["deep"], "an experiment has to change something\nhint: --override model, or --set train.epochs=30"),
        (
            ["deep", "--override", ","],
            "an experiment has to change something\nhint: --override model, or --set train.epochs=30",
        ),
        (["deep", "--set"], "option '--set' requires an argument\nhint: force new --help"),
    ],
)
def test_nothing_is_made_when_new_is_called_with_too_little(force: Force, args: list[str], text: str) -> None:
    assert force("new", *args) == refused(2, text)


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("model.chanels=3", "unknown key 'chanels' in 'params.model'; did you mean 'channels'?"),
        ("modl.channels=3", "unknown key 'modl' in 'params'; did you mean 'model'?"),
        ("model.channels=wide", "'params.model.channels' is \"wide\", wanted a whole number of at least 1"),
        ("model.channels=[3", "did not find expected ',' or ']'"),
        ("model.channels=32", "changes nothing of 'common': model.channels is 32 in 'common' already"),
    ],
)
def test_setting_is_refused_without_a_place_in_a_file_that_is_not_there_when_it_does_not_fit(
    checkout: Checkout, force: Force, setting: str, fault: str
) -> None:
    ended = force("new", "deep", "--set", setting)
    assert ended.status in (2, 3)
    assert fault in ended.err
    assert "experiments/deep" not in ended.err
    assert not (checkout.root / "experiments/deep").exists()


def test_name_is_refused_without_a_traceback_when_no_folder_may_be_as_long(force: Force) -> None:
    ended = force("new", "x" * 300, "--set", "train.epochs=3")
    assert ended.status == 2
    assert ended.err.startswith("error: 'xxx")


# force stage


@pytest.mark.parametrize("folder", [".", "experiments", "experiments/net/outputs"])
def test_stage_is_refused_when_the_folder_is_no_experiments(checkout: Checkout, force: Force, folder: str) -> None:
    checkout.experiment("net", WIDE)
    (checkout.root / "experiments/net/outputs").mkdir()
    place = (checkout.root / folder).resolve()
    hint = "hint: cd common, or cd experiments/NAME; `force run NAME` does it for you"
    assert force("stage", "train", at=folder) == refused(2, f"'{place}' is not the folder of an experiment\n{hint}")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["trian"], "no stage 'trian'; did you mean 'train'?\nhint: stages are prepare, train, evaluate"),
        (["zzz"], "no stage 'zzz'\nhint: stages are prepare, train, evaluate"),
        ([], "missing argument 'STAGE'\nhint: force stage --help"),
    ],
)
def test_stage_is_refused_when_there_is_none_of_that_name(
    checkout: Checkout, force: Force, args: list[str], text: str
) -> None:
    checkout.experiment("net", WIDE)
    assert force("stage", *args, at="experiments/net") == refused(2, text)


def test_stage_is_refused_when_the_folder_holds_no_experiment(checkout: Checkout, force: Force) -> None:
    (checkout.root / "experiments/notes").mkdir()
    text = "no experiment 'notes'\nhint: force ls lists them"
    assert force("stage", "train", at="experiments/notes") == refused(2, text)


@pytest.mark.parametrize(
    ("path", "text"), [("dvc.yaml", "stages: {}\n"), ("experiment.yaml", "params: {model: {dropout: 0.5}}\n")]
)
def test_stage_is_refused_when_dvc_yaml_is_not_what_the_experiment_implies(
    checkout: Checkout, force: Force, path: str, text: str
) -> None:
    checkout.experiment("net", WIDE)
    assert force("sync").status == 0
    checkout.write(f"experiments/net/{path}", text)
    stale = refused(4, "experiments/net/dvc.yaml is out of date\nhint: force sync")
    assert force("stage", "train", at="experiments/net") == stale


def test_stage_is_refused_when_dvc_yaml_was_never_written(force: Force) -> None:
    assert force("stage", "prepare", at="common") == refused(4, "dvc.yaml is out of date\nhint: force sync")


def test_stage_is_refused_when_it_is_inherited(checkout: Checkout, force: Force) -> None:
    checkout.experiment("net", WIDE)
    assert force("sync").status == 0
    inherited = refused(4, "net inherits prepare from common\nhint: force run common")
    assert force("stage", "prepare", at="experiments/net") == inherited


def test_stage_is_refused_when_what_it_reads_is_not_there(checkout: Checkout, force: Force) -> None:
    checkout.experiment("net", WIDE)
    assert force("sync").status == 0
    missing = "common/outputs/prepare/data is missing: prepare of common has not run here\nhint: force run common"
    assert force("stage", "train", at="experiments/net") == refused(5, missing)
