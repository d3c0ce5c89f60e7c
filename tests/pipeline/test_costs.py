"""What stages cost: kept beside the results, and read by whoever plans."""

import json
from typing import Any

import pytest

from pipeline.costs import estimate_s, read_costs, record_cost
from pipeline.validation import find_faults
from tests.checkouts import Checkout

COST = {"wall_time_s": 12.3, "peak_memory_mib": 512, "gpus": ["H100"], "num_cpus": 16}


def make_run(stage: str, seconds: float = 12.345) -> dict[str, Any]:
    """Return the part of a run.json that costs are read from."""
    hardware = {"gpus": ["H100"], "num_cpus": 16, "cpu": "x86"}
    return {"stage": stage, "wall_time_s": seconds, "peak_memory_mib": 511.9, "hardware": hardware}


@pytest.mark.parametrize(("experiment", "folder"), [("common", "common"), ("x", "experiments/x")])
def test_cost_is_in_the_experiments_folder_when_a_stage_ran(checkout: Checkout, experiment: str, folder: str) -> None:
    (checkout.root / folder / "outputs").mkdir(parents=True)
    record_cost(checkout.root, experiment, make_run("train"))
    document = json.loads((checkout.root / folder / "outputs/costs.json").read_text())
    assert document == {"version": 1, "stages": {"train": COST}}
    assert find_faults("costs", document) == []
    assert read_costs(checkout.root, experiment) == {"train": COST}


def test_costs_of_other_stages_stay_when_one_runs_again(checkout: Checkout) -> None:
    (checkout.root / "common/outputs").mkdir()
    for stage, seconds in (("prepare", 1), ("train", 2), ("train", 3)):
        record_cost(checkout.root, "common", make_run(stage, seconds))
    costs = read_costs(checkout.root, "common")
    assert {stage: cost["wall_time_s"] for stage, cost in costs.items()} == {"prepare": 1, "train": 3}


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"version": 2, "stages": {}}', '{"version": 1, "stages": {"train": {"wall_time_s": "long"}}}'],
)
def test_there_are_no_costs_when_their_file_is_faulty(checkout: Checkout, text: str) -> None:
    checkout.write("common/outputs/costs.json", text)
    assert read_costs(checkout.root, "common") == {}
    assert estimate_s(checkout.root, ("common",), "train") is None
    record_cost(checkout.root, "common", make_run("train"))
    assert read_costs(checkout.root, "common") == {"train": COST}


def test_stage_takes_as_long_as_the_nearest_ancestors_did_when_it_never_ran(checkout: Checkout) -> None:
    for folder in ("common", "experiments/x"):
        (checkout.root / folder / "outputs").mkdir(parents=True)
    record_cost(checkout.root, "common", make_run("prepare", 1))
    record_cost(checkout.root, "common", make_run("train", 2))
    record_cost(checkout.root, "x", make_run("train", 3))
    lineage = ("y", "x", "common")
    estimates = {stage: estimate_s(checkout.root, lineage, stage) for stage in ("prepare", "train", "evaluate")}
    assert estimates == {"prepare": 1, "train": 3, "evaluate": None}
