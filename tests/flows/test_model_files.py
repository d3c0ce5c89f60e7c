"""A model that a file describes: real runs, from the file to a model that plain Python loads."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.checkouts import Checkout
from tests.flows.commands import ENVIRONMENT, dvc, force

pytestmark = pytest.mark.slow

MODEL = '{"layers": ["Flatten", {"Linear": {"out_features": "classes"}, "name": "classifier"}]}'
HEIR = "inherits: declared\nparams: {model: {init_from: declared}, train: {epochs: 1}}\n"
LOAD = """\
from common.saved_model import load_model

print(load_model("experiments/declared/outputs/train/model").classifier.weight.shape)
print(type(load_model("experiments/wide/outputs/train/model")).__name__)
"""


def test_model_file_goes_from_the_plan_to_a_model_that_is_loaded_and_started_from(built: Checkout) -> None:
    built.experiment("declared")
    file = built.write("experiments/declared/model.json", MODEL)
    built.experiment("heir", HEIR)
    done = force(built, "run", "declared", "heir:train")
    assert done.returncode == 0, done.stdout + done.stderr
    assert force(built, "run", "declared", "heir:train").stdout.startswith("nothing to do")
    assert dvc(built, "status", "experiments/declared/dvc.yaml").stdout.endswith("are up to date.\n")
    log = (built.root / "experiments/heir/outputs/train/train.log").read_text()
    assert "starting from the model of declared\ntook 2 of 2 tensors\n" in log
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=built.root,
        env={**ENVIRONMENT, "PYTHONPATH": str(built.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.stdout.splitlines() == ["torch.Size([10, 64])", "ConvNet"], loaded.stderr

    file.write_text(MODEL.replace("Linear", "Liner"))
    done = force(built, "run", "declared")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: experiments/declared/model.json:1:25: unknown key 'Liner' in 'layers.1'; ")
    file.write_text(MODEL.replace('"classes"', "7"))
    (train, *_) = [
        row for row in json.loads(force(built, "plan", "declared", "--json").stdout) if row["stage"] == "train"
    ]
    assert [reason["text"] for reason in train["reasons"]] == ["experiments/declared/model.json changed"]
    done = force(built, "run", "declared")
    assert done.returncode == 6
    (line, _) = done.stderr.splitlines()
    assert "ArchitectureError: model.json: the model gives (batch, 7), wanted (batch, classes) = (batch, 10)" in line


# Models that were saved elsewhere

SAVE = """\
import sys

import torch
from torch import nn

from common.saved_model import load_model

torch.manual_seed(3)
net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
torch.save(net, "experiments/pickled/model.pkl")
torch.save(load_model("experiments/wide/outputs/train/model").state_dict(), "experiments/stated/model.pt")
"""
REBUILD = """\
from common.saved_model import load_model

for name in ("pickled", "stated", "copied", "of_pickled"):
    model = load_model(f"experiments/{name}/outputs/train/model")
    print(name, type(model).__name__, sum(p.numel() for p in model.parameters()))
"""
FINE = "inherits: {parent}\nparams: {{model: {model}, train: {{epochs: 1}}}}\n"


def _python(checkout: Checkout, source: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=checkout.root,
        env={**ENVIRONMENT, "PYTHONPATH": str(checkout.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_saved_models_are_trained_on_and_rebuilt(built: Checkout) -> None:
    root = built.root / "experiments"
    for name in ("pickled", "copied"):
        built.experiment(name)
    built.experiment("stated", "inherits: wide\nparams: {train: {epochs: 1}}\n")
    _python(built, SAVE)
    shutil.copytree(root / "wide/outputs/train/model", root / "copied/model")

    refused = force(built, "run", "pickled")
    assert (refused.returncode, refused.stdout) == (3, "")
    error, hint = refused.stderr.splitlines()
    assert error.startswith("error: experiments/pickled/model.pkl: is a PyTorch file with code, ")
    pin = hint.partition("write in experiments/pickled/experiment.yaml: ")[2]
    built.experiment("pickled", f"description: a test\n{pin}\n")
    built.experiment("heir", FINE.format(parent="pickled", model="{init_from: pickled}"))

    done = force(built, "run", "pickled", "stated:train", "copied:train", "heir:train")
    assert done.returncode == 0, done.stdout + done.stderr
    assert force(built, "run", "pickled").stdout.startswith("nothing to do")
    assert dvc(built, "status", "experiments/pickled/dvc.yaml").stdout.endswith("are up to date.\n")
    assert "took 14 tensors of model.pt" in (root / "stated/outputs/train/train.log").read_text()
    assert "took 4 of 4 tensors" in (root / "heir/outputs/train/train.log").read_text()
    rebuild = json.loads((root / "heir/outputs/train/model/model.json").read_text())
    assert rebuild["file"] == "architecture/model.pkl"
    assert rebuild["sha256"] in pin

    # A built model that brings code is code in the folder of another experiment as well.
    built.experiment("of_pickled")
    shutil.copytree(root / "pickled/outputs/train/model", root / "of_pickled/model")
    refused = force(built, "run", "of_pickled")
    assert f'trust: {{"model/architecture/model.pkl": "{rebuild["sha256"]}"}}' in refused.stderr
    built.experiment("of_pickled", f'trust: {{"model/architecture/model.pkl": "{rebuild["sha256"]}"}}\n')
    done = force(built, "run", "of_pickled:train")
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = [line.rsplit(" ", 1)[0] for line in _python(built, REBUILD)]
    assert kinds == ["pickled PickledModel", "stated ConvNet", "copied SavedModel", "of_pickled SavedModel"]
