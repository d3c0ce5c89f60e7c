"""The values for Actions Runner Controller: what its chart reads, and a pod as Kubernetes wants it."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipeline.errors import UsageError
from pipeline.runners import Target
from pipeline.scalesets import ScaleSet, render_scale_set

TARGET = Target("https://github.com/lab/digits", "")
SCALE_SET = ScaleSet(TARGET, "ghcr.io/lab/force-runner:1", labels=("gpu", "1e3"), gpus_per_runner=2)
# The values of ours that the templates of gha-runner-scale-set 0.14 read; others it would ignore without a word.
READ_BY_THE_CHART = {
    "githubConfigUrl",
    "githubConfigSecret",
    "runnerScaleSetName",
    "scaleSetLabels",
    "minRunners",
    "maxRunners",
    "template",
}


def read_values(scale_set: ScaleSet) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(render_scale_set(scale_set))
    return values


def find_containers(scale_set: ScaleSet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the engine and the runner of a pod."""
    spec = read_values(scale_set)["template"]["spec"]
    (engine,), (runner,) = spec["initContainers"], spec["containers"]
    return engine, runner


def start_engine(tmp_path: Path, **variables: str) -> str:
    """Run the command of the engine with a dockerd that stands in; return the GPUs that the runner is told."""
    (tmp_path / "dockerd").write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/called\n')
    (tmp_path / "dockerd").chmod(0o755)
    engine, _ = find_containers(SCALE_SET)
    command = [text.replace("/run/force-docker", str(tmp_path)) for text in engine["command"]]
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **variables}
    subprocess.run(command, env=environment, check=True)
    assert (tmp_path / "called").read_text() == f"--host=unix://{tmp_path}/docker.sock --group=123\n"
    return (tmp_path / "gpus").read_text()


def test_values_are_those_that_the_chart_reads() -> None:
    values = read_values(SCALE_SET)
    assert set(values) == READ_BY_THE_CHART
    assert values["scaleSetLabels"] == ["self-hosted", "gpu", "1e3"]
    assert (values["minRunners"], values["maxRunners"]) == (0, 2)
    assert [container["name"] for container in values["template"]["spec"]["containers"]] == ["runner"]


@pytest.mark.parametrize("runtime_class", ["nvidia", ""])
@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_pod_is_sound_when_kubernetes_validates_it(runtime_class: str, version: str) -> None:
    spec = read_values(replace(SCALE_SET, runtime_class=runtime_class))["template"]["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "runner"}, "spec": spec}
    kubernetes_validate.validate(pod, version, strict=True)
    assert ("runtimeClassName" in spec) == bool(runtime_class)
    spec["containers"][0]["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, version, strict=True)


def test_every_mount_has_its_volume() -> None:
    spec = read_values(SCALE_SET)["template"]["spec"]
    mounted = {m["name"] for c in (*spec["initContainers"], *spec["containers"]) for m in c["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}


def test_engine_has_the_gpus_and_sees_paths_as_the_runner_does() -> None:
    engine, runner = find_containers(SCALE_SET)
    assert engine["resources"]["limits"] == {"nvidia.com/gpu": 2}
    assert engine["restartPolicy"] == "Always"
    for mount in runner["volumeMounts"]:
        assert mount in engine["volumeMounts"]
    assert runner["env"][0] == engine["env"][0]
    variables = {variable["name"]: variable["value"] for variable in runner["env"]}
    (data,) = (mount["mountPath"] for mount in runner["volumeMounts"] if mount["name"] == "data")
    kept = [variables[name] for name in ("FORCE_CACHE_DIR", "FORCE_CHECKPOINT_DIR", "PIP_CACHE_DIR")]
    assert kept == [f"{data}/cache", f"{data}/checkpoints", f"{data}/pip"]
    assert runner["securityContext"]["runAsUser"] != 0
    assert "privileged" not in runner["securityContext"]


@pytest.mark.parametrize(
    ("devices", "gpus"), [("GPU-1a,GPU-2b", "GPU-1a,GPU-2b"), ("0,1", "0,1"), ("void", "all"), ("all", "all")]
)
def test_runner_is_told_the_gpus_of_its_pod_when_the_engine_starts(tmp_path: Path, devices: str, gpus: str) -> None:
    assert start_engine(tmp_path, NVIDIA_VISIBLE_DEVICES=devices) == gpus


def test_runner_is_told_all_gpus_when_nothing_says_which(tmp_path: Path) -> None:
    assert start_engine(tmp_path) == "all"


def test_numbers_are_refused_when_they_contradict() -> None:
    with pytest.raises(UsageError, match="--min 3 is more than --max 2"):
        render_scale_set(replace(SCALE_SET, min_runners=3))


@pytest.mark.parametrize("text", ["1e3", "yes", "0x10", "a: b", '"', "# no", "{{ .Values }}", "é\n- x", "~", "1_000"])
def test_text_comes_back_as_it_is_when_yaml_could_take_it_for_something_else(text: str) -> None:
    scale_set = ScaleSet(Target(text, ""), text, name=text, labels=(text,), secret=text, claim=text)
    given = [event for event in yaml.parse(render_scale_set(scale_set)) if getattr(event, "value", None) == text]
    assert [event.style for event in given] == ['"'] * 7  # readers of YAML 1.2 take other plain texts for numbers
