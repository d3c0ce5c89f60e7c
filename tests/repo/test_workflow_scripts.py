"""The scripts of steps, run by Bash as runners do: what comes through the environment is handed on, never executed."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from pipeline.commands import ci
from tests.checkouts import ROOT, Checkout, Ended
from tests.pipeline.hostile import TEXT, Job
from tests.repo.workflow_files import File, read_files

# What writes its arguments down instead of doing anything.
RECORDER = f"""\
#!{sys.executable}
import json, os, sys
with open(os.environ["RECORD"], "a") as stream:
    print(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]), file=stream)
"""


def find_step(files: list[File], name: str, text: str) -> dict[str, Any]:
    """Return the step of a workflow whose script has a text."""
    (file,) = [file for file in files if file.name == name]
    (step,) = [step for _, step in file.steps() if text in step.get("run", "")]
    return step


def run_script(folder: Path, script: str, variables: dict[str, str]) -> list[list[str]]:
    """Run a step's script as a runner does, every program but Bash a recorder; return what was called."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    for name in ("force", "docker", "make"):
        (folder / "bin" / name).write_text(RECORDER)
        (folder / "bin" / name).chmod(0o755)
    (folder / "script.sh").write_text(script)
    given = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "RECORD": str(folder / "record"), "RUNNER_TEMP": "/t e m p"}
    done = subprocess.run(
        ["bash", "-e", "script.sh"], cwd=folder, env={**given, **variables}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    record = folder / "record"
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def render(text: str, context: str, values: dict[str, str]) -> str:
    """Fill in expressions like `matrix.name`; others are left."""
    return re.sub(rf"\$\{{\{{ {context}\.([\w-]+) \}}\}}", lambda match: values[match[1]], text)


def test_a_job_is_called_for_what_was_planned(
    checkout: Checkout, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(checkout, force, monkeypatch)
    before = job.checkout.commit()
    job.checkout.experiment("one", "params: {train: {epochs: 3}}\n")
    job.checkout.experiment("two", "params: {train: {epochs: 4}}\n")
    job.start("push", {"before": before})
    assert job.ci("plan").status == 0
    files = read_files(ROOT)
    (caller,) = [file for file in files if file.name == "experiments.yml"]
    step = find_step(files, "experiment.yml", "force ci experiment")
    called = []
    for number in (1, 2, 3):
        inputs = caller.jobs[f"wave-{number}"]["with"]
        for entry in json.loads(job.outputs[f"wave_{number}"])["include"]:
            given = {key: render(value, "matrix", entry) for key, value in inputs.items()}
            env = {key: render(value, "inputs", given) for key, value in step["env"].items()}
            (argv,) = run_script(job.folder / f"job-{entry['name']}", step["run"], env)
            command = ci.command.get_command(click.Context(ci.command), argv[2])
            assert argv[:2] == ["force", "ci"]
            assert command
            params = command.make_context("experiment", argv[3:]).params
            called.append((params["wave"], params["name"], params["targets"]))
    assert called == [
        (1, "common-prepare", ("common:prepare",)),
        (2, "common", ("common",)),
        (2, "one", ("one",)),
        (2, "two", ("two",)),
    ]
    assert job.outputs["entries"].split() == [name for _, name, _ in called]


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(step, id=f"{file.name}-{number}")
        for file in read_files(ROOT)
        for number, (_, step) in enumerate(file.steps())
        if re.search(r"\b(force|docker|make) ", step.get("run", ""))
    ],
)
def test_script_executes_nothing_when_its_variables_are_hostile(tmp_path: Path, step: dict[str, Any]) -> None:
    variables = dict.fromkeys(step.get("env", {}), TEXT)
    called = run_script(tmp_path, step["run"], variables)
    assert len(called) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "record", "script.sh"]
    words = TEXT.splitlines()[0].split()
    known = {
        TEXT,
        TEXT.partition("/")[0],
        *words,
        *(f"/t e m p/{name}" for name in ("earlier", "evidence", "out", "results")),
    }
    known.add("/t e m p/attempt/checkpoints")
    assert [word for word in called[0] if word not in known and not re.fullmatch(r"-{0,2}[\w-]*", word)] == []


def test_targets_are_no_options_when_they_look_like_them(tmp_path: Path) -> None:
    step = find_step(read_files(ROOT), "experiment.yml", "force ci experiment")
    variables = {**dict.fromkeys(step["env"], "x"), "WAVE": "1", "TARGETS": "--out=/ -rf"}
    (argv,) = run_script(tmp_path, step["run"], variables)
    command = ci.command.get_command(click.Context(ci.command), argv[2])
    assert command
    assert command.make_context("experiment", argv[3:]).params["targets"] == ("--out=/", "-rf")
