"""Speak the artifact protocol of GitHub Actions, version 4, to the server that act starts.

The same file stands beside each stand-in: act gives a step nothing but the folder of its own action.
"""

import base64
import hashlib
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

FORBIDDEN_IN_PATHS = '":<>|*?\r\n'
FORBIDDEN_IN_NAMES = FORBIDDEN_IN_PATHS + "\\/"
SERVICE = "twirp/github.actions.results.api.v1.ArtifactService"
BLOCK_BYTES = 8 << 20
# The server is this machine: a proxy must not come between.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ActionError(Exception):
    """What makes the step fail."""


@dataclass(frozen=True)
class Artifact:
    """What the server says of an artifact; act's does not know digests."""

    name: str
    number: int
    digest: str


class ArtifactServer:
    """The artifacts of this run."""

    def __init__(self) -> None:
        try:
            self._url = f"{os.environ['ACTIONS_RESULTS_URL'].rstrip('/')}/{SERVICE}"
            self._token = os.environ["ACTIONS_RUNTIME_TOKEN"]
        except KeyError:
            raise ActionError("there is no artifact server: start act with --artifact-server-path") from None
        run, job = _read_scope(self._token)
        # To act every run is number 1, and its server shows what earlier runs left. What differs from run to run is
        # the address of its cache server.
        cache = os.environ.get("ACTIONS_CACHE_URL", "")
        if cache:
            run = str(int(hashlib.sha256(f"{run} {cache}".encode()).hexdigest()[:12], 16))
        self._scope = {"workflow_run_backend_id": run, "workflow_job_run_backend_id": job}
        self._make_run(f"?{job}-{os.getpid()}")

    def list_artifacts(self) -> list[Artifact]:
        """Return the artifacts of this run, by name."""
        entries = self._call("ListArtifacts").get("artifacts", [])
        return sorted(
            (
                Artifact(entry["name"], int(entry["databaseId"]), entry.get("digest", ""))
                for entry in entries
                if not set(entry["name"]) & set(FORBIDDEN_IN_NAMES)
            ),
            key=lambda artifact: artifact.name,
        )

    def delete(self, name: str) -> None:
        """Delete an artifact, if there is one of the name."""
        self._call("DeleteArtifact", name=name)

    def upload(self, name: str, path: Path, digest: str) -> int:
        """Upload a zip block by block and return the artifact's number."""
        url = self._call("CreateArtifact", name=name, version=4)["signedUploadUrl"]
        blocks = []
        with path.open("rb") as stream:
            while data := stream.read(BLOCK_BYTES):
                blocks.append(base64.b64encode(f"{len(blocks):032d}".encode()).decode())
                self._send("PUT", f"{url}&comp=block&blockid={blocks[-1]}", data)
        listed = "".join(f"<Latest>{block}</Latest>" for block in blocks)
        self._send("PUT", f"{url}&comp=blocklist", f"<BlockList>{listed}</BlockList>".encode())
        answer = self._call("FinalizeArtifact", name=name, size=str(path.stat().st_size), hash=f"sha256:{digest}")
        return int(answer["artifactId"])

    def download(self, name: str, path: Path) -> str:
        """Write an artifact's zip to a file and return its SHA-256."""
        url = self._call("GetSignedArtifactURL", name=name)["signedUrl"]
        path.write_bytes(b"")
        with path.open("ab") as stream:
            self._send("GET", url, None, stream.write)
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def _make_run(self, probe: str) -> None:
        """Let the server make the run's folder: act's breaks down when it lists a run that has none yet."""
        self._call("CreateArtifact", name=probe, version=4)
        self._call("DeleteArtifact", name=probe)

    def _call(self, method: str, **fields: Any) -> dict[str, Any]:
        body = json.dumps({**self._scope, **fields}).encode()
        answer: dict[str, Any] = json.loads(self._send("POST", f"{self._url}/{method}", body))
        return answer

    def _send(self, verb: str, url: str, data: bytes | None, write: Callable[[bytes], Any] | None = None) -> bytes:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(url, data, headers, method=verb)
        what = url.partition("?")[0].rpartition("/")[2]
        try:
            with _OPENER.open(request) as answer:
                if write is None:
                    return bytes(answer.read())
                while chunk := answer.read(BLOCK_BYTES):
                    write(chunk)
                return b""
        except (urllib.error.URLError, HTTPException, ConnectionError) as error:
            raise ActionError(f"the artifact server failed at {what}: {error}") from None


def read_input(name: str) -> str:
    """Return an input of the action, without blanks around it."""
    return os.environ.get(f"INPUT_{name.upper().replace('-', '_')}", "").strip()


def read_flag(name: str) -> bool:
    """Return an input that is true or false."""
    value = read_input(name)
    if value not in ("true", "True", "TRUE", "false", "False", "FALSE"):
        raise ActionError(f"'{name}' is '{value}'; wanted true or false")
    return value.lower() == "true"


def read_choice(name: str, choices: tuple[str, ...]) -> str:
    """Return an input that is one of several words."""
    value = read_input(name)
    if value not in choices:
        raise ActionError(f"'{name}' is '{value}'; wanted {', '.join(choices)}")
    return value


def write_output(name: str, value: object) -> None:
    """Set an output of the step."""
    with open(os.environ["GITHUB_OUTPUT"], "a") as stream:
        stream.write(f"{name}={value}\n")


def announce(kind: str, text: str) -> None:
    """Print an annotation: error, warning, notice."""
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    print(f"::{kind}::{escaped}", flush=True)


def run(action: Callable[[], None]) -> None:
    """Run an action to its end; what goes wrong is an annotation, and the step fails."""
    try:
        action()
    except (ActionError, OSError) as error:
        announce("error", str(error))
        sys.exit(1)


def _read_scope(token: str) -> tuple[str, str]:
    """Return the numbers of run and job that a token is for."""
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    scopes = [scope.split(":") for scope in claims["scp"].split()]
    run, job = next(scope[1:3] for scope in scopes if scope[0] == "Actions.Results")
    return run, job
