"""A model that a file describes: real runs, from the file to a model that plain Python loads."""

import json
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
    done = force(built, "run", "declared", "heir")
    assert done.returncode == 0, done.stdout + done.stderr
    assert force(built, "run").stdout.startswith("nothing to do")
    assert dvc(built, "status").stdout == "Data and pipelines are up to date.\n"
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
