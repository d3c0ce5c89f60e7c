"""`force card`."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import yaml
from cmarkgfm import github_flavored_markdown_to_html

from pipeline.outs import PREDICTIONS
from tests.checkouts import Checkout, Ended
from tests.predictions import write_predictions
from tests.recorded import make_certificate, override, record, write_result

Force = Callable[..., Ended]
SCORES = np.tile([1.0, 1.0, 1.0, 0.0], 100)
METADATA = {
    "name": "dots",
    "input_shape": [1, 4, 4],
    "input_dtype": "float32",
    "target_shape": [],
    "target_dtype": "int64",
    "classes": ["a", "b"],
    "num_samples": {"train": 1200, "valid": 0, "test": 400},
    "sources": [{"name": "dots.csv", "sha256": "a" * 64}],
    "transforms": [{"name": "normalise"}],
    "statistics": {},
    "stored_dtype": "",
    "prepared_by": "common.data.DataModule",
    "files": {},
}


@pytest.fixture
def trained(checkout: Checkout) -> Checkout:
    """A checkout whose experiment `x` has a built model and a result."""
    checkout.experiment("x", "description: a question\nowner: the lab\n", evaluator=override("evaluator"))
    record(checkout)
    leave(checkout)
    return checkout


def leave(checkout: Checkout, **changes: Any) -> None:
    """Leave what stages do."""
    checkout.write("common/outputs/train/model/metadata.json", json.dumps({**METADATA, **changes}))
    certificate = make_certificate()
    certificate["metrics"]["accuracy"]["definition"] = 'MulticlassAccuracy(average="micro")'
    metrics = {"accuracy": 0.75, "cross_entropy": 0.5}
    write_result(checkout, "experiments/x", metrics, metrics=certificate["metrics"])
    checkout.write("experiments/x/outputs/evaluate/seeds.json", json.dumps({"0": metrics}))
    write_predictions(checkout.root / "experiments/x" / PREDICTIONS, {"scores.correct": SCORES})


def say(said: dict[str, str]) -> str:
    """Return an experiment.yaml that says something of the model."""
    return yaml.safe_dump({"params": {"reporting": {"card": said}}})


def settle(checkout: Checkout) -> None:
    """Record what is there as what the stage wrote."""
    from_stage = checkout.project().index
    path = checkout.root / "experiments/x/dvc.lock"
    lock = yaml.safe_load(path.read_text())
    for out in lock["stages"]["evaluate"]["outs"]:
        out["md5"] = from_stage.md5(f"experiments/x/{out['path']}") or out["md5"]
    path.write_text(yaml.safe_dump(lock, sort_keys=False))


def test_card_says_what_the_filessay(trained: Checkout, force: Force) -> None:
    settle(trained)
    ended = force("card", "x")
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "---"
    assert "# x" in lines
    assert "a question" in lines
    assert "- Who answers for it: the lab" in lines
    assert "- Licence: *nobody says*" in lines
    assert "- dots: 1,200 train, 0 valid, 400 test samples" in lines
    assert "- inputs: (1, 4, 4) float32; targets: () int64" in lines
    assert f"- from dots.csv, sha256 {'a' * 64}" in lines
    accuracy = next(line for line in lines if line.startswith("| accuracy | 0.7500 | "))
    low, high = (float(word) for word in accuracy.split(" | ")[2].split(" to "))
    width = 1.96 * (0.75 * 0.25 / 400) ** 0.5  # of the normal approximation to a binomial
    assert (0.75 - low, high - 0.75) == (pytest.approx(width, rel=0.1), pytest.approx(width, rel=0.1))
    assert next(line for line in lines if line.startswith("| cross_entropy | 0.5000 |  | nats | low |"))
    assert any(line.startswith("| train | common | common/outputs/train/model ") for line in lines)
    assert 'model = load_model("common/outputs/train/model")' in lines
    assert "    train:" in lines
    assert "    monitoring:" not in lines


def test_card_is_written_where_it_is_wanted(trained: Checkout, force: Force) -> None:
    ended = force("card", "x", "--output", "card.md")
    assert (ended.status, ended.out) == (0, "wrote card.md\n")
    assert (trained.root / "card.md").read_text() == force("card", "x").out
    ended = force("card", "x", "--output", "no/card.md")
    assert ended.status == 2
    assert ended.err.startswith("error: 'no/card.md' cannot be written: No such file or directory\nhint: ")


def test_what_nobody_can_compute_is_inherited_key_by_key(trained: Checkout, force: Force) -> None:
    trained.experiment(
        "y", say({"license": "apache-2.0", "limitations": "digits alone"}), evaluator=override("evaluator")
    )
    trained.experiment("z", "inherits: y\n" + say({"license": "mit"}), evaluator=override("evaluator", "Third"))
    ended = force("card", "z")
    assert ended.err == ""
    lines = ended.out.splitlines()
    assert yaml.safe_load("\n".join(lines[1:5]))["license"] == "mit"
    assert {"- Licence: mit", "- Limitations: digits alone", "- Intended use: *nobody says*"} <= set(lines)
    trained.experiment("w", say({"licence": "mit"}), evaluator=override("evaluator"))
    ended = force("card", "w")
    assert ended.status == 3
    assert "license" in ended.err


def test_card_of_a_model_that_is_not_here_says_what_to_run(checkout: Checkout, force: Force) -> None:
    checkout.experiment("x", evaluator=override("evaluator"))
    ended = force("card", "x")
    message = "the built model of x is not here: common/outputs/train/model/metadata.json is missing"
    assert (ended.status, ended.err) == (5, f"error: {message}\nhint: force run x\n")


def test_card_without_a_result_says_so(checkout: Checkout, force: Force) -> None:
    checkout.experiment("x", evaluator=override("evaluator"))
    leave(checkout)
    (checkout.root / "experiments/x/outputs/evaluate/metrics.json").write_text('{"accuracy": NaN}')
    out = force("card", "x").out
    assert "Not evaluated: no result&#58; experiments/x/outputs/evaluate/metrics.json 'accuracy'" in out.replace(
        "&#39;", "'"
    )
    assert "**Out of date&#58;**" in out or "**Out of date:**" in out


def test_what_others_wrote_does_nothing_in_a_card(trained: Checkout, force: Force) -> None:
    hostile = "<script>alert(1)</script>\n\n---\n\n```\n# no | `x` @team\x1b[31m"
    leave(trained, name=hostile, classes=[hostile], sources=[{"name": hostile}])
    text = yaml.safe_dump(
        {"description": hostile, "owner": hostile, "params": {"reporting": {"card": {"limitations": hostile}}}}
    )
    trained.experiment("x", text, evaluator=override("evaluator"))
    out = force("card", "x").out
    assert "\x1b" not in out
    html = github_flavored_markdown_to_html(out.partition("\n---\n")[2])
    assert "<script" not in html
    assert html.count("<h1") == 1
    trained.experiment("x", say({"license": hostile}), evaluator=override("evaluator"))
    assert force("card", "x").status == 3


def test_card_says_that_its_metrics_are_out_of_date(trained: Checkout, force: Force) -> None:
    settle(trained)
    assert "**Out of date:**" not in force("card", "x").out.partition("## Metrics")[2]
    trained.experiment("x", evaluator=override("evaluator", "Changed"))
    assert "**Out of date:**" in force("card", "x").out.partition("## Metrics")[2]


@pytest.mark.parametrize("changes", [{"num_samples": {"train": "x"}}, {"classes": [1]}, {"sources": ["x"]}])
def test_card_of_a_damaged_model_is_refused(trained: Checkout, force: Force, changes: dict[str, Any]) -> None:
    leave(trained, **changes)
    ended = force("card", "x")
    assert ended.status == 5
    assert ended.err.startswith("error: the built model of x is damaged: common/outputs/train/model/metadata.json: ")


def test_what_a_training_says_of_itself_is_left_out_where_it_is_damaged(trained: Checkout, force: Force) -> None:
    trained.write("common/outputs/train/run.json", '{"git": "x", "wall_time_s": null}')
    ended = force("card", "x")
    assert (ended.status, "Training took" in ended.out) == (0, False)
