"""`force run` and plain DVC on real stages: what runs, what is inherited, what comes from the cache."""

import json
import shutil
from pathlib import Path

import pytest

from tests.checkouts import Checkout, with_bins
from tests.flows.commands import dvc, force, read_all
from tests.flows.conftest import make_small_checkout

pytestmark = pytest.mark.slow

BAD_MODEL = """\
from common.model import ConvNet


class Bad(ConvNet):
    def forward(self, inputs):
        return super().forward(inputs[:, :, 1:])
"""


def test_second_run_changes_nothing_and_says_so(built: Checkout) -> None:
    before = read_all(built, "**/outputs/**/*.*") | read_all(built, "**/dvc.lock")
    done = force(built, "run")
    assert done.stdout.startswith("nothing to do: 6 stages are up to date\n")
    assert done.returncode == 0
    assert read_all(built, "**/outputs/**/*.*") | read_all(built, "**/dvc.lock") == before
    assert built.git("status", "--porcelain") == ""


def test_git_keeps_locks_metrics_certificates_and_costs_alone(built: Checkout) -> None:
    tracked = built.git("ls-files", "*/outputs/*").split()
    assert tracked == [
        f"{folder}/outputs/{name}.json"
        for folder in ("common", "experiments/judge", "experiments/wide")
        for name in ("costs", "evaluate/certificate", "evaluate/metrics", "evaluate/seeds")
    ]
    assert set(json.loads((built.root / "experiments/judge/outputs/costs.json").read_text())["stages"]) == {"evaluate"}
    assert built.git("ls-files", "*dvc.lock").split() == [
        "dvc.lock",
        "experiments/judge/dvc.lock",
        "experiments/wide/dvc.lock",
    ]


def test_an_evaluator_trains_nothing(built: Checkout) -> None:
    assert not (built.root / "experiments/judge/outputs/train").exists()
    metrics = json.loads((built.root / "experiments/judge/outputs/evaluate/metrics.json").read_text())
    common = json.loads((built.root / "common/outputs/evaluate/metrics.json").read_text())
    assert metrics == {**common, "num_samples": 353.0}


def test_plain_dvc_agrees_that_all_is_up_to_date(built: Checkout) -> None:
    assert dvc(built, "repro").stdout.splitlines()[-1] == "Data and pipelines are up to date."
    assert dvc(built, "repro", "experiments/wide/dvc.yaml").stdout.splitlines()[-1] == (
        "Data and pipelines are up to date."
    )
    assert dvc(built, "status").stdout == "Data and pipelines are up to date.\n"


def test_plain_dvc_runs_what_force_plans(built: Checkout) -> None:
    config = built.root / "experiments/wide/experiment.yaml"
    config.write_text(config.read_text().replace("40", "44"))
    plan = {
        (row["experiment"], row["stage"]): row["state"] for row in json.loads(force(built, "plan", "--json").stdout)
    }
    assert {key for key, state in plan.items() if state == "run"} == {("wide", "train"), ("wide", "evaluate")}
    done = dvc(built, "repro", "experiments/wide/dvc.yaml")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("Running")] == [
        "Running stage 'experiments/wide/dvc.yaml:train':",
        "Running stage 'experiments/wide/dvc.yaml:evaluate':",
    ]
    assert force(built, "run").stdout.startswith("nothing to do")


def test_dvc_shows_metrics_their_difference_and_the_graph(built: Checkout) -> None:
    shown = json.loads(dvc(built, "metrics", "show", "--json").stdout)
    assert set(shown[""]["data"]) == {
        f"{folder}/outputs/evaluate/{name}.json"
        for folder in ("common", "experiments/judge", "experiments/wide")
        for name in ("metrics", "performance")
    }
    path = built.root / "common/outputs/evaluate/metrics.json"
    metrics = json.loads(path.read_text())
    path.write_text(json.dumps({**metrics, "accuracy": metrics["accuracy"] - 0.25}))
    diff = json.loads(dvc(built, "metrics", "diff", "--json").stdout)
    assert diff["common/outputs/evaluate/metrics.json"]["accuracy"]["diff"] == pytest.approx(-0.25)
    edges = dvc(built, "dag", "--dot").stdout
    assert '"prepare" -> "experiments/wide/dvc.yaml:train";' in edges
    assert '"train" -> "experiments/judge/dvc.yaml:evaluate";' in edges


def test_dvc_draws_the_curves_of_every_evaluation(built: Checkout) -> None:
    axes = {
        "reliability.csv": ("confidence", "accuracy"),
        "roc.csv": ("false_positive_rate", "true_positive_rate"),
        "precision_recall.csv": ("recall", "precision"),
    }
    for name, (x, y) in axes.items():
        targets = [f"{folder}/outputs/evaluate/{name}" for folder in ("common", "experiments/judge")]
        shown = json.loads(dvc(built, "plots", "show", "--json", *targets).stdout)["data"]
        assert set(shown) == set(targets)
        for plots in shown.values():
            (plot,) = plots
            points = plot["content"]["data"]["values"]
            assert 0 < len(points) <= 200
            assert {x, y} <= points[0].keys()
            drawn = json.dumps(plot["content"]["layer"])
            assert all(f'"field": "{axis}"' in drawn for axis in (x, y))


def test_a_metric_by_params_leaves_the_inherited_ones_comparable(built: Checkout) -> None:
    built.experiment("macro", "params: {evaluate: {metrics: {f1: {name: MulticlassF1Score, average: macro}}}}\n")
    built.experiment("bins", with_bins(5))
    assert force(built, "run", "macro", "bins").returncode == 0
    rows = {row["experiment"]: row for row in json.loads(force(built, "compare", "macro", "bins", "--json").stdout)}
    assert set(rows["macro"]["metrics"]) == {"accuracy", "calibration_error", "cross_entropy", "f1"}
    assert rows["macro"]["deltas"] == {"accuracy": 0, "calibration_error": 0, "cross_entropy": 0}
    assert set(rows["bins"]["deltas"]) == {"accuracy", "cross_entropy"}
    assert rows["bins"]["not_comparable"] == {
        "calibration_error": [
            "definition of calibration_error differs: MulticlassCalibrationError(n_bins=5, num_classes=10) vs "
            "MulticlassCalibrationError(n_bins=10, num_classes=10)"
        ]
    }


def test_a_failing_stage_leaves_its_reason_and_stops_only_what_needs_it(built: Checkout) -> None:
    built.experiment("bad", "description: fails\n", model=BAD_MODEL)
    built.experiment("other", with_bins(5))
    done = force(built, "run", "--jobs", "2")
    place = "experiments/bad/model.py:6"
    reason = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x128 and 256x10)"
    assert done.stderr == (
        f"error: train of bad failed: {place}: {reason}\nhint: the log is experiments/bad/outputs/train/failed.log\n"
    )
    assert done.returncode == 6
    lines = {tuple(line.split()[:3]) for line in done.stdout.splitlines()}
    assert {("failed", "bad:", "train"), ("skipped", "bad:", "evaluate"), ("done", "other:", "evaluate")} <= lines
    outcome = json.loads((built.root / "experiments/bad/outputs/train/outcome.json").read_text())
    assert (outcome["status"], outcome["reason"]["place"]) == ("failed", place)
    assert "Traceback" in (built.root / "experiments/bad/outputs/train/failed.log").read_text()
    assert not (built.root / "experiments/bad/outputs/train.partial").exists()


def test_an_edit_that_is_undone_comes_from_the_cache(built: Checkout) -> None:
    config = built.root / "experiments/wide/experiment.yaml"
    text = config.read_text()
    weights = read_all(built, "experiments/wide/outputs/train/model/*")
    config.write_text(text.replace("40", "48"))
    assert force(built, "run", "wide:train").returncode == 0
    assert read_all(built, "experiments/wide/outputs/train/model/*") != weights
    config.write_text(text)
    states = [row["state"] for row in json.loads(force(built, "plan", "wide", "--json").stdout)]
    assert states == ["up to date", "cached", "up to date"]
    record = read_all(built, "experiments/wide/outputs/train/run.json")
    assert force(built, "run", "wide").returncode == 0
    assert read_all(built, "experiments/wide/outputs/train/model/*") == weights
    assert read_all(built, "experiments/wide/outputs/train/run.json") != record  # the first run's came back with it
    assert force(built, "run").stdout.startswith("nothing to do")


def test_a_renamed_experiment_keeps_its_results(built: Checkout) -> None:
    built.git("mv", "experiments/wide", "experiments/broad")
    shutil.rmtree(built.root / "experiments/broad/outputs", ignore_errors=True)
    (built.root / "experiments/broad/dvc.lock").unlink()
    states = [row["state"] for row in json.loads(force(built, "plan", "broad", "--json").stdout)]
    assert states == ["up to date", "cached", "run"]
    done = force(built, "run", "broad")
    assert done.returncode == 0, done.stderr
    assert "an earlier run with the same inputs is in the cache" in done.stdout
    assert (built.root / "experiments/broad/outputs/evaluate/metrics.json").exists()


def test_shared_stages_run_once_from_a_cold_start(tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    root.mkdir()
    checkout = make_small_checkout(root)
    for number in range(2):
        checkout.experiment(f"bins_{number}", with_bins(number + 2))
    done = force(checkout, "run", "--jobs", "4", "bins_0", "bins_1")
    assert done.returncode == 0, done.stderr
    ran = sorted(tuple(line.split()[1:3]) for line in done.stdout.splitlines() if line.startswith("done "))
    assert ran == [
        ("bins_0:", "evaluate"),
        ("bins_1:", "evaluate"),
        ("common:", "prepare"),
        ("common:", "train"),
    ]
    assert len(list((root / ".dvc/cache/runs").glob("*/*/*"))) == 2  # of prepare and train


def test_a_source_edited_while_its_stage_runs_is_not_recorded(built: Checkout) -> None:
    sneaky = """\
        from pathlib import Path

        from common.trainer import Trainer


        class Sneaky(Trainer):
            def fit(self, *args):
                super().fit(*args)
                Path(__file__).write_text(Path(__file__).read_text() + "# edited")
        """
    built.experiment("sneaky", "description: edits itself\n")
    built.write("experiments/sneaky/trainer.py", sneaky)
    done = force(built, "run", "sneaky")
    assert done.returncode == 6
    assert done.stderr.startswith(
        "error: train of sneaky failed: SourceChanged: experiments/sneaky/trainer.py changed while the stage ran"
    )
    assert not (built.root / "experiments/sneaky/dvc.lock").exists()


def test_an_import_that_no_statement_shows_is_refused(built: Checkout) -> None:
    built.experiment("hidden", "description: imports by name\n")
    built.write("experiments/hidden/secret.py", "FACTOR = 1\n")
    built.write(
        "experiments/hidden/trainer.py",
        """\
        import importlib

        from common.trainer import Trainer


        class Hidden(Trainer):
            def loss(self, logits, targets):
                return super().loss(logits, targets) * importlib.import_module("experiments.hidden.secret").FACTOR
        """,
    )
    done = force(built, "run", "hidden")
    assert done.returncode == 6
    assert done.stderr.splitlines()[0] == (
        "error: train of hidden failed: HiddenImport: experiments/hidden/secret.py was imported in a way that no "
        "import statement shows"
    )


def test_files_that_are_not_the_stages_own_stay_when_it_runs_again(built: Checkout) -> None:
    notes = built.write("common/outputs/evaluate/notes.md", "mine\n")
    params = built.root / "params.yaml"
    params.write_text(params.read_text().replace("n_bins: 10", "n_bins: 8"))
    assert force(built, "run", "common", "--jobs", "3").returncode == 0
    assert notes.read_text() == "mine\n"
    params.write_text(params.read_text().replace("n_bins: 8", "n_bins: 9"))
    assert dvc(built, "repro").returncode == 0
    assert notes.read_text() == "mine\n"


def test_a_stage_that_exits_by_itself_has_failed(built: Checkout) -> None:
    exiting = """\
        import sys

        from common.data import DataModule, Samples


        class Exiting(DataModule):
            def read(self) -> Samples:
                sys.exit(0)
        """
    built.experiment("exits", "description: gives up\n")
    built.write("experiments/exits/data.py", exiting)
    done = force(built, "run", "exits")
    assert done.returncode == 6
    assert done.stderr.startswith("error: prepare of exits failed: experiments/exits/data.py:8: SystemExit: 0\n")


def test_a_metric_without_a_direction_is_a_failure_with_its_reason(built: Checkout) -> None:
    path = built.root / "experiments/judge/evaluator.py"
    path.write_text(path.read_text().replace('"max"', '"most"'))
    done = force(built, "run", "judge")
    assert done.returncode == 6
    reason = '\'metrics.num_samples.direction\' is "most", wanted one of "max", "min"'
    assert f"BadResult: certificate.json is not as its schema says: {reason}" in done.stderr
    outcome = json.loads((built.root / "experiments/judge/outputs/evaluate/outcome.json").read_text())
    assert outcome["reason"]["type"] == "BadResult"
