"""Build images with BuildKit, through Docker's command line: its API knows only the classic builder."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import ToolError
from pipeline.images import ImageInputs, lay_out
from pipeline.tools.process import Child, last_line, run

_UNREACHABLE = (
    "no such host",
    "failed to do request",
    "name resolution",
    "No matching distribution",
    "connection refused",
)
_ELSEWHERE = "--base names an image that is here, --wheelhouse a folder with the wheels; docs/ci.md"


def build_image(inputs: ImageInputs, reference: str, source: str, say: Callable[[str], None]) -> None:
    """Build the image, and call it `reference`. `source` is the address of the repository, for a label.

    Raises ToolError with BuildKit's reason.
    """
    with tempfile.TemporaryDirectory(prefix="force-image-") as name:
        folder = Path(name)
        (folder / "wheelhouse").mkdir()
        for path, target in lay_out(inputs, folder):
            _link(path, target)
        arguments = {**inputs.arguments, "DIGEST": inputs.digest, "SOURCE": source}
        options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        command = [*_find_builder(), *options, "--progress=plain", f"--tag={reference}", str(folder)]
        child = Child(command, folder, {"DOCKER_BUILDKIT": "1"})
        lines = []
        try:
            for line in child.lines():
                say(line)
                lines.append(line)
            status = child.wait()
        except BaseException:
            child.end(patience_s=1.0)
            raise
        if status:
            reason = next((line for line in reversed(lines) if "ERROR" in line or "error" in line), "")
            reason = reason or last_line("\n".join(lines))
            hint = _ELSEWHERE if any(words in line for line in lines for words in _UNREACHABLE) else ""
            raise ToolError(f"the image cannot be built: {reason}", hint)


def _find_builder() -> list[str]:
    """Return the command of the first docker on PATH that can use BuildKit: newer ones need the plugin buildx."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    clients = dict.fromkeys(path for folder in folders if (path := shutil.which("docker", path=folder)))
    for client in clients:
        if run([client, "buildx", "version"], Path.cwd(), check=False).returncode == 0:
            return [client, "buildx", "build", "--load"]
    for client in clients:
        version = run([client, "--version"], Path.cwd(), check=False).stdout
        if _major(version) < 23:  # from then on, `docker build` is buildx
            return [client, "build"]
    if not clients:
        raise ToolError("'docker' is not on PATH", "install Docker; `force doctor --runner` says what else is missing")
    raise ToolError("this docker has no BuildKit: its plugin buildx is missing", "install docker-buildx-plugin")


def _major(version: str) -> int:
    """Return the first number of what `docker --version` prints.

    >>> _major("Docker version 20.10.24+dfsg1, build 297e128")
    20
    """
    words = version.partition("version ")[2].split(".")
    return int(words[0]) if words and words[0].isdigit() else 0


def _link(path: Path, target: Path) -> None:
    """Make a file appear at `target` without copying it where the file system allows."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copy2(path, target)
