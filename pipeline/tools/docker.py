"""The Docker engine: start, follow and end containers through its API. Images are built in `pipeline.tools.buildkit`.

Imported by name where a container is really started: the SDK takes a quarter of a second to load.
"""

import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from docker.errors import DockerException, ImageNotFound, NotFound
from docker.types import DeviceRequest
from docker.utils.socket import frames_iter
from requests.exceptions import RequestException

import docker
from pipeline.containers import ContainerSpec
from pipeline.errors import ToolError, find_reason
from pipeline.tools.process import run

_GIB = 2**30
_MAX_PROCESSES = 4096
# What registries say of a name that they do not know, where the SDK makes no NotFound of it. Some deny access to what
# is not there yet: whether it may be pushed shows when it is.
_UNKNOWN = ("manifest unknown", "name unknown", "not found", "name invalid", "denied")
_FAULTS = (DockerException, RequestException)  # a time-out is none of Docker's own


class Engine:
    """The Docker engine that the environment names (DOCKER_HOST), by default the one of this machine."""

    def __init__(self) -> None:
        try:
            self._client = docker.from_env(timeout=120)
            self._client.ping()
        except _FAULTS as error:
            place = os.environ.get("DOCKER_HOST") or "/var/run/docker.sock"
            message = f"no Docker engine answers at {place}: {find_reason(error)}"
            raise ToolError(message, "start it, or set DOCKER_HOST; force doctor --runner") from None
        self._api = self._client.api

    def close(self) -> None:
        """Close the connections to the engine."""
        self._client.close()

    def find_image(self, reference: str) -> str:
        """Return the digest of an image, pulled where it is not here; of one that no registry knows, its id.

        Raises ToolError where there is none.
        """
        try:
            image = self._client.images.get(reference)
        except ImageNotFound:
            try:
                image = self._client.images.pull(reference)
            except _FAULTS as error:
                message = f"there is no image '{reference}' here, and it cannot be pulled: {_explain(error)}"
                raise ToolError(message, "force image build") from None
        except _FAULTS as error:
            raise ToolError(f"'{reference}' is no image: {_explain(error)}", "force image build") from None
        digests: list[str] = image.attrs.get("RepoDigests") or []
        repository = reference.partition("@")[0] if "@" in reference else reference.rpartition(":")[0]
        own = [digest for digest in digests if digest.startswith(f"{repository.removeprefix('docker.io/')}@")]
        return str([*own, image.id][0])

    def has_image(self, reference: str) -> bool:
        """Say whether an image is on this machine."""
        try:
            self._client.images.get(reference)
        except _FAULTS:
            return False
        return True

    def find_pushed(self, reference: str) -> str | None:
        """Return the digest that a registry knows a reference by, None where it knows none.

        Raises ToolError where the registry cannot be asked.
        """
        try:
            digest = str(self._client.images.get_registry_data(reference).id)
        except NotFound:
            return None
        except _FAULTS as error:
            if any(words in str(error) for words in _UNKNOWN):
                return None
            hint = f"docker login {reference.partition('/')[0]}"
            raise ToolError(f"the registry of '{reference}' does not answer: {_explain(error)}", hint) from None
        return f"{reference.rpartition(':')[0]}@{digest}"

    def push(self, reference: str) -> str:
        """Push an image; return repository@digest. Raises ToolError with the registry's reason."""
        repository, _, tag = reference.rpartition(":")
        try:
            for line in self._client.images.push(repository, tag=tag, stream=True, decode=True):
                if "error" in line:
                    raise ToolError(f"'{reference}' cannot be pushed: {line['error']}", "docker login")
        except _FAULTS as error:
            raise ToolError(f"'{reference}' cannot be pushed: {_explain(error)}", "docker login") from None
        pushed = self.find_pushed(reference)
        if pushed is None:
            raise ToolError(f"'{reference}' was pushed, but the registry does not know it")
        return pushed

    def create(self, spec: ContainerSpec, user: str) -> "Container":
        """Create a container, not started yet. Raises ToolError where the engine refuses it."""
        params = spec.params
        try:
            host_config = self._api.create_host_config(
                binds=spec.binds,
                network_mode=params.network,
                shm_size=int(params.shm_gib * _GIB),
                mem_limit=int(params.memory_gib * _GIB) if params.memory_gib else None,
                device_requests=_request_gpus(params.gpus),
                init=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                pids_limit=_MAX_PROCESSES,
            )
            created = self._api.create_container(
                spec.image,
                list(spec.args),
                user=user,
                working_dir=str(spec.folder),
                environment=dict(spec.variables),
                labels=dict(spec.labels),
                stdin_open=True,  # attached, and closed with our end of it: the lifeline of the process inside
                host_config=host_config,
            )
        except _FAULTS as error:
            raise ToolError(f"docker cannot make a container: {_explain(error)}") from None
        return Container(self._api, created["Id"])

    def reap(self, labels: Mapping[str, str]) -> list[str]:
        """End and remove every container with all these labels; return their names."""
        names = []
        wanted = [f"{key}={value}" for key, value in labels.items()]
        for found in self._client.containers.list(all=True, filters={"label": wanted}):
            with suppress(*_FAULTS):  # it may be going just now
                found.remove(force=True)
                names.append(str(found.name))
        return names


class Container:
    """A container whose lifeline is its standard input, followed line by line like a `Child`."""

    def __init__(self, api: Any, container_id: str) -> None:
        self._api = api
        self._id = container_id
        self._status: int | None = None
        streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        self._socket = api.attach_socket(container_id, streams)
        self._connection = self._socket._sock
        self._connection.settimeout(None)  # a stage may be silent for hours

    def start(self) -> None:
        """Start it. Raises ToolError where the engine cannot, as with GPUs that are not there."""
        try:
            self._api.start(self._id)
        except _FAULTS as error:
            self._remove()
            raise ToolError(f"docker cannot start the container: {_explain(error)}", "force doctor --runner") from None

    def inspect(self) -> dict[str, Any]:
        """Return what the engine says of it."""
        details: dict[str, Any] = self._api.inspect_container(self._id)
        return details

    def lines(self) -> Iterator[str]:
        """Yield each line of output, without its end, until the container closes it."""
        waiting = b""
        for _, chunk in frames_iter(self._socket, tty=False):  # type: ignore[no-untyped-call]
            *whole, waiting = (waiting + chunk).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
        if waiting:
            yield waiting.decode(errors="replace")

    def wait(self) -> int:
        """Wait for the end, remove it, and return the exit status, minus the signal's number where one ended it."""
        if self._status is None:
            status = int(self._api.wait(self._id, timeout=None)["StatusCode"])
            self._status = -9 if status == 137 else status
            self._remove()
        return self._status

    def cut_lifeline(self) -> None:
        """Ask the process inside to end."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)  # our writing half: what it prints can still be read

    def end(self, patience_s: float = 10.0) -> None:
        """Cut the lifeline and wait; what is still there after `patience_s` seconds is killed."""
        self.cut_lifeline()
        with suppress(*_FAULTS):
            self._api.wait(self._id, timeout=patience_s)
        self._remove()

    def _remove(self) -> None:
        with suppress(*_FAULTS):
            self._api.remove_container(self._id, force=True)
        with suppress(OSError):
            self._socket.close()
            self._connection.close()


def _request_gpus(gpus: str | tuple[int, ...]) -> list[DeviceRequest] | None:
    """Return what to ask of the engine; `auto` asks for what FORCE_GPUS says, else for all where the machine has some.

    FORCE_GPUS is the runner's share of its machine: all, none, or indices or UUIDs separated by commas.
    """
    share = gpus if isinstance(gpus, str) else ",".join(map(str, gpus))
    if share == "auto":
        share = os.environ.get("FORCE_GPUS") or ("all" if _has_gpus() else "none")
    if share == "none":
        return None
    if share == "all":
        return [DeviceRequest(count=-1, capabilities=[["gpu"]])]
    return [DeviceRequest(device_ids=[name.strip() for name in share.split(",")], capabilities=[["gpu"]])]


def _has_gpus() -> bool:
    if shutil.which("nvidia-smi") is None:
        return False
    listed = run(["nvidia-smi", "--list-gpus"], Path.cwd(), check=False)
    return listed.returncode == 0 and "GPU" in listed.stdout


def _explain(error: Exception) -> str:
    """Return the engine's own words, in one line."""
    text = getattr(error, "explanation", None) or str(error)
    return " ".join(str(text).split())
