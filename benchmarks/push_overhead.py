"""From a push to the first training step under act, with and without an image build, beside `force run` by hand.

Needs a Docker engine, a base image and wheels: `tests/workflows/engine.sh python -m benchmarks push_overhead`.
"""

import subprocess
import time
from pathlib import Path

from benchmarks.measuring import Figure
from tests.workflows.labs import Lab, make_lab

TITLE = "from a push to the first training step, under act"

_TRAINER = """\
import time

from common.trainer import Trainer


class Clocked(Trainer):
    # {number}
    def train_step(self, *args):
        print("STEP", time.time(), flush=True)
        return super().train_step(*args)
"""


def measure(folder: Path) -> list[Figure]:
    """Return the figures, measured in a lab whose common build is trained when somebody adds an experiment."""
    lab = make_lab(folder)
    _check(lab.force("image", "build"))
    _check(lab.force("run", "--docker", "common"))
    _check(
        subprocess.run(["dvc", "push", "--quiet"], cwd=lab.root, env=lab.environment, capture_output=True, text=True)
    )
    lab.commit()
    lab.push()
    by_hand = _time_by_hand(lab)
    warm = _time_push(lab, 1)
    lock = lab.root / "docker/train.lock"
    lock.write_text(lock.read_text() + "# another\n")
    cold = _time_push(lab, 2)
    return [
        Figure("`force run` by hand, no container", by_hand, "s"),
        Figure("act push, the image is there", warm, "s"),
        Figure("act push, the image is built", cold, "s"),
        Figure("what the workflow adds", warm - by_hand, "s"),
        Figure("what building the image adds", cold - warm, "s"),
    ]


def _time_by_hand(lab: Lab) -> float:
    lab.experiment("clocked", "description: by hand\n", trainer=_TRAINER.format(number=0))
    started = time.time()
    _check(lab.force("run", "clocked:train"))
    return _read_first_step(lab.root / "experiments/clocked/outputs/train/train.log") - started


def _time_push(lab: Lab, number: int) -> float:
    name = f"clocked_{number}"
    lab.experiment(name, f"description: push {number}\n", trainer=_TRAINER.format(number=number))
    lab.git("add", "--all")
    lab.git("commit", "--quiet", "--message", name)
    payload = lab.push()
    started = time.time()
    run = lab.act("push", payload)
    if run.status:
        raise RuntimeError(run.text)
    artifact = run.unzip(f"experiment-{name}", lab.folder / name)
    return _read_first_step(artifact / name / "train/train.log") - started


def _read_first_step(log: Path) -> float:
    return float(next(line for line in log.read_text().splitlines() if line.startswith("STEP")).split()[1])


def _check(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise RuntimeError(f"{done.args} ended with status {done.returncode}\n{done.stdout}{done.stderr}")
