"""Runs that are interrupted or killed, two at once, and what a killed process leaves: the next run goes on."""

import json
import signal
import subprocess

import pytest

from tests.checkouts import Checkout, with_bins
from tests.flows.commands import (
    force,
    is_training,
    list_processes,
    make_training_long,
    make_training_short,
    read_all,
    start_force,
    wait_until,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_next_run_goes_on_and_nothing_is_lost_when_a_run_is_ended(built: Checkout, how: signal.Signals) -> None:
    before = read_all(built, "common/outputs/train/model/*")
    make_training_long(built)
    process = start_force(built, "run", "--jobs", "2")
    wait_until(lambda: is_training(built), "training")
    process.send_signal(how)
    out = process.communicate(timeout=60)[0]
    wait_until(lambda: not list_processes(built), "the end of every process")
    if how != signal.SIGKILL:
        assert out.endswith("error: interrupted\nhint: run it again: what is done stays done\n")
        assert process.returncode == 130
        outcome = json.loads((built.root / "common/outputs/train/outcome.json").read_text())
        assert outcome["status"] == "interrupted"
    make_training_short(built)
    done = force(built, "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("nothing to do: 6 stages are up to date")
    assert read_all(built, "common/outputs/train/model/*") == before
    assert not list(built.root.glob("**/*.previous")) + list(built.root.glob("**/*.partial"))


def test_a_second_interrupt_leaves_nothing_running(built: Checkout) -> None:
    make_training_long(built)
    process = start_force(built, "run", "--jobs", "2")
    wait_until(lambda: is_training(built) and is_training(built, "wide"), "training")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    wait_until(lambda: not list_processes(built), "the end of every process")


def test_next_run_trains_when_the_killed_one_had_to(built: Checkout) -> None:
    make_training_long(built)
    process = start_force(built, "run", "common")
    wait_until(lambda: is_training(built), "training")
    process.kill()
    process.communicate(timeout=60)
    make_training_short(built)
    params = built.root / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 2\n", "epochs: 3\n"))
    done = force(built, "run", "common:train")
    assert done.returncode == 0, done.stderr
    assert len((built.root / "common/outputs/train/history.jsonl").read_text().splitlines()) == 3


def test_a_second_run_says_who_runs_and_waits(built: Checkout) -> None:
    config = built.root / "experiments/wide/experiment.yaml"
    config.write_text(config.read_text() + "  train: {epochs: 30}\n")
    built.experiment("bins", with_bins(5))
    first = start_force(built, "run", "wide:train")
    wait_until(lambda: is_training(built, "wide"), "training")
    refused = force(built, "run", "wide", "--no-wait")
    user = f"'force run wide:train' (process {first.pid}, since "
    assert refused.stderr.startswith(f"error: this checkout is in use by {user}")
    assert refused.stderr.endswith("\nhint: wait for it, or work in a clone\n")
    assert refused.returncode == 5
    second = start_force(built, "run", "bins")
    assert second.stdout is not None
    line = second.stdout.readline()
    assert line.startswith(f"waiting for {user}")
    first.communicate(timeout=120)
    assert first.returncode == 0
    assert "done        bins: evaluate" in second.communicate(timeout=120)[0]
    assert second.returncode == 0


def test_lock_files_of_a_killed_process_do_not_stop_a_run(built: Checkout) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    dead = {"pid": process.pid, "cmd": "dvc repro"}
    (built.root / ".force/run.lock").write_text(f"'force run' (process {process.pid}, since 00:00:00)")
    tmp = built.root / ".dvc/tmp"
    (tmp / "lock").write_text("left behind")
    path = str(built.root / "common/outputs/train/model")
    (tmp / "rwlock").write_text(json.dumps({"write": {path: dead}}))
    config = built.root / "params.yaml"
    config.write_text(config.read_text().replace("epochs: 2\n", "epochs: 1\n"))
    done = force(built, "run", "common:train")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", ["", '{"write": {"'])
def test_a_half_written_lock_table_of_dvc_does_not_stop_a_run(built: Checkout, text: str) -> None:
    (built.root / ".dvc/tmp/rwlock").write_text(text)
    built.experiment("bins", with_bins(5))
    done = force(built, "run", "bins")
    assert done.returncode == 0, done.stderr


def test_a_half_written_dvc_lock_is_kept_and_its_training_comes_from_the_cache(built: Checkout) -> None:
    lock = built.root / "experiments/wide/dvc.lock"
    half = lock.read_text()[:300]
    lock.write_text(half)
    done = force(built, "run", "wide")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("warning: experiments/wide/dvc.lock could not be read; it is kept as .force/kept/")
    kept = built.root / done.stderr.split("it is kept as ")[1].strip()
    assert kept.read_text() == half
    assert "an earlier run with the same inputs is in the cache" in done.stdout
