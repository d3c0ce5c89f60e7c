"""Scores of samples, read without torch."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.reports.scores import read_scores
from tests.predictions import write_predictions

RIGHT = np.array([1.0, 0.0, 1.0])
LOSS = np.array([0.1, 2.0, 0.3])


def test_scores_are_those_of_each_seed(tmp_path: Path) -> None:
    named = {"scores.correct": RIGHT, "scores.cross_entropy": LOSS, "seed_4.scores.correct": 1 - RIGHT}
    extra = {"logits": np.zeros((3, 2), np.float32)}
    found = read_scores(write_predictions(tmp_path / "p.safetensors", {**named, **extra}), 7)
    assert found.ids.tolist() == [0, 1, 2]
    assert {seed: sorted(scores) for seed, scores in found.by_seed.items()} == {
        7: ["correct", "cross_entropy"],
        4: ["correct"],
    }
    assert found.by_seed[7]["cross_entropy"].tolist() == LOSS.tolist()
    assert found.by_seed[4]["correct"].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("metric", "definition", "expected"),
    [
        ("cross_entropy", "common.evaluator.cross_entropy", LOSS),
        ("accuracy", 'MulticlassAccuracy(average="micro", num_classes=10)', RIGHT),
        ("top_1", 'MulticlassAccuracy(average="micro", num_classes=10)', RIGHT),
        ("accuracy", 'MulticlassAccuracy(average="macro", num_classes=10)', None),
        ("accuracy", "experiments.x.evaluator.accuracy", None),
        ("f1", "MulticlassF1Score(num_classes=10)", None),
    ],
)
def test_scores_of_a_metric_are_found_by_name_or_definition(
    tmp_path: Path, metric: str, definition: str, expected: np.ndarray | None
) -> None:
    path = write_predictions(tmp_path / "p.safetensors", {"scores.correct": RIGHT, "scores.cross_entropy": LOSS})
    found = read_scores(path, 0).of(metric, definition)
    assert [scores.tolist() for scores in found.values()] == ([] if expected is None else [expected.tolist()])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"scores.correct": RIGHT.astype(np.float32)}, "'scores.correct' is F32, wanted F64"),
        ({"scores.correct": np.ones(2), "scores.loss": LOSS}, "'scores.loss' has the shape [3], wanted [2]"),
        ({"scores.loss": np.array([1.0, np.nan])}, "'scores.loss' has numbers that are not finite"),
        ({"scores.loss": np.zeros(0)}, "'ids' has the shape [0], wanted one a sample"),
        ({"scores.loss": LOSS, "ids": np.zeros((3, 1), np.int64)}, "'ids' has the shape [3, 1], wanted one a sample"),
    ],
)
def test_file_is_refused_when_its_scores_are_not_one_a_sample(
    tmp_path: Path, tensors: dict[str, np.ndarray], message: str
) -> None:
    path = write_predictions(tmp_path / "p.safetensors", tensors)
    with pytest.raises(ValueError, match="'") as caught:
        read_scores(path, 0)
    assert str(caught.value).startswith(message)


def test_file_is_refused_when_it_is_truncated_anywhere(tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "p.safetensors", {"scores.correct": RIGHT})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError):  # noqa: PT011  # whatever is wrong first
            read_scores(path, 0)
