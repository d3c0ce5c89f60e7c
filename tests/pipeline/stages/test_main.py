"""The process of a stage, started for real. Each start imports torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch

from pipeline.workspace import read_json
from tests.checkouts import Checkout
from tests.stages import PATIENCE_S, read_log, start_stage

pytestmark = pytest.mark.slow

BROKEN = '''\
"""A source that is not there."""

from common.data import DataModule, Samples


class BrokenDigits(DataModule):
    """Fails in a function that it calls."""

    def read(self) -> Samples:
        """Fail."""
        return _open()


def _open() -> Samples:
    raise RuntimeError("the disk is on fire")
'''
ENDLESS = '''\
"""A source that never comes to an end."""

import threading

from common.data import DataModule, Samples


class EndlessDigits(DataModule):
    """Waits for ever."""

    def read(self) -> Samples:
        """Say so, and wait."""
        print("reading", flush=True)
        threading.Event().wait()
        return super().read()
'''
COUNTING = '''\
"""A source that says how many threads read it."""

import torch

from common.data import DataModule, Samples


class CountingDigits(DataModule):
    """Counts threads."""

    def read(self) -> Samples:
        """Say how many threads there are."""
        print(f"threads: {torch.get_num_threads()}", flush=True)
        return super().read()
'''


def _write_task(
    checkout: Checkout, module: str, class_name: str, source: Mapping[str, Any] = MappingProxyType({"name": "digits"})
) -> Path:
    """Write the task of a stage `prepare`; return its folder."""
    target = checkout.root / "target"
    target.mkdir()
    task: dict[str, Any] = {
        "stage": "prepare",
        "root": str(checkout.root),
        "target": str(target),
        "inputs": {},
        "components": {"data": [module, class_name]},
        "params": {"data": {"source": dict(source), "test_fraction": 0.3}},
    }
    (target / "task.json").write_text(json.dumps(task))
    return target


def test_stage_leaves_its_results_and_facts_when_all_is_well(checkout: Checkout) -> None:
    target = _write_task(checkout, "common.data", "DataModule")
    with start_stage(target, checkout.root) as process:
        assert process.wait(PATIENCE_S) == 0
        log = read_log(process)
    metadata, facts = read_json(target / "data" / "metadata.json"), read_json(target / "facts.json")
    assert sum(metadata["num_samples"].values()) == 1797 == facts["figures"]["num_samples"]
    assert metadata["num_samples"]["test"] > 0.25 * 1797  # the params reached the component
    assert "optical digits" in log
    assert facts["versions"]["torch"] == torch.__version__
    assert ("cudnn" in facts["versions"]) == torch.cuda.is_available()
    assert facts["peak_memory_mib"] > 10
    assert facts["peak_gpu_memory_mib"] is None  # no stage of data uses a GPU, even where there is one
    assert {"common/config.py", "common/data.py", "common/dataset.py"} <= set(facts["modules"])
    assert "common/trainer.py" not in facts["modules"]
    assert not (target / "failure.json").exists()


def test_stage_leaves_the_reason_and_its_place_when_a_component_fails(checkout: Checkout) -> None:
    checkout.experiment("broken", data=BROKEN)
    target = _write_task(checkout, "experiments.broken.data", "BrokenDigits")
    with start_stage(target, checkout.root) as process:
        assert process.wait(PATIENCE_S) == 1
        log = read_log(process)
    line = BROKEN.splitlines().index('    raise RuntimeError("the disk is on fire")') + 1
    assert read_json(target / "failure.json") == {
        "type": "RuntimeError",
        "message": "the disk is on fire",
        "place": f"experiments/broken/data.py:{line}",
    }
    assert "Traceback" in log
    assert not (target / "facts.json").exists()


def test_what_is_wrong_with_the_data_has_no_place_in_common(checkout: Checkout) -> None:
    (checkout.root / "numbers.csv").write_text("x,y\n1,2\n3\n")
    source = {"name": "table", "path": str(checkout.root / "numbers.csv")}
    target = _write_task(checkout, "common.data", "DataModule", source)
    with start_stage(target, checkout.root) as process:
        assert process.wait(PATIENCE_S) == 1
    assert read_json(target / "failure.json") == {
        "type": "BadSourceError",
        "message": f"{source['path']} cannot be read: row 1 (from 0): Expected 2 columns, got 1: 3",
        "place": "",
    }


def test_stage_fails_at_a_breakpoint_as_nobody_can_type(checkout: Checkout) -> None:
    checkout.experiment("broken", data=BROKEN.replace('raise RuntimeError("the disk is on fire")', "breakpoint()"))
    target = _write_task(checkout, "experiments.broken.data", "BrokenDigits")
    with start_stage(target, checkout.root) as process:
        assert process.wait(PATIENCE_S) == 1
    assert read_json(target / "failure.json")["type"] == "BdbQuit"


def test_stage_ends_when_its_standard_input_is_closed(checkout: Checkout) -> None:
    checkout.experiment("endless", data=ENDLESS)
    target = _write_task(checkout, "experiments.endless.data", "EndlessDigits")
    with start_stage(target, checkout.root) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "reading\n"
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 143
    assert sorted(path.name for path in target.iterdir()) == ["data", "task.json"]
    assert not list((target / "data").iterdir())


def test_data_are_prepared_by_one_thread_on_every_machine(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    checkout.experiment("counting", data=COUNTING)
    target = _write_task(checkout, "experiments.counting.data", "CountingDigits")
    with start_stage(target, checkout.root) as process:
        assert process.wait(PATIENCE_S) == 0
        assert "threads: 1\n" in read_log(process)
