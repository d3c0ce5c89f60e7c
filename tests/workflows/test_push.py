"""A push trains what it changes: the committed workflows, run by act, with containers, DVC and git for real."""

import json
from pathlib import Path

from pipeline.manifest import find_damage
from tests.checkouts import with_bins
from tests.workflows.labs import ActRun, Lab

BROKEN = """\
from common.model import ConvNet


class Broken(ConvNet):
    def forward(self, inputs):
        return super().forward(inputs[:, :, 1:])
"""


def list_changes(lab: Lab, revision: str) -> list[str]:
    """Return the paths that a commit of `origin` changes."""
    return lab.git("show", "--name-only", "--format=", revision).splitlines()


def test_a_push_trains_its_experiments_and_ends_green(first_push: tuple[Lab, ActRun]) -> None:
    _, run = first_push
    assert run.status == 0, run.text
    assert set(run.results.values()) == {"success"}
    plan = run.outputs["experiments/plan"]
    waves = [[e["targets"] for e in json.loads(plan[f"wave_{n}"])["include"]] for n in (1, 2, 3)]
    assert waves == [["common:prepare"], ["common:train", "wide"], ["common", "judge"]]
    trained = [line for job in run.lines for line in run.lines[job] if line.startswith("done") and ": train" in line]
    assert [line.split()[1] for line in trained] == ["common:", "wide:"]  # each once, though three need common's


def test_stages_ran_in_containers_of_the_image(first_push: tuple[Lab, ActRun], image: str, tmp_path: Path) -> None:
    _, run = first_push
    assert run.outputs[run.find("image/build")]["image"] == image
    for name, stage in (("wide", "train"), ("wide", "evaluate"), ("judge", "evaluate")):
        folder = run.unzip(f"experiment-{name}", tmp_path / f"{name}-{stage}")
        record = json.loads((folder / name / stage / "run.json").read_text())
        assert record["image"] == image


def test_an_artifact_has_everything_and_its_manifest(first_push: tuple[Lab, ActRun], tmp_path: Path) -> None:
    lab, run = first_push
    folder = run.unzip("experiment-wide", tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert find_damage(folder, manifest) == []
    listed = {file["path"] for file in manifest["files"]}
    assert listed >= {
        "workflow.json",
        "wide/train/model/weights.safetensors",
        "wide/train/model/model.json",
        "wide/train/config.json",
        "wide/train/history.jsonl",
        "wide/train/train.log",
        "wide/train/run.json",
        "wide/evaluate/metrics.json",
        "wide/evaluate/certificate.json",
        "wide/evaluate/seeds.json",
        "wide/evaluate/evaluate.log",
    }
    assert [path for path in listed if path.startswith("checkpoints/wide/")]
    workflow = json.loads((folder / "workflow.json").read_text())
    assert (workflow["sha"], workflow["status"]) == (lab.git("rev-parse", "HEAD~1"), "ok")
    (folder / "wide/train/train.log").write_text("edited")
    assert find_damage(folder, manifest) == ["wide/train/train.log"]


def test_outputs_and_summary_of_a_job_say_how_it_ended(first_push: tuple[Lab, ActRun]) -> None:
    lab, run = first_push
    job = run.find_entry("wide")
    assert (run.outputs[job]["status"], run.outputs[job]["artifact"]) == ("ok", "experiment-wide")
    (row,) = [row for row in json.loads(run.outputs[job]["metrics"]) if row["experiment"] == "wide"]
    metrics = json.loads((lab.root / "experiments/wide/outputs/evaluate/metrics.json").read_text())
    assert row["metrics"] == metrics
    summary = run.summaries[job]
    assert "### wide: ok" in summary
    assert f"| wide | accuracy | {metrics['accuracy']:.4f} |" in summary
    assert 'title "wide: train_loss"' in summary
    assert 'common: prepare<br/>up to date"' in summary
    assert 'wide: train<br/>done"' in summary


def test_results_of_all_jobs_are_one_commit_of_the_bot(first_push: tuple[Lab, ActRun]) -> None:
    lab, _ = first_push
    assert lab.git("show", "--no-patch", "--format=%an|%s") == ("github-actions[bot]|results: common, judge, wide")
    changed = list_changes(lab, "HEAD")
    assert {"dvc.lock", "experiments/wide/dvc.lock", "experiments/judge/dvc.lock"} <= set(changed)
    assert {path.rpartition("/")[2] for path in changed} == {
        "certificate.json",
        "costs.json",
        "dvc.lock",
        "dvc.yaml",
        "metrics.json",
        "seeds.json",
    }


def test_a_researcher_gets_the_results_without_training(lab: Lab) -> None:
    shown = lab.force("plan", "--json")
    assert {row["state"] for row in json.loads(shown.stdout)} == {"fetch"}
    done = lab.force("run")
    assert done.returncode == 0, done.stderr
    assert "done " not in done.stdout
    assert lab.git("status", "--porcelain") == ""


def test_nothing_trains_when_only_an_evaluator_changes(lab: Lab) -> None:
    path = lab.root / "experiments/judge/evaluator.py"
    path.write_text(path.read_text().replace("float(len(predictions.ids))", "2.0 * len(predictions.ids)"))
    lab.commit()
    run = lab.act("push", lab.push(), "--var", "FORCE_RESULTS=branch")
    assert run.status == 0, run.text
    assert json.loads(run.outputs["experiments/plan"]["wave_1"])["include"] == [
        {"name": "judge", "targets": "judge", "wave": "1"}
    ]
    lines = [line for line in run.lines[run.find_entry("judge")] if ": " in line]
    assert not [line for line in lines if line.startswith("done") and ": train" in line]
    assert [line for line in lines if line.startswith("done") and "judge: evaluate" in line]
    lab.pull()
    metrics = json.loads((lab.root / "experiments/judge/outputs/evaluate/metrics.json").read_text())
    assert metrics["num_samples"] == 706.0
    assert "706.0000" in run.summaries[run.find("report")]


def test_others_results_are_saved_and_the_run_is_red_when_an_experiment_fails(lab: Lab) -> None:
    lab.experiment("broken", "description: does not fit\n", model=BROKEN)
    lab.experiment("fine", with_bins(7) + "gates: [accuracy >= 2, latency_ms.one_sample > 0]\n")
    lab.experiment("misspelt", "params:\n  evaluate: {calibration_bin: 7}\n")
    lab.commit()
    run = lab.act("push", lab.push(), "--var", "FORCE_RESULTS=branch")
    assert run.status == 1
    assert {job: result for job, result in run.results.items() if result != "success"} == {
        "experiments/gate": "failure"
    }
    gate = run.lines["experiments/gate"]
    assert any("2 of 9 jobs failed, and 1 gate is not passed" in line for line in gate), gate
    assert any("fine: accuracy >= 2: 0." in line for line in gate)
    assert any("plan: left out what has faults (1)" in line for line in gate)
    job = run.find_entry("broken")
    assert run.outputs[job]["status"] == "failed"
    reason = "mat1 and mat2 shapes cannot be multiplied"
    assert reason in run.summaries[job]
    assert "Traceback" in run.summaries[job]
    assert reason in run.summaries[run.find("report")]
    assert any(
        f"broken: train of broken failed: experiments/broken/model.py:6: RuntimeError: {reason}" in line
        for line in run.lines["experiments/gate"]
    )
    lab.pull()
    assert (lab.root / "experiments/fine/outputs/evaluate/metrics.json").exists()
    assert not (lab.root / "experiments/broken/outputs/evaluate/metrics.json").exists()


def test_nothing_runs_when_only_docs_change(lab: Lab) -> None:
    lab.write("README.md", "words\n")
    lab.commit()
    run = lab.act("push", lab.push(), "--var", "FORCE_RESULTS=branch")
    assert run.status == 0, run.text
    assert set(run.results) == {"experiments/plan", "experiments/gate", "experiments/verdict"}
    assert "nothing to do" in run.summaries["experiments/plan"]


def test_plain_act_rehearses_a_push_without_pushing(lab: Lab) -> None:
    lab.experiment("bins", with_bins(7))
    lab.commit()
    before = lab.git("ls-remote", "origin")
    run = lab.act("push")  # neither payload nor variables: what a researcher types
    assert run.status == 0, run.text
    assert run.outputs[run.find_entry("bins")]["status"] == "ok"
    assert "experiments/results" not in run.results
    assert lab.git("ls-remote", "origin") == before
    assert "### bins\n" in run.summaries[run.find("report")]
