"""What a job does before it starts a container: it takes over what earlier ones left, and does none of it again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.statuses import Status, write_status
from tests.checkouts import Checkout, Ended

Force = Callable[..., Ended]


@pytest.fixture
def call(checkout: Checkout, force: Force, tmp_path: Path) -> Callable[..., Ended]:
    """Call `force ci experiment` for the experiment x in wave 2; without an engine it gets no further than to start."""
    checkout.experiment("x", "params:\n  model: {channels: 40}\n")
    checkout.commit()

    def run(*targets: str, wave: int = 2) -> Ended:
        options = ["--name", "x", "--wave", str(wave), "--image", "nowhere/none:1", "--out", str(tmp_path / "out")]
        return force("ci", "experiment", *options, "--earlier", str(tmp_path / "earlier"), "--", *(targets or ("x",)))

    return run


def hand_on(checkout: Checkout, tmp_path: Path, entry: str, wave: int, targets: tuple[str, ...], **fields: Any) -> None:
    """Leave what another job would have."""
    status = Status(entry, wave, targets, **{"status": "failed", "commit": "", **fields})
    write_status(status, checkout.root, tmp_path / "earlier" / entry)


def read_status(tmp_path: Path) -> dict[str, Any]:
    status: dict[str, Any] = json.loads((tmp_path / "out/result/x/status.json").read_text())
    return status


def test_a_job_is_skipped_when_a_job_of_an_earlier_wave_left_nothing(call: Force, tmp_path: Path) -> None:
    ended = call()
    assert ended.status == 6
    message = "prepare of common, which this needs, failed: its job left no result"
    assert ended.err.endswith(f"error: {message}\n")
    assert (read_status(tmp_path)["status"], read_status(tmp_path)["message"]) == ("skipped", message)


def test_a_job_of_the_first_wave_waits_for_nobody(call: Force, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    assert call(wave=1).status == 5
    assert read_status(tmp_path)["status"] == "failed"
    assert read_status(tmp_path)["message"].startswith("no Docker engine answers")


def test_a_job_is_skipped_with_the_reason_when_what_it_needs_failed(
    call: Force, checkout: Checkout, tmp_path: Path
) -> None:
    hand_on(checkout, tmp_path, "common-prepare", 1, ("common:prepare",), message="no data")
    assert call().status == 6
    assert read_status(tmp_path)["message"] == "prepare of common, which this needs, failed: no data"


def test_a_failed_batch_skips_only_those_who_need_what_failed(
    call: Force, checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    stages = {"common:prepare": "done", "common:train": "failed"}
    hand_on(checkout, tmp_path, "batch-1-001", 1, ("common:prepare", "common:train"), stages=stages)
    call()
    assert "failed: its job left no result" in read_status(tmp_path)["message"]  # prepare's, whose lock is not there


def test_an_earlier_attempt_is_laid_over_and_not_held_against_the_job(
    call: Force, checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    costs = checkout.write("experiments/x/outputs/costs.json", '{"stages": {}, "version": 1}')
    hand_on(checkout, tmp_path, "x", 1, ("common:prepare", "x"))
    costs.unlink()
    assert call("common:prepare", "x", wave=1).status == 5
    assert costs.exists()


def test_a_remote_that_goes_with_the_runner_is_warned_of(
    call: Force, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    monkeypatch.setenv("RUNNER_WORKSPACE", str(checkout.root.parent))
    assert "warning: models go with this runner: the DVC remote is '../../force-build-storage'" in call(wave=1).err
    monkeypatch.setenv("RUNNER_WORKSPACE", str(checkout.root / "elsewhere"))
    assert "models go with this runner" not in call(wave=1).err
