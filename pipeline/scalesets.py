"""Render the values with which Actions Runner Controller makes runners on Kubernetes: one pod for each job.

A pod has the runner and beside it a Docker engine of its own, which has the GPUs: `force run --docker` works as it does
on a machine. Only text: nothing is installed.
"""

from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.errors import UsageError
from pipeline.runners import Target

_WORK_DIR = "/home/runner/_work"
_SOCKET_DIR = "/run/force-docker"
_DATA_DIR = "/force"
_RUNNER_ID = 1001  # user and group in the image, as in the runner's official one
_DOCKER_GROUP = 123
# A privileged container sees every GPU of its node; which ones are this pod's is said in the variable alone.
_START_ENGINE = f"""\
case "${{NVIDIA_VISIBLE_DEVICES:-}}" in
  GPU-*|MIG-*|[0-9]*) gpus=$NVIDIA_VISIBLE_DEVICES ;;
  *) gpus=all ;;
esac
printf %s "$gpus" > {_SOCKET_DIR}/gpus
exec dockerd --host=unix://{_SOCKET_DIR}/docker.sock --group={_DOCKER_GROUP}
"""
_VALUES_HEADER = """\
# Made by `force runner kubernetes`, for the chart gha-runner-scale-set of Actions Runner Controller 0.14 or newer
# (scaleSetLabels) on Kubernetes 1.29 or newer (sidecars). docs/runners.md says what has to be there before:
#   helm install NAME oci://ghcr.io/actions/actions-runner-controller-charts/gha-runner-scale-set --values THIS_FILE
"""


@dataclass(frozen=True)
class ScaleSet:
    """Runners that Actions Runner Controller makes on Kubernetes, one pod a job."""

    target: Target
    image: str  # with the runner, Python, a Docker engine and NVIDIA's container toolkit
    name: str = "force-gpu"
    labels: tuple[str, ...] = ("gpu",)
    min_runners: int = 0
    max_runners: int = 2
    gpus_per_runner: int = 1
    secret: str = "force-runner-github"
    claim: str = "force-runner-data"
    runtime_class: str = "nvidia"  # "" where it is the nodes' default


class _Quoted(str):
    """A text that stands in quotes, so that no reader of YAML takes it for anything else."""


class _Block(str):
    """A text of lines, as they are."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(_Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, '"'))
_Dumper.add_representer(_Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, "|"))


def render_scale_set(scale_set: ScaleSet) -> str:
    """Return a values.yaml for the chart gha-runner-scale-set. Raises UsageError where the numbers contradict."""
    if scale_set.min_runners > scale_set.max_runners:
        message = f"--min {scale_set.min_runners} is more than --max {scale_set.max_runners}"
        raise UsageError(message, f"--max {scale_set.min_runners}")
    values = {
        "githubConfigUrl": _Quoted(scale_set.target.url),
        "githubConfigSecret": _Quoted(scale_set.secret),
        "runnerScaleSetName": _Quoted(scale_set.name),
        "scaleSetLabels": [_Quoted(label) for label in ("self-hosted", *scale_set.labels)],
        "minRunners": scale_set.min_runners,
        "maxRunners": scale_set.max_runners,
        "template": {"spec": _build_pod(scale_set)},
    }
    return _VALUES_HEADER + yaml.dump(values, Dumper=_Dumper, sort_keys=False, width=120)


def _build_pod(scale_set: ScaleSet) -> dict[str, Any]:
    """Return the spec of a runner's pod: the runner, and beside it a Docker engine that has the GPUs.

    The chart's own `containerMode: dind` gives the engine neither GPUs nor NVIDIA's toolkit. What both mount, they
    mount at one path: the engine is given paths as the runner sees them.
    """
    shared = [
        {"name": "work", "mountPath": _WORK_DIR},
        {"name": "data", "mountPath": _DATA_DIR},
        {"name": "docker-socket", "mountPath": _SOCKET_DIR},
    ]
    docker_host = {"name": "DOCKER_HOST", "value": f"unix://{_SOCKET_DIR}/docker.sock"}
    engine = {
        "name": "dind",
        "image": _Quoted(scale_set.image),
        "command": ["sh", "-c", _Block(_START_ENGINE)],
        "restartPolicy": "Always",  # a sidecar: it is there before the runner, and does not keep the pod from ending
        "env": [docker_host],
        "securityContext": {"privileged": True},
        "startupProbe": {"exec": {"command": ["docker", "info"]}, "periodSeconds": 5, "failureThreshold": 24},
        "resources": {"limits": {"nvidia.com/gpu": scale_set.gpus_per_runner}},
        "volumeMounts": [*shared, {"name": "docker-images", "mountPath": "/var/lib/docker"}],
    }
    runner = {
        "name": "runner",
        "image": _Quoted(scale_set.image),
        "command": ["sh", "-c", f"FORCE_GPUS=$(cat {_SOCKET_DIR}/gpus) exec /home/runner/run.sh"],
        "env": [
            docker_host,
            {"name": "FORCE_CACHE_DIR", "value": f"{_DATA_DIR}/cache"},
            {"name": "FORCE_CHECKPOINT_DIR", "value": f"{_DATA_DIR}/checkpoints"},
            {"name": "PIP_CACHE_DIR", "value": f"{_DATA_DIR}/pip"},
            {"name": "RUNNER_MANUALLY_TRAP_SIG", "value": "1"},
        ],
        "securityContext": {"runAsUser": _RUNNER_ID, "runAsGroup": _RUNNER_ID},
        "volumeMounts": shared,
    }
    runtime = {"runtimeClassName": _Quoted(scale_set.runtime_class)} if scale_set.runtime_class else {}
    return {
        **runtime,
        "securityContext": {"fsGroup": _RUNNER_ID, "supplementalGroups": [_DOCKER_GROUP]},
        "nodeSelector": {"nvidia.com/gpu.present": "true"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "initContainers": [engine],
        "containers": [runner],
        "volumes": [
            *({"name": name, "emptyDir": {}} for name in ("work", "docker-socket", "docker-images")),
            {"name": "data", "persistentVolumeClaim": {"claimName": _Quoted(scale_set.claim)}},
        ],
    }
