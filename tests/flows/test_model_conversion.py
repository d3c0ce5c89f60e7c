"""A model that was trained goes into another form, and from there into an experiment that trains on."""

import re

import pytest

from tests.checkouts import Checkout
from tests.flows.commands import force

pytestmark = pytest.mark.slow


def test_a_trained_model_is_converted_and_trained_on(built: Checkout) -> None:
    shown = force(built, "model", "show", "judge")
    assert shown.stdout.startswith("judge: a built ConvNet of 14 tensors, "), shown.stderr
    assert ", which is that of common\n" in shown.stdout

    built.experiment("again", "params: {train: {epochs: 1}}\n")
    done = force(built, "model", "convert", "wide", "experiments/again/model.pt2")
    assert done.returncode == 0, done.stderr
    assert "compared on 16 samples of the test split" in done.stdout
    pin = re.search(r"SHA-256, for `trust`: ([0-9a-f]{64})\n", done.stdout)
    assert pin

    refused = force(built, "run", "again")
    assert refused.returncode == 3
    assert pin[1] in refused.stderr
    built.experiment("again", f"params: {{train: {{epochs: 1}}}}\ntrust: {{model.pt2: {pin[1]}}}\n")
    done = force(built, "run", "again")
    assert done.returncode == 0, done.stdout + done.stderr

    done = force(built, "model", "convert", "again", "again.safetensors")
    assert done.returncode == 0, done.stderr
    assert force(built, "model", "show", "again.safetensors").stdout.startswith("again.safetensors: 14 tensors of ")
