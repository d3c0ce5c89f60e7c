"""Outs by their hashes: in the workspace, in the cache, or handed on by a job."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pipeline import outs
from pipeline.outs import PERFORMANCE, PREDICTIONS, OutFinder, carry_on, hand_on, hand_on_file, read_handed_on
from pipeline.reports.scores import read_scores
from tests.checkouts import Checkout
from tests.recorded import read_lock, record, resolve, write_lock
from tests.reported import leave, settle


@pytest.fixture
def left(checkout: Checkout) -> Checkout:
    """Leave results of common and of x, which has a training of its own."""
    checkout.experiment("x", "params: {train: {epochs: 5}}\n")
    record(checkout)
    for name in ("common", "x"):
        leave(checkout, name, 0.8, 0.5)
    return checkout


def make_finder(checkout: Checkout, handed_on: dict[str, Path] | None = None) -> OutFinder:
    project, ownership = resolve(checkout)
    return OutFinder(project, ownership, project.planner(ownership), project.cache, handed_on)


def read_md5(checkout: Checkout) -> str:
    (md5,) = (out["md5"] for out in read_lock(checkout, "x")["evaluate"]["outs"] if out["path"] == PREDICTIONS)
    return str(md5)


def test_an_out_is_found_by_its_hash_wherever_it_is(left: Checkout, tmp_path: Path) -> None:
    path, md5 = left.root / "experiments/x" / PREDICTIONS, read_md5(left)
    assert make_finder(left).find("x", PREDICTIONS) == path
    assert make_finder(left).hash("x", PREDICTIONS) == md5
    handed = tmp_path / md5
    path.rename(handed)
    assert make_finder(left).find("x", PREDICTIONS) is None
    assert make_finder(left, {md5: handed}).find("x", PREDICTIONS) == handed
    cached = left.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    cached.parent.mkdir(parents=True)
    handed.rename(cached)
    assert make_finder(left, {md5: handed}).find("x", PREDICTIONS) == cached.resolve()


def test_what_is_of_other_inputs_is_not_found(left: Checkout) -> None:
    (left.root / "experiments/x" / PREDICTIONS).write_bytes(b"another")
    assert make_finder(left).find("x", PREDICTIONS) is None


def test_nothing_is_found_when_nothing_is_recorded(left: Checkout) -> None:
    stages = read_lock(left, "x")
    stages["evaluate"]["outs"] = []
    write_lock(left, "x", stages)
    assert make_finder(left).find("x", PREDICTIONS) is None
    assert make_finder(left).hash("x", PREDICTIONS) is None


def test_what_is_handed_on_stands_for_the_out_of_that_hash(left: Checkout, tmp_path: Path) -> None:
    folder = tmp_path / "results/x/outs"
    hand_on(make_finder(left), ["x", "common"], folder)
    handed = read_handed_on(tmp_path / "results")
    assert read_md5(left) in handed
    (left.root / "experiments/x" / PREDICTIONS).unlink()
    found = make_finder(left, handed).find("x", PREDICTIONS)
    assert found == folder / read_md5(left)
    assert read_scores(found, 0).by_seed[0]["correct"].mean() == 0.8


def test_what_is_handed_on_is_not_taken_for_another_out(left: Checkout, tmp_path: Path) -> None:
    left.write("experiments/x/outputs/evaluate/performance.json", '{"latency_ms": 3}')
    settle(left, "x", "experiments/x")
    path, md5 = left.root / "experiments/x" / PERFORMANCE, make_finder(left).hash("x", PERFORMANCE)
    assert md5
    path.rename(tmp_path / md5)
    assert make_finder(left, {md5: tmp_path / md5}).find("x", PERFORMANCE) == tmp_path / md5
    (tmp_path / md5).write_text('{"latency_ms": 1}')
    assert make_finder(left, {md5: tmp_path / md5}).find("x", PERFORMANCE) is None


def test_of_predictions_only_scores_are_handed_on(tmp_path: Path) -> None:
    scores = {"scores.correct": np.array([1.0, 0.0, 1.0]), "seed_3.scores.correct": np.array([0.0, 0.0, 1.0])}
    tensors = {"ids": np.arange(3), "probabilities": np.ones((3, 10), dtype=np.float32), **scores}
    save_file(tensors, tmp_path / "whole")
    hand_on_file(tmp_path / "whole", tmp_path / "outs/part", is_scores=True)
    handed = load_file(tmp_path / "outs/part")
    assert handed.keys() == {"ids", *scores}
    assert all(np.array_equal(handed[name], tensors[name]) for name in handed)


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\xff" * 100])
def test_damaged_predictions_are_left_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "whole").write_bytes(content)
    hand_on_file(tmp_path / "whole", tmp_path / "outs/part", is_scores=True)
    hand_on_file(tmp_path / "nowhere", tmp_path / "outs/other", is_scores=False)
    assert list((tmp_path / "outs").iterdir()) == []


def test_what_is_too_long_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outs, "_MAX_BYTES", 50)
    save_file({"ids": np.arange(4), "scores.correct": np.ones(4)}, tmp_path / "scores")
    (tmp_path / "long").write_bytes(b"x" * 51)
    (tmp_path / "short").write_bytes(b"x" * 50)
    for name in ("scores", "long", "short"):
        hand_on_file(tmp_path / name, tmp_path / "outs" / name, is_scores=name == "scores")
    assert [path.name for path in (tmp_path / "outs").iterdir()] == ["short"]


def test_links_are_not_taken_from_jobs(tmp_path: Path) -> None:
    (tmp_path / "x/outs").mkdir(parents=True)
    for name in ("a" * 32, "b" * 31, "c" * 33, "D" * 32):
        (tmp_path / "x/outs" / name).write_bytes(b"")
    (tmp_path / "x/outs" / ("e" * 32)).symlink_to("/etc/passwd")
    assert read_handed_on(tmp_path).keys() == {"a" * 32}


def test_what_a_report_read_is_carried_on_to_the_next(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "now/x/outs").mkdir(parents=True, exist_ok=True)
        (tmp_path / "now/x/outs" / (name * 32)).write_text(name)
    carry_on(read_handed_on(tmp_path / "now"), ["a" * 32, "c" * 32], tmp_path / "next")
    found = read_handed_on(tmp_path / "next")
    assert {md5: path.read_text() for md5, path in found.items()} == {"a" * 32: "a"}
