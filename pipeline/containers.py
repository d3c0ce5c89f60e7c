"""What the params say of the containers that stages run in, and what a container is to be. Starts none.

The section `container` of the params is no part of any stage's inputs: other limits give the same result.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECTION = "container"
# `force run --docker` names the image here, for the `force stage` that DVC starts.
IMAGE_VARIABLE = "FORCE_CONTAINER_IMAGE"
# Labels: by these, containers that somebody left are found.
WORKSPACE_LABEL = "force-build.workspace"
JOB_LABEL = "force-build.job"
JOB_VARIABLE = "FORCE_JOB"  # names the job of a workflow that containers belong to

# A folder of data: neither the whole machine nor where its sockets and devices are.
_MOUNT = r"^/(?!(?:(?:var/)?run|proc|sys|dev)(?:/|$)|$)(?!.*//)(?!.*/\.{1,2}(?:/|$))(?!/)(?!\.{1,2}(?:/|$))"

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "network": {"enum": ["none", "bridge", "host"]},
        "gpus": {
            "anyOf": [
                {"enum": ["auto", "all", "none"]},
                {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}},
            ]
        },
        "shm_gib": {"type": "number", "exclusiveMinimum": 0},
        "memory_gib": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]},
        "mounts": {"type": "array", "items": {"type": "string", "pattern": _MOUNT, "examples": ["/data/digits"]}},
    },
}


@dataclass(frozen=True)
class ContainerParams:
    """The section `container`."""

    network: str = "none"
    gpus: str | tuple[int, ...] = "auto"  # auto: all there are; or the indices of some
    shm_gib: float = 2.0
    memory_gib: float | None = None
    mounts: tuple[str, ...] = ()  # folders of this machine that stages may read


@dataclass(frozen=True)
class ContainerSpec:
    """A container to start. Folders keep their paths inside, so that messages name files of this machine."""

    image: str
    args: tuple[str, ...]
    folder: Path  # to work in
    params: ContainerParams
    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def binds(self) -> list[str]:
        """The folders in the form that Docker takes; a writable one may stand inside a readable one."""
        modes = dict.fromkeys(self.readable, "ro") | dict.fromkeys(self.writable, "rw")
        return [f"{path}:{path}:{mode}" for path, mode in sorted(modes.items())]


def read_params(section: Mapping[str, Any]) -> ContainerParams:
    """Return the params of a section that its schema found sound.

    >>> read_params({"gpus": [0, 1], "mounts": ["/data"]}).gpus
    (0, 1)
    """
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in section.items()}
    return ContainerParams(**values)


def build_labels(root: Path, experiment: str, stage: str) -> dict[str, str]:
    """Return the labels of a stage's container."""
    labels = {WORKSPACE_LABEL: str(root), "force-build.experiment": experiment, "force-build.stage": stage}
    job = os.environ.get(JOB_VARIABLE)
    return {**labels, JOB_LABEL: job} if job else labels
