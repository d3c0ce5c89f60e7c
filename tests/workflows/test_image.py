"""The image: built once for what goes into it, pushed to a registry, and used from there by digest."""

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.flows.commands import ENVIRONMENT, wait_until
from tests.workflows.labs import Lab, add_experiments, make_lab

CONFIG = """\
version: 0.1
storage:
  filesystem:
    rootdirectory: {folder}
http:
  addr: 127.0.0.1:{port}
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry on loopback: Debian's docker-registry."""
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(CONFIG.format(folder=folder / "data", port=port))
    server = subprocess.Popen(
        ["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def answers() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    wait_until(answers, "an answer of the registry")
    yield f"127.0.0.1:{port}/lab/stages"
    server.terminate()
    server.wait(timeout=30)


def build(lab: Lab, *args: str) -> dict[str, object]:
    """Run `force image build` and return what it says."""
    done = subprocess.run(
        ["force", "image", "build", "--json", *args], cwd=lab.root, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def inspect(image: str) -> dict[str, object]:
    """Return what the engine knows of an image."""
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, text=True, check=True)
    details: dict[str, object] = json.loads(done.stdout)[0]["Config"]
    return details


def test_an_unchanged_image_is_not_built_again(image: str, tmp_path: Path) -> None:
    lab = make_lab(tmp_path)
    again = build(lab)
    assert (again["image"], again["is_new"]) == (image, False)
    lab.write("common/model.py", "# the code is not in the image\n")
    assert build(lab)["is_new"] is False


def test_an_image_is_labelled_runs_as_nobody_and_has_no_secrets(image: str) -> None:
    config = inspect(image)
    assert config["User"] == "force"
    assert {"force-build.digest", "org.opencontainers.image.title"} <= set(config["Labels"])  # type: ignore[call-overload]
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", image, "python", "-c", "import torch, os; print(os.getuid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "10001\n"
    history = subprocess.run(
        ["docker", "history", "--no-trunc", image], capture_output=True, text=True, check=True
    ).stdout.lower()
    assert "token" not in history
    assert "password" not in history


def test_an_image_is_pushed_once_and_then_taken_from_the_registry(image: str, registry: str, tmp_path: Path) -> None:
    lab = make_lab(tmp_path)
    first = build(lab, "--registry", registry)
    assert str(first["image"]).startswith(f"{registry}@sha256:")
    subprocess.run(["docker", "image", "rm", "--force", str(first["image"])], check=True, capture_output=True)
    second = build(lab, "--registry", registry)
    assert (second["image"], second["is_new"]) == (first["image"], False)


def test_a_push_uses_the_registrys_image_by_digest(image: str, registry: str, tmp_path: Path) -> None:
    lab = make_lab(tmp_path)
    add_experiments(lab)
    lab.commit()
    payload = lab.write_event("workflow_dispatch", {"inputs": {"experiments": "wide"}})
    run = lab.act("workflow_dispatch", payload, "--var", f"FORCE_REGISTRY={registry}")
    assert run.status == 0, run.text
    pushed = run.outputs[run.find("image/build")]["image"]
    assert pushed.startswith(f"{registry}@sha256:")
    folder = run.unzip("experiment-wide", tmp_path / "artifact")
    assert json.loads((folder / "wide/train/run.json").read_text())["image"] == pushed


class _Denying(BaseHTTPRequestHandler):
    """A registry where nothing may be read, as one says of a package that is not there yet."""

    def do_GET(self) -> None:
        is_ping = self.path == "/v2/"
        body = b"{}" if is_ping else b'{"errors": [{"code": "DENIED", "message": "access to the resource is denied"}]}'
        self.send_response(HTTPStatus.OK if is_ping else HTTPStatus.FORBIDDEN)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


def test_an_image_is_built_and_its_push_speaks_when_the_registry_denies_access(image: str, tmp_path: Path) -> None:
    lab = make_lab(tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Denying) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        done = subprocess.run(
            ["force", "ci", "image", "--registry", f"127.0.0.1:{server.server_port}/lab/stages"],
            cwd=lab.root,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        server.shutdown()
    assert done.returncode == 5
    assert "cannot be pushed: " in done.stderr
    assert "denied" in done.stderr


def test_a_broken_build_is_one_line(tmp_path: Path) -> None:
    lab = make_lab(tmp_path)
    dockerfile = lab.root / "docker/train.Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("useradd --create-home", "useradd --no-such-option"))
    done = subprocess.run(
        ["force", "image", "build"], cwd=lab.root, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1].startswith("error: the image cannot be built: ")


def test_a_base_that_cannot_be_pulled_brings_a_hint(tmp_path: Path) -> None:
    lab = make_lab(tmp_path)
    done = subprocess.run(
        ["force", "image", "build", "--base", "127.0.0.1:9/lab/base:1"],
        cwd=lab.root,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1].startswith("hint: --base names an image that is here, --wheelhouse a folder ")
