"""The process that looks at prepared data."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from common.samples import Samples
from pipeline.stages.inspection import answer
from tests.checkouts import ROOT
from tests.datasets import write_samples


def ask(folder: Path, **request: Any) -> tuple[int, dict[str, Any]]:
    """Return the exit status, and what is left: the result, or why there is none."""
    (folder / "request.json").write_text(json.dumps(request))
    status = answer(folder)
    left = json.loads((folder / ("failure.json" if status else "result.json")).read_text())
    return status, left


def write(folder: Path, offset: float = 0.0) -> str:
    """Write ten samples of two columns and return their folder."""
    inputs = torch.arange(20.0).view(10, 2) + offset
    write_samples(folder, Samples(inputs, ["a", "b"] * 5, torch.arange(10)), "tttttttvvs")
    return str(folder)


def test_summary_and_pictures_are_left_when_asked_to_show(tmp_path: Path) -> None:
    status, shown = ask(tmp_path, action="show", data=write(tmp_path / "data"), pictures=str(tmp_path))
    assert (status, shown["pictures"], shown["tokens"]) == (0, ["columns.png"], None)
    assert shown["splits"]["train"]["num_samples"] == 7
    assert (tmp_path / "columns.png").exists()


def test_params_are_held_against_the_data_when_asked_to_check(tmp_path: Path) -> None:
    data = write(tmp_path / "data")
    expect = {"maximum": 5, "min_samples": {"test": 2}, "columns": {"a": None}}
    _, checked = ask(tmp_path, action="check", data=data, expect=expect)
    assert [line.partition(":")[0] for line in checked["broken"]] == ["test", "train", "valid", "test"]
    assert (checked["doubts"], checked["drift"]) == ([], None)


def test_strange_numbers_are_doubtful_when_nothing_is_expected_and_broken_when_it_is(tmp_path: Path) -> None:
    data = write(tmp_path / "data", offset=torch.nan)
    assert len(ask(tmp_path, action="check", data=data)[1]["doubts"]) == 3
    checked = ask(tmp_path, action="check", data=data, expect={"maximum": 5})[1]
    assert (len(checked["broken"]), checked["doubts"]) == (3, [])


def test_reference_is_compared_with_when_there_is_one(tmp_path: Path) -> None:
    data, reference = write(tmp_path / "data"), write(tmp_path / "reference", offset=1.0)
    drift = ask(tmp_path, action="check", data=data, reference=reference)[1]["drift"]
    assert drift["samples"] == {"same": 10, "moved": 0, "new": 0, "gone": 0}


def test_damage_is_told_when_a_file_changed(tmp_path: Path) -> None:
    data = write(tmp_path / "data")
    path = tmp_path / "data/valid/inputs.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    status, failure = ask(tmp_path, action="check", data=data)
    assert (status, failure["type"]) == (1, "CorruptDatasetError")
    assert str(path) in failure["message"]


def test_metadata_that_are_none_are_damage(tmp_path: Path) -> None:
    data = write(tmp_path / "data")
    for text in ("{", "[]", "{}", '{"classes": 3}'):
        (tmp_path / "data/metadata.json").write_text(text)
        assert ask(tmp_path, action="show", data=data)[1]["type"] == "CorruptDatasetError"


def test_process_ends_when_its_input_does(tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    command = [sys.executable, "-c", "import os; os.mkfifo('request.json')"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert path.is_fifo()  # what reads it waits for ever
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.stages.inspection", str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE
    )
    process.communicate(timeout=120)
    assert process.returncode == 143
