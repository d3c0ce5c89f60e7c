"""A training that was killed goes on from its checkpoint when the job is run again."""

import json
import shutil
import signal
import subprocess
import threading

import pytest

from pipeline.documents import parse_yaml
from tests.flows.commands import wait_until
from tests.workflows.labs import ActRun, Lab, list_containers


def find_training(lab: Lab) -> list[str]:
    """Return the running containers that train the lab's experiment `long`."""
    found = list_containers("force-build.experiment=long", "force-build.stage=train")
    return [name for name in found if has_checkpoint(lab)]


def has_checkpoint(lab: Lab) -> bool:
    """Say whether a whole file is there: one that is still being written is not handed on."""
    return bool(list((lab.folder / "checkpoints" / "long").glob("*/*step-*.pt")))


def count_epochs(lab: Lab) -> int:
    """Return how many epochs the training of `long` has recorded."""
    return len((lab.root / "experiments/long/outputs/train/history.jsonl").read_text().splitlines())


@pytest.mark.parametrize("how", ["container", "job"])
def test_a_job_that_is_run_again_resumes(lab: Lab, how: str) -> None:
    lab.experiment("long", "params:\n  train: {epochs: 12}\n")
    lab.commit()
    event = lab.push()
    runs: list[ActRun] = []
    first = threading.Thread(target=lambda: runs.append(lab.act("push", event)))
    first.start()
    wait_until(lambda: bool(find_training(lab)), "a checkpoint of the training")
    (container,) = list_containers("force-build.experiment=long", "force-build.stage=train")
    if how == "container":
        subprocess.run(["docker", "kill", "--signal", "KILL", container], check=True, capture_output=True)
    else:
        subprocess.run(["pkill", "-KILL", "-f", f"pipeline ci experiment.*{lab.folder}"], check=False)
    first.join()
    assert runs[0].status != 0
    again = lab.act("push", event, "--var", "FORCE_RESULTS=branch")
    assert again.status == 0, again.text
    folder = again.unzip("experiment-long", lab.folder / "artifact")
    log = (folder / "long/train/train.log").read_text().splitlines()
    assert log[0].startswith("resumed after step ")
    history = [json.loads(line) for line in (folder / "long/train/history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in history] == list(range(1, 13))
    assert list_containers("force-build.experiment=long") == []


def start_job(lab: Lab, image: str) -> subprocess.Popen[str]:
    """Start the step of the workflow as a runner does: a shell, which is what GitHub signals when it cancels."""
    jobs = parse_yaml((lab.root / ".github/workflows/experiment.yml").read_bytes(), "")["jobs"]
    (step,) = [step for step in jobs["run"]["steps"] if step.get("id") == "run"]
    variables = dict.fromkeys(step["env"], "") | {"NAME": "long", "TARGETS": "long", "WAVE": "1", "IMAGE": image}
    return subprocess.Popen(
        ["bash", "-e", "-c", step["run"]],
        cwd=lab.root,
        env={**lab.environment, **variables, "RUNNER_TEMP": str(lab.folder), "DOCKER_CONFIG": str(lab.folder)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_job_that_is_cancelled_ends_its_container_and_hands_on_its_checkpoint(lab: Lab, image: str) -> None:
    lab.experiment("long", "params:\n  train: {epochs: 500}\n")
    lab.commit()
    job = start_job(lab, image)
    wait_until(lambda: bool(find_training(lab)), "a checkpoint of the training")
    job.send_signal(signal.SIGINT)
    job.communicate(timeout=60)
    assert job.returncode == 130
    assert list_containers("force-build.experiment=long") == []
    status = json.loads((lab.folder / "out/result/long/status.json").read_text())
    assert (status["status"], status["stages"]["long:train"]) == ("interrupted", "interrupted")
    assert list((lab.folder / "out/artifact/checkpoints/long").glob("*/*step-*.pt"))
    shutil.rmtree(lab.folder / "checkpoints")  # another machine: it has only what was handed on
    (lab.folder / "out/artifact").rename(lab.folder / "attempt")
    again = start_job(lab, image)
    log = lab.root / "experiments/long/outputs/train.partial/train.log"
    wait_until(lambda: log.exists() and bool(log.read_text()), "the first line of the log")
    assert log.read_text().startswith("resumed after step ")
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=60)
