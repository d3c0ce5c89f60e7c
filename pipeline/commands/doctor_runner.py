"""`force doctor --runner`: what a machine that takes jobs lacks beyond what every machine needs, and what mends it.

Everything is tried as a job would do it: a build, a file in each folder, an object in the remote.
"""

import getpass
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

from pipeline.findings import Finding
from pipeline.project import Project
from pipeline.tools.process import last_line, run

PATIENCE_S = 30
MAX_SKEW_S = 30
_INSTALL_TOOLKIT = (
    "sudo apt-get install nvidia-container-toolkit && sudo nvidia-ctk runtime configure --runtime=docker "
    "&& sudo systemctl restart docker"
)
_CACHE = ("FORCE_CACHE_DIR", "every job fetches or runs everything again")
_CHECKPOINTS = ("FORCE_CHECKPOINT_DIR", "a job that runs again starts from the beginning")


@dataclass(frozen=True)
class RunnerOptions:
    """What is expected of the machine."""

    labels: tuple[str, ...]
    min_free_gib: float
    is_remote_read_only: bool


def check_runner(project: Project, options: RunnerOptions) -> list[Finding]:
    """Return what was found on a machine that is to take jobs."""
    has_gpu = "gpu" in options.labels
    return [
        _check_curl(),
        _check_driver(project.root, has_gpu),
        *_check_docker(project.root, has_gpu, options.min_free_gib),
        _check_remote(project, options.is_remote_read_only),
        *(_check_folder(project.root, variable, without) for variable, without in (_CACHE, _CHECKPOINTS)),
        _check_clock(os.environ.get("GITHUB_API_URL") or "https://api.github.com"),
    ]


@dataclass(frozen=True)
class _Answer:
    """What a program said."""

    is_fine: bool
    out: str
    reason: str  # why it is not fine


def _ask(args: list[str], root: Path) -> _Answer:
    """Run a program that may hang, as drivers and engines do when they are broken."""
    done = run(["timeout", "--kill-after=5", str(PATIENCE_S), *args], root, check=False)
    reason = last_line(done.stderr) or last_line(done.stdout) or f"'{args[0]}' ends with {done.returncode}"
    if done.returncode in (124, 137):
        reason = f"no answer within {PATIENCE_S} s"
    return _Answer(done.returncode == 0, done.stdout, reason)


def _check_curl() -> Finding:
    path = shutil.which("curl")
    return Finding("curl on PATH", path is not None, path or "not found", "" if path else "sudo apt-get install curl")


def _check_driver(root: Path, has_gpu: bool) -> Finding:
    if shutil.which("nvidia-smi") is None:
        text = "no nvidia-smi on PATH" + ("" if has_gpu else "; the runner has no label gpu")
        return Finding("NVIDIA driver", not has_gpu, text, "sudo apt-get install nvidia-driver" if has_gpu else "")
    answer = _ask(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"], root)
    gpus = [line.strip() for line in answer.out.splitlines() if line.strip()]
    if not (answer.is_fine and gpus):
        reason = "it lists no GPU" if answer.is_fine else answer.reason
        mend = "sudo apt-get install --reinstall nvidia-driver, then reboot"
        return Finding("NVIDIA driver", False, f"nvidia-smi fails: {reason}", mend)
    return Finding("NVIDIA driver", True, f"{len(gpus)}: {'; '.join(gpus)}")


def _check_docker(root: Path, has_gpu: bool, min_free_gib: float) -> list[Finding]:
    if shutil.which("docker") is None:
        return [Finding("Docker engine", False, "no docker on PATH", "sudo apt-get install docker.io")]
    answer = _ask(["docker", "info", "--format", "{{json .}}"], root)
    engine = _parse_engine(answer.out)
    if not engine.get("ServerVersion"):
        return [_explain_engine(next(iter(engine.get("ServerErrors") or []), answer.reason))]
    is_rootless = any("rootless" in option for option in engine.get("SecurityOptions") or [])
    trust = "rootless" if is_rootless else "not rootless: who may use it is root here"
    findings = [Finding("Docker engine", True, f"{engine['ServerVersion']}, as {getpass.getuser()}; {trust}")]
    findings += [_check_engine_disk(Path(engine["DockerRootDir"]), min_free_gib), _check_buildkit(root)]
    return [*findings, _check_toolkit(engine)] if has_gpu else findings


def _parse_engine(text: str) -> dict[str, Any]:
    try:
        engine = json.loads(text)
    except ValueError:
        return {}
    return engine if isinstance(engine, dict) else {}


def _explain_engine(reason: str) -> Finding:
    """Return the finding for an engine that does not answer."""
    if "permission denied" in reason.lower():
        mend = f"sudo usermod --append --groups docker {getpass.getuser()}, then log in again"
        return Finding("Docker engine", False, f"{getpass.getuser()} may not use it without sudo", mend)
    return Finding("Docker engine", False, reason, "sudo systemctl enable --now docker")


def _check_engine_disk(folder: Path, min_free_gib: float) -> Finding:
    try:
        free_gib = shutil.disk_usage(folder).free / 2**30
    except OSError:
        return Finding("disk of Docker", True, f"not checked: {folder} is not seen from here")
    text = f"{free_gib:.0f} GiB free at {folder}, {min_free_gib:.0f} wanted"
    is_fine = free_gib >= min_free_gib
    return Finding("disk of Docker", is_fine, text, "" if is_fine else "docker system prune --all --filter until=168h")


def _check_buildkit(root: Path) -> Finding:
    """Build an image that is kept nowhere, with each client on PATH until one can; --output is BuildKit's alone."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    clients = dict.fromkeys(path for folder in folders if (path := shutil.which("docker", path=folder)))
    reason = ""
    with tempfile.TemporaryDirectory(prefix="force-doctor-") as name:
        Path(name, "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
        build = ["build", "--quiet", f"--output=type=local,dest={name}/out", name]
        for client in clients:
            answer = _ask(["env", "DOCKER_BUILDKIT=1", client, *build], root)
            if answer.is_fine:
                return Finding("BuildKit", True, f"builds with {client}")
            reason = reason or f"{client} does not build: {answer.reason}"
    return Finding("BuildKit", False, reason, "sudo apt-get install docker-buildx-plugin (Debian's: docker-buildx)")


def _check_toolkit(engine: Mapping[str, Any]) -> Finding:
    """Look for what lets `--gpus` work: the runtime, the hook that the engine finds by itself, or CDI devices."""
    found = [f"runtime {name}" for name in engine.get("Runtimes") or {} if "nvidia" in name]
    devices = [str(device.get("ID")) for device in engine.get("DiscoveredDevices") or []]
    found += [f"CDI device {device}" for device in devices if device.startswith("nvidia.com/gpu")]
    for folder in engine.get("CDISpecDirs") or []:
        found += [f"CDI {path}" for path in sorted(Path(folder).glob("*nvidia*"))]
    hook = shutil.which("nvidia-container-runtime-hook")
    found += [f"hook {hook}"] if hook else []
    if not found:
        text = "the engine has neither the runtime nvidia nor CDI devices"
        return Finding("NVIDIA container toolkit", False, text, _INSTALL_TOOLKIT)
    return Finding("NVIDIA container toolkit", True, ", ".join(found))


# Through DVC's own file systems, with the settings of the remote; a process of its own, as DVC takes a second to load.
_PROBE = """
import os, sys
from dvc.repo import Repo
root, url, mode = sys.argv[1:]
with Repo(root) as repo:
    name = repo.config["core"].get("remote") or "storage"
with Repo(root, config={"remote": {name: {"url": url}}}) as repo:
    remote = repo.cloud.get_remote(name)
    if mode == "read":
        remote.fs.ls(remote.path)
    else:
        path = remote.fs.join(remote.path, f".force-doctor-{os.getpid()}")
        remote.fs.pipe_file(path, b"force doctor")
        try:
            remote.fs.rm_file(path)
        except Exception:
            print(f"; {path} stays: nothing may be deleted")
"""


def _check_remote(project: Project, is_read_only: bool) -> Finding:
    check = "DVC remote, tried"
    url = os.environ.get("FORCE_REMOTE_URL") or project.cache.remote_url
    if not url:
        return Finding(check, False, "none is configured", "dvc remote add --default storage URL")
    mode = "read" if is_read_only else "write"
    if "://" not in url:
        folder = (project.root / ".dvc" / url).resolve()
        if not folder.exists() and not is_read_only:  # the first push makes it
            folder = next(parent for parent in folder.parents if parent.is_dir())
        reason, mend = _try_folder(folder, mode)
        return Finding(check, not reason, reason or f"{folder}: {mode} works", mend)
    answer = _ask([sys.executable, "-P", "-c", _PROBE, str(project.root), url, mode], project.root)
    if not answer.is_fine:
        return Finding(check, False, f"{url}: {answer.reason}", "dvc push --verbose, for the whole reason")
    return Finding(check, True, f"{url}: {mode} works{answer.out.rstrip()}")


def _try_folder(folder: Path, mode: str) -> tuple[str, str]:
    """Return why a folder cannot be used, and the command that mends it; two empty texts where it can."""
    mend = f"sudo install -d -o {getpass.getuser()} {shlex.quote(str(folder))}"
    if not folder.is_dir():
        return f"{folder} is not there", mend
    try:
        if mode == "read":
            os.listdir(folder)
        else:
            with tempfile.NamedTemporaryFile(prefix=".force-doctor-", dir=folder):
                pass
    except OSError as error:
        return f"{folder}: {mode} fails: {error.strerror}", mend
    return "", ""


def _check_folder(root: Path, variable: str, without: str) -> Finding:
    value = os.environ.get(variable)
    if not value:
        return Finding(variable, True, f"not set: {without}")
    folder = Path(value)
    if not folder.is_absolute():
        return Finding(variable, False, f"'{value}' is no absolute path", f"{variable}=/var/lib/force-runner/…")
    reason, mend = _try_folder(folder, "write")
    if reason:
        return Finding(variable, False, reason, mend)
    text = f"{folder}, {shutil.disk_usage(folder).free / 2**30:.0f} GiB free"
    if variable == _CACHE[0] and folder.stat().st_dev != root.stat().st_dev:
        text += "; not the file system of the checkout: DVC copies files instead of linking them"
    return Finding(variable, True, text)


def _check_clock(url: str) -> Finding:
    """Compare our clock with the API's: tokens, TLS and what is fresh in a cache depend on it."""
    try:
        request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "force-doctor"})
        date = _read_date(request)
        skew_s = time.time() - parsedate_to_datetime(date).timestamp()
    except (OSError, HTTPException, ValueError, TypeError) as error:
        return Finding("clock", False, f"not checked: {url} does not answer: {error}", f"curl --head {url}")
    is_fine = abs(skew_s) <= MAX_SKEW_S
    text = f"{abs(skew_s):.0f} s {'after' if skew_s < 0 else 'ahead of'} {url}"
    return Finding("clock", is_fine, text, "" if is_fine else "sudo timedatectl set-ntp true")


def _read_date(request: urllib.request.Request) -> str:
    """Return the date that a server says it is, whatever else it answers."""
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.headers["Date"])
    except urllib.error.HTTPError as error:
        with error:
            return str(error.headers["Date"])
