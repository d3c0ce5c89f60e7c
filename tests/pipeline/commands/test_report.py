"""`force report`."""

import csv
import json
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.outs import PREDICTIONS
from tests.checkouts import Checkout, Ended
from tests.predictions import write_predictions
from tests.recorded import make_certificate, override, read_lock, write_lock, write_result
from tests.reported import NUM, leave, make_reported, make_scores, settle

Force = Callable[..., Ended]


@pytest.fixture
def reported(checkout: Checkout) -> Checkout:
    """A checkout with results of common, of `x` that is better, and of `y` that is hardly another."""
    make_reported(checkout)
    return checkout


def ask(force: Force, *args: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the findings by experiment and metric."""
    ended = force("report", *args, "--format", "json")
    assert ended.status == 0, ended.err
    return {(row["experiment"], row["metric"]): row for row in json.loads(ended.out)["findings"]}


def test_each_difference_has_an_interval_and_a_verdict(reported: Checkout, force: Force) -> None:
    found = ask(force)
    x, y = found["x", "accuracy"], found["y", "accuracy"]
    assert (x["baseline"], x["baseline_value"], x["value"], x["verdict"]) == ("common", 0.8, 0.9, "better")
    assert 0.05 < x["low"] < 0.1 < x["high"] < 0.15
    assert (x["num_samples"], x["num_seeds"]) == (NUM, 1)
    assert found["x", "cross_entropy"]["verdict"] == "better"
    assert (y["verdict"], y["text"]) == ("inconclusive", "inconclusive: only 2 samples differ")
    assert found["y", "cross_entropy"]["text"] == "equivalent: the same on every sample"
    assert (found["common", "accuracy"]["baseline"], found["common", "accuracy"]["verdict"]) == (None, None)


def test_table_has_a_line_a_metric(reported: Checkout, force: Force) -> None:
    ended = force("report", "x")
    lines = [line.split() for line in ended.out.splitlines()]
    assert " ".join(lines[0]) == "experiment against metric baseline value difference 95 % interval verdict"
    assert lines[1][:6] == ["x", "common", "accuracy", "0.8000", "0.9000", "+0.1000"]
    assert lines[1][-1] == "better"
    assert len(lines) == 3


def test_difference_is_equivalent_when_it_is_smaller_than_params_care_for(reported: Checkout, force: Force) -> None:
    params = reported.root / "params.yaml"
    params.write_text(params.read_text().replace("{accuracy: 0.002}", "{accuracy: 0.03}"))
    assert ask(force)["y", "accuracy"]["text"] == "equivalent: less than 0.03 apart"


def test_results_that_do_not_compare_have_no_difference_but_a_reason(reported: Checkout, force: Force) -> None:
    certificate = make_certificate()
    leave(reported, "x", 0.9, 0.3, test={**certificate["test"], "ids_sha256": "9" * 64, "num_samples": 100})
    row = ask(force, "x")["x", "accuracy"]
    assert (row["delta"], row["low"], row["verdict"]) == (None, None, None)
    assert row["not_comparable"] == ["test split differs: 100 samples 99999999 vs 381 samples 11111111"]
    assert "n/c" in force("report", "x").out


def test_seeds_are_paired(reported: Checkout, force: Force) -> None:
    for name, accuracies in (("common", (0.8, 0.82, 0.79)), ("x", (0.85, 0.86, 0.85))):
        folder = "common" if name == "common" else f"experiments/{name}"
        seeds = {
            str(seed): {"accuracy": value, "cross_entropy": 0.5 - value / 10} for seed, value in enumerate(accuracies)
        }
        scores = make_scores(accuracies[0], 0.5)
        for seed, value in list(enumerate(accuracies))[1:]:
            scores[f"seed_{seed}.scores.correct"] = make_scores(value, 0.5)["scores.correct"]
        write_predictions(reported.root / folder / PREDICTIONS, scores)
        reported.write(f"{folder}/outputs/evaluate/seeds.json", json.dumps(seeds))
        settle(reported, name, folder)
    found = ask(force, "x")
    accuracy, loss = found["x", "accuracy"], found["x", "cross_entropy"]
    assert (accuracy["num_samples"], accuracy["num_seeds"], accuracy["verdict"]) == (NUM, 3, "better")
    assert accuracy["delta"] == pytest.approx((0.85 + 0.86 + 0.85 - 0.8 - 0.82 - 0.79) / 3)
    assert (loss["num_samples"], loss["num_seeds"]) == (0, 3)  # not each seed has scores of it


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "no interval: its predictions are not here: dvc pull brings them"),
        (b"", "no interval: its predictions cannot be read: the file has 0 bytes"),
        (b"\x08" + b"\0" * 7 + b"{}      ", "no interval: its predictions cannot be read: it has no 'ids'"),
    ],
)
def test_reason_is_named_when_there_are_no_scores(
    reported: Checkout, force: Force, content: bytes | None, text: str
) -> None:
    path = reported.root / "experiments/x" / PREDICTIONS
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    stages = read_lock(reported, "x")
    for out in stages["evaluate"]["outs"]:
        if out["path"] == PREDICTIONS:
            out["md5"] = (
                reported.project().index.md5(f"experiments/x/{PREDICTIONS}") if content is not None else "0" * 32
            )
    write_lock(reported, "x", stages)
    row = ask(force, "x")["x", "accuracy"]
    assert (row["delta"], row["verdict"]) == (pytest.approx(0.1), "unknown")
    assert row["text"].startswith(text.partition("the file has")[0])


def test_scores_are_found_in_the_cache_when_they_are_not_checked_out(reported: Checkout, force: Force) -> None:
    path = reported.root / "experiments/x" / PREDICTIONS
    (md5,) = (out["md5"] for out in read_lock(reported, "x")["evaluate"]["outs"] if out["path"] == PREDICTIONS)
    cached = reported.project().cache.object_path(md5)
    cached.parent.mkdir(parents=True, exist_ok=True)
    path.rename(cached)
    assert ask(force, "x")["x", "accuracy"]["verdict"] == "better"


def test_metric_that_is_not_the_mean_of_its_scores_has_no_interval(reported: Checkout, force: Force) -> None:
    write_predictions(reported.root / "experiments/x" / PREDICTIONS, make_scores(0.7, 0.3))
    settle(reported, "x", "experiments/x")
    assert ask(force, "x")["x", "accuracy"]["text"] == "no interval: the metric is not the mean of its scores"


def test_baseline_without_results_is_named(reported: Checkout, force: Force) -> None:
    (reported.root / "common/outputs/evaluate/metrics.json").unlink()
    ended = force("report", "x")
    assert ended.status == 0
    note = "common: no baseline yet: no result: common/outputs/evaluate/metrics.json is missing"
    assert note in ended.out.splitlines()


@pytest.mark.parametrize(
    "text",
    [
        '{"accuracy": NaN}',
        '{"accuracy": 0.9',
        "[]",
        '{"accuracy": 1e999}',
        '{"accuracy": 1' + "0" * 400 + "}",
        "[" * 10_000,
    ],
)
def test_metrics_that_are_none_are_named(reported: Checkout, force: Force, text: str) -> None:
    reported.write("experiments/x/outputs/evaluate/metrics.json", text)
    ended = force("report", "x", "--gate")
    assert ended.status == 0
    assert "x: no result: experiments/x/outputs/evaluate/metrics.json " in ended.out


def test_interval_and_difference_are_of_the_seeds_that_both_have(reported: Checkout, force: Force) -> None:
    for name, first, accuracies in (("common", 0, {0: 0.95, 1: 0.7}), ("x", 1, {1: 0.85, 2: 0.9})):
        folder = "common" if name == "common" else f"experiments/{name}"
        certificate = json.loads((reported.root / folder / "outputs/evaluate/certificate.json").read_text())
        metrics = {"accuracy": accuracies[first], "cross_entropy": 0.5}
        write_result(reported, folder, metrics, seed=first, metrics=certificate["metrics"])
        seeds = {str(seed): {"accuracy": value, "cross_entropy": 0.5} for seed, value in accuracies.items()}
        reported.write(f"{folder}/outputs/evaluate/seeds.json", json.dumps(seeds))
        scores = {
            f"{'' if seed == first else f'seed_{seed}.'}scores.correct": make_scores(value, 0.5)["scores.correct"]
            for seed, value in accuracies.items()
        }
        write_predictions(reported.root / folder / PREDICTIONS, scores)
        settle(reported, name, folder)
    row = ask(force, "x")["x", "accuracy"]
    assert (row["baseline_value"], row["value"], row["num_seeds"]) == (0.7, 0.85, 1)
    assert row["low"] < row["delta"] < row["high"]
    assert row["verdict"] == "better"


def test_reason_is_named_when_no_seed_is_in_common(reported: Checkout, force: Force) -> None:
    reported.write("experiments/x/outputs/evaluate/seeds.json", '{"-5": {"accuracy": 0.9, "cross_entropy": 0.3}}')
    settle(reported, "x", "experiments/x")
    row = ask(force, "x")["x", "accuracy"]
    assert (row["delta"], row["text"]) == (pytest.approx(0.1), "no interval: no seed in common")


@pytest.mark.parametrize(
    "text", ["", "[", '{"²": {"accuracy": 1}}', '{"0": {"accuracy": "high"}}', '{"0": {"accuracy": NaN}}', "[" * 10_000]
)
def test_seeds_that_are_none_are_as_if_they_were_not_there(reported: Checkout, force: Force, text: str) -> None:
    reported.write("experiments/x/outputs/evaluate/seeds.json", text)
    settle(reported, "x", "experiments/x")
    assert ask(force, "x")["x", "accuracy"]["text"] == "no interval: no seed in common"


def test_faults_of_an_experiment_keep_nobody_from_the_report_on_others(reported: Checkout, force: Force) -> None:
    reported.experiment("broken", "inherits: nobody\n")
    assert force("report", "x").status == 0
    ended = force("report")
    assert (ended.status, ended.err.splitlines()[0]) == (
        3,
        "error: experiments/broken/experiment.yaml:1:11: inherits 'nobody', which is no experiment",
    )
    assert [line.split()[0] for line in ended.out.splitlines()[1:]] == ["common"] * 2 + ["x"] * 2 + ["y"] * 2


# Against another commit


def test_each_is_compared_with_itself_where_the_branch_began(reported: Checkout, force: Force) -> None:
    reported.write(".dvc/config", "")
    scores = reported.root / "experiments/x" / PREDICTIONS
    (md5,) = (out["md5"] for out in read_lock(reported, "x")["evaluate"]["outs"] if out["path"] == PREDICTIONS)
    cached = reported.project().cache.object_path(md5)
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(scores.read_bytes())
    reported.commit()
    reported.git("checkout", "--quiet", "-b", "topic")
    reported.experiment("new", evaluator=override("evaluator"))
    leave(reported, "x", 0.95, 0.3)
    reported.commit()
    ended = force("report", "--base", "main", "x", "new", "--format", "json")
    assert ended.status == 0, ended.err
    answer = json.loads(ended.out)
    (row,) = (row for row in answer["findings"] if row["baseline"] == "x at main" and row["metric"] == "accuracy")
    assert (row["baseline_value"], row["value"], row["verdict"]) == (0.9, 0.95, "better")
    assert "new is not there at main, or not sound" in answer["notes"]
    assert reported.git("worktree", "list").count("\n") == 0


def test_commit_that_is_not_there_is_a_line(reported: Checkout, force: Force) -> None:
    reported.commit()
    ended = force("report", "--base", "mian")
    assert (ended.status, ended.err.splitlines()[0]) == (2, "error: there is no commit 'mian'")


def test_branch_without_a_merge_base_is_a_note(reported: Checkout, force: Force) -> None:
    reported.commit()
    reported.git("checkout", "--quiet", "--orphan", "alone")
    reported.write("notes.md", "another beginning\n")
    reported.commit()
    ended = force("report", "x", "--base", "main")
    assert ended.status == 0
    assert "'main' shares no commit with this branch: nothing is compared with it" in ended.out.splitlines()


# Gates


def gate(checkout: Checkout, *lines: str) -> None:
    """Give `x` these gates."""
    checkout.experiment("x", f"gates: {json.dumps(lines)}\n", evaluator=override("evaluator"))


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("accuracy >= 0.9", "0.9"),
        ("cross_entropy < 0.31", "0.3"),
        ("accuracy no worse than parent", "+0.1000 against common"),
        ("cross_entropy no worse than y by more than 0.01", "-0.2000 against y"),
        ("accuracy >= 90 %", "0.9"),
        ("accuracy no worse than x", "it is the baseline itself"),
        ("latency_ms.one_sample <= 2", "1.5"),
    ],
)
def test_gate_is_passed(reported: Checkout, force: Force, line: str, has: str) -> None:
    gate(reported, line)
    reported.write("experiments/x/outputs/evaluate/performance.json", '{"latency_ms": {"one_sample": 1.5}}')
    settle(reported, "x", "experiments/x")
    ended = force("report", "x", "--gate")
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[-1].split() == ["x", *line.split(), *has.split(), "yes"]


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("accuracy >= 0.95", "0.9"),
        ("accuracy > 0.9", "0.9"),
        ("f1 > 0", "there is no 'f1'; there are accuracy, cross_entropy"),
        ("acuracy > 0", "there is no 'acuracy'; did you mean 'accuracy'?"),
        ("cross_entropy <= 100 %", "percents are of fractions, and 'cross_entropy' is none"),
        ("cross_entropy no worse than y by more than 1 point", "points are of fractions, and 'cross_entropy' is none"),
        ("f1 no worse than x", "there is no 'f1'"),
        ("f1 no worse than y", "does not compare with y: not both have 'f1'"),
    ],
)
def test_gate_that_is_not_passed_is_exit_code_7(reported: Checkout, force: Force, line: str, has: str) -> None:
    gate(reported, line)
    ended = force("report", "x", "--gate")
    assert (ended.status, ended.err) == (7, f"error: x does not pass '{line}': {has}\nhint: force report shows all\n")
    assert ended.out.splitlines()[-1].endswith("no")
    assert force("report", "x").status == 0


def test_gate_against_a_baseline_is_not_passed_when_it_is_worse_or_nobody_knows(
    reported: Checkout, force: Force
) -> None:
    gate(reported, "accuracy no worse than common by more than 5 points", "cross_entropy no worse than common")
    leave(reported, "x", 0.7, 0.3)
    ended = force("report", "x", "--gate")
    assert ended.err.splitlines()[0].endswith("by more than 5 points': -0.1000 against common")
    leave(reported, "x", 0.9, 0.3, dtype="float16")
    ended = force("report", "x", "--gate")
    assert (ended.status, ended.err.splitlines()[0]) == (
        7,
        "error: x does not pass 'accuracy no worse than common by more than 5 points': does not compare with common: "
        "dtype differs: float16 vs float32, and 1 more of 2 gates fail",
    )


def test_no_gate_is_passed_without_a_result(reported: Checkout, force: Force) -> None:
    gate(reported, "accuracy no worse than x", "accuracy > 0", "accuracy no worse than common")
    (reported.root / "experiments/x/outputs/evaluate/metrics.json").unlink()
    ended = force("report", "x", "--gate")
    assert ended.status == 7
    assert [line.split()[-1] for line in ended.out.splitlines()[-3:]] == ["no"] * 3


def test_gate_goes_by_no_performance_but_the_recorded_one(reported: Checkout, force: Force) -> None:
    gate(reported, "latency_ms.one_sample <= 5")
    path = reported.write("experiments/x/outputs/evaluate/performance.json", '{"latency_ms": {"one_sample": 1.5}}')
    settle(reported, "x", "experiments/x")
    recorded = path.read_bytes()
    path.write_text('{"latency_ms": {"one_sample": 0.0001}}')
    ended = force("report", "x", "--gate")
    assert ended.status == 7
    assert ended.err.splitlines()[0].endswith("; performance.json is not here: dvc pull brings it")
    (md5,) = (out["md5"] for out in read_lock(reported, "x")["evaluate"]["outs"] if "performance" in out["path"])
    cached = reported.project().cache.object_path(md5)
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(recorded)
    assert force("report", "x", "--gate").status == 0


def test_gate_goes_by_the_mean_of_the_seeds(reported: Checkout, force: Force) -> None:
    gate(reported, "accuracy >= 0.9")
    seeds = {str(seed): {"accuracy": value, "cross_entropy": 0.3} for seed, value in enumerate((0.9, 0.8))}
    reported.write("experiments/x/outputs/evaluate/seeds.json", json.dumps(seeds))
    settle(reported, "x", "experiments/x")
    ended = force("report", "x", "--gate")
    assert (ended.status, ended.err.splitlines()[0]) == (7, "error: x does not pass 'accuracy >= 0.9': 0.85")


def test_gate_is_not_passed_when_the_result_is_out_of_date(reported: Checkout, force: Force) -> None:
    gate(reported, "accuracy > 0")
    (reported.root / "experiments/x/evaluator.py").write_text(override("evaluator") + "    flavour = 1\n")
    ended = force("report", "x", "--gate")
    assert ended.status == 7
    assert "no present result: experiments/x/evaluator.py changed" in ended.err


# Formats


def test_csv_has_numbers_in_full(reported: Checkout, force: Force) -> None:
    rows = list(csv.DictReader(force("report", "x", "--format", "csv").out.splitlines()))
    assert [row["metric"] for row in rows] == ["accuracy", "cross_entropy"]
    assert float(rows[0]["delta"]) == 0.9 - 0.8


def test_latex_is_a_tabular_whose_text_is_escaped(reported: Checkout, force: Force) -> None:
    lines = force("report", "x", "--format", "latex").out.splitlines()
    assert lines[0].startswith(r"\begin{tabular}")
    assert any(line.startswith(r"x & common & cross\_entropy & 0.5000 & 0.3000 & -0.2000 & ") for line in lines)
    assert lines[-1] == r"\end{tabular}"


def test_terminal_is_not_steered_by_what_a_gate_says(reported: Checkout, force: Force) -> None:
    gate(reported, "accuracy no worse than common")
    accuracy = make_certificate()["metrics"]["accuracy"]
    defined = {"accuracy": {**accuracy, "definition": "\x1b[2J\r", "definition_sha256": "e" * 64}}
    leave(reported, "x", 0.9, 0.3, metrics=defined)
    ended = force("report", "x", "--gate")
    assert ended.status == 7
    assert "definition of accuracy differs" in ended.out
    assert not {"\x1b", "\r"} & set(ended.out + ended.err)


def test_markdown_is_harmless_when_a_metric_has_a_hostile_name(reported: Checkout, force: Force) -> None:
    name = "<script>alert(1)</script>|@team\x1b[31m\n" + "x" * 100_000
    metrics = {name: 0.5}
    defined = {name: make_certificate()["metrics"]["accuracy"]}
    for folder, owner in (("common", "common"), ("experiments/x", "x")):
        write_result(reported, folder, metrics, metrics=defined)
        settle(reported, owner, folder)
    gate(reported, "accuracy no worse than common")
    for form in ("markdown", "terminal", "csv", "latex"):
        ended = force("report", "x", "--format", form)
        assert ended.status == 0, ended.err
        assert "\x1b" not in ended.out
    out = force("report", "x", "--format", "markdown").out
    assert "<script" not in out
    assert "@team" not in out
    assert all(len(line) < 2000 for line in out.splitlines())
