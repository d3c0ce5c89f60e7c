"""`force doctor`; that it finds any damage is in test_dvccache.py."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.commands import doctor_runner
from tests.checkouts import ROOT, Checkout, Ended
from tests.recorded import override, read_lock, record

pytestmark = pytest.mark.slow

Findings = dict[str, dict[str, Any]]
CACHE = "DVC cache"


@pytest.fixture
def recorded(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A checkout in which nothing is amiss, on a machine where the environment is activated."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    checkout.experiment("x", model=override("model"))
    record(checkout)
    return checkout


def examine(force: Callable[..., Ended], *args: str) -> tuple[int, Findings]:
    """Return the exit status and the findings by check."""
    ended = force("doctor", "--json", *args)
    return ended.status, {finding["check"]: finding for finding in json.loads(ended.out)}


def object_of(checkout: Checkout, experiment: str, stage: str, out: str) -> Path:
    (entry,) = (entry for entry in read_lock(checkout, experiment)[stage]["outs"] if entry["path"] == out)
    return checkout.project().cache.object_path(entry["md5"])


def test_everything_is_fine_when_nothing_is_amiss(recorded: Checkout, force: Callable[..., Ended]) -> None:
    status, findings = examine(force)
    machine = {"free disk space", "GPU"}
    assert [f for name, f in findings.items() if name not in machine and not f["is_fine"]] == []
    assert findings["experiments"]["text"] == "2 are sound"
    assert findings["generated files"]["text"] == "as they should be"
    assert status == (0 if all(findings[name]["is_fine"] for name in machine) else 5)


def test_checks_are_a_table_when_people_ask(recorded: Checkout, force: Callable[..., Ended]) -> None:
    lines = force("doctor").out.splitlines()
    assert lines[0].split() == ["check", "found", "mend", "with"]
    assert any(line.split()[:2] == ["experiments", "fine"] for line in lines)


def test_the_mending_command_is_named_when_a_generated_file_drifted(
    recorded: Checkout, force: Callable[..., Ended]
) -> None:
    recorded.write("experiments/x/dvc.yaml", "stages: {}\n")
    status, findings = examine(force)
    assert status == 5
    assert findings["generated files"] == {
        "check": "generated files",
        "is_fine": False,
        "text": "experiments/x/dvc.yaml",
        "mend": "force sync",
    }


def test_faults_are_found_when_an_experiment_is_not_sound(recorded: Checkout, force: Callable[..., Ended]) -> None:
    recorded.experiment("y", "colour: red\n")
    status, findings = examine(force)
    assert status == 5
    assert findings["experiments"]["text"].startswith("experiments/y/experiment.yaml:1:1: unknown key 'colour'")


def test_the_mending_command_is_named_when_there_is_no_remote(recorded: Checkout, force: Callable[..., Ended]) -> None:
    recorded.write(".dvc/config", "[core]\n    analytics = false\n")
    status, findings = examine(force)
    assert status == 5
    assert not findings["DVC remote"]["is_fine"]
    assert findings["DVC remote"]["mend"] == "dvc remote add --default storage URL"


def test_a_lock_is_named_when_it_cannot_be_read(recorded: Checkout, force: Callable[..., Ended]) -> None:
    recorded.write("experiments/x/dvc.lock", "stages: [")
    status, findings = examine(force)
    assert status == 5
    assert findings[CACHE]["text"].startswith("not checked: experiments/x/dvc.lock")


def test_missing_programs_are_found_when_path_has_none(
    recorded: Checkout, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(recorded.root))
    status, findings = examine(force)
    assert status == 5
    names = ("git", "dvc", "force")
    assert [findings[f"{name} on PATH"]["is_fine"] for name in names] == [False, False, False]
    assert [findings[f"{name} on PATH"]["mend"] for name in names] == [
        "apt-get install git",
        "source .venv/bin/activate",
        "source .venv/bin/activate",
    ]


def test_damaged_object_is_named_with_its_mending_command_when_the_cache_is_checked(
    recorded: Checkout, force: Callable[..., Ended]
) -> None:
    path = object_of(recorded, "x", "train", "outputs/train/train.log")
    path.write_text("damaged")
    ended = force("doctor")
    (line,) = (line for line in ended.out.splitlines() if line.startswith(CACHE))
    assert " ".join(line.split()) == f"{CACHE} failed {path} is damaged force doctor --mend-cache"
    assert ended.status == 5
    assert ended.err.endswith("hint: force doctor --mend-cache\n")
    assert path.exists()


def test_damaged_object_is_taken_out_when_the_cache_is_mended(recorded: Checkout, force: Callable[..., Ended]) -> None:
    path = object_of(recorded, "x", "train", "outputs/train/model")
    path.write_text("damaged")
    _, findings = examine(force, "--mend-cache")
    (kept,) = recorded.root.glob(".force/kept/*/cache/*.dir")
    assert findings[CACHE]["is_fine"]
    assert str(kept.relative_to(recorded.root)) in findings[CACHE]["text"]
    assert kept.read_text() == "damaged"
    assert not path.exists()
    assert examine(force)[1][CACHE]["is_fine"]


NVIDIA_SMI = """#!/bin/sh
echo "NVIDIA H100 80GB HBM3, 81559 MiB, 570.86.15"
"""
# Answers as Docker 28 does; builds only with BuildKit.
DOCKER = """#!/bin/sh
case "$1" in
info) cat {info} ;;
build) [ "$DOCKER_BUILDKIT" = 1 ] || {{ echo "unknown flag: --output" >&2; exit 125; }} ;;
esac
"""
INFO = {
    "ServerVersion": "28.2.2",
    "DockerRootDir": "/",
    "Runtimes": {"runc": {"path": "runc"}, "nvidia": {"path": "nvidia-container-runtime"}},
    "CDISpecDirs": [],
    "SecurityOptions": ["name=seccomp,profile=builtin"],
}


class Api(BaseHTTPRequestHandler):
    """Answers with a date of its own and an error, as the API does without a token."""

    skew_s = 0.0

    def do_HEAD(self) -> None:
        self.send_response_only(403)
        self.send_header("Date", formatdate(time.time() + self.skew_s, usegmt=True))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Machine:
    """A machine that is fit to take jobs, until a test takes something away."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.data = folder / "data"
        for name in ("cache", "checkpoints", "storage"):
            (self.data / name).mkdir(parents=True)
        self.install("nvidia-smi", NVIDIA_SMI)
        self.install("docker", DOCKER.format(info=folder / "info.json"))
        self.info_path = folder / "info.json"
        self.set_info()

    def remove(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take a program from PATH, also the machine's own, but nothing else that stands beside it."""
        (self.bin / name).unlink()
        folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
        for number, folder in enumerate(folders):
            if (folder / name).exists():
                folders[number] = self.data / f"bin-{number}"
                folders[number].mkdir()
                for path in folder.iterdir():
                    if path.name != name:
                        (folders[number] / path.name).symlink_to(path)
        monkeypatch.setenv("PATH", os.pathsep.join(map(str, folders)))

    def install(self, name: str, text: str) -> None:
        """Put a program on PATH, before any other of its name."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def set_info(self, **changes: Any) -> None:
        """Say what the engine tells of itself."""
        self.info_path.write_text(json.dumps({**INFO, **changes}))


@pytest.fixture
def api() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def machine(recorded: Checkout, tmp_path: Path, api: str, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine around the checkout, with a GPU and an engine that stand in."""
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(machine.bin), prepend=os.pathsep)
    monkeypatch.setenv("GITHUB_API_URL", api)
    monkeypatch.setenv("FORCE_CACHE_DIR", str(machine.data / "cache"))
    monkeypatch.setenv("FORCE_CHECKPOINT_DIR", str(machine.data / "checkpoints"))
    monkeypatch.setenv("FORCE_REMOTE_URL", str(machine.data / "storage"))
    monkeypatch.delenv("FORCE_RUNNER_LABELS", raising=False)
    return machine


def examine_runner(force: Callable[..., Ended], *args: str) -> Findings:
    return examine(force, "--runner", "--min-free-gib", "0", *args)[1]


def test_nothing_fails_when_a_machine_is_fit_to_take_jobs(machine: Machine, force: Callable[..., Ended]) -> None:
    findings = examine_runner(force)
    assert [f for name, f in findings.items() if not f["is_fine"] and name != "free disk space"] == []
    assert findings["NVIDIA driver"]["text"] == "1: NVIDIA H100 80GB HBM3, 81559 MiB, 570.86.15"
    assert findings["Docker engine"]["text"].startswith("28.2.2, as ")
    assert findings["Docker engine"]["text"].endswith("not rootless: who may use it is root here")
    assert findings["BuildKit"]["text"] == f"builds with {machine.bin}/docker"
    assert findings["NVIDIA container toolkit"]["text"] == "runtime nvidia"
    assert findings["DVC remote, tried"]["text"] == f"{machine.data}/storage: write works"
    assert findings["FORCE_CACHE_DIR"]["text"].startswith(f"{machine.data}/cache, ")
    assert "GPU" not in findings
    assert [path for path in machine.data.rglob("*") if path.is_file()] == []


def test_a_machine_is_not_checked_as_a_runner_when_it_is_not_asked_for(
    machine: Machine, force: Callable[..., Ended]
) -> None:
    _, findings = examine(force)
    assert "Docker engine" not in findings
    assert "GPU" in findings
    ended = force("doctor", "--labels", "gpu")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.splitlines()[1] == "hint: force doctor --runner"


@pytest.mark.parametrize(
    ("compute", "is_fine", "text", "mend"),
    [
        ("pass", True, "torch 2.99.0+cu999 computes on it", ""),
        ("raise AssertionError('Torch not compiled with CUDA enabled')", False, "not compiled", "pip install"),
        ("raise RuntimeError('The NVIDIA driver is too old')", False, "driver is too old", "update the NVIDIA driver"),
    ],
)
def test_gpu_is_fine_when_torch_computes_on_it(
    machine: Machine,
    force: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
    compute: str,
    is_fine: bool,
    text: str,
    mend: str,
) -> None:
    lines = ["__version__ = '2.99.0+cu999'", "class ones:", "    def __init__(self, *_, device):"]
    lines += [f"        {compute}", "    def item(self):", "        pass"]
    (machine.data / "torch.py").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("PYTHONPATH", str(machine.data))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    finding = examine(force)[1]["GPU"]
    assert finding["is_fine"] == is_fine
    assert finding["text"].startswith("NVIDIA H100 80GB HBM3")
    assert text in finding["text"]
    assert finding["mend"].startswith(mend)


def test_gpu_is_not_tried_when_it_is_hidden(
    machine: Machine, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    finding = examine(force)[1]["GPU"]
    assert (finding["is_fine"], finding["mend"]) == (True, "")
    assert finding["text"].endswith("hidden by CUDA_VISIBLE_DEVICES: stages run on the CPU")


def test_label_decides_when_there_is_no_gpu(
    machine: Machine, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.remove("nvidia-smi", monkeypatch)
    finding = examine_runner(force)["NVIDIA driver"]
    assert (finding["is_fine"], finding["mend"]) == (False, "sudo apt-get install nvidia-driver")
    assert examine_runner(force, "--labels", "cpu,big")["NVIDIA driver"]["is_fine"]
    assert "NVIDIA container toolkit" not in examine_runner(force, "--labels", "cpu")
    monkeypatch.setenv("FORCE_RUNNER_LABELS", "cpu")
    assert examine_runner(force)["NVIDIA driver"]["is_fine"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'NVIDIA-SMI has failed' >&2; exit 9", "nvidia-smi fails: NVIDIA-SMI has failed"),
        ("exit 0", "nvidia-smi fails: it lists no GPU"),
    ],
)
def test_reason_is_given_when_the_driver_fails(
    machine: Machine, force: Callable[..., Ended], script: str, reason: str
) -> None:
    machine.install("nvidia-smi", f"#!/bin/sh\n{script}\n")
    finding = examine_runner(force)["NVIDIA driver"]
    assert (finding["is_fine"], finding["text"]) == (False, reason)
    assert finding["mend"]


def test_a_program_that_hangs_is_a_finding(
    machine: Machine, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_runner, "PATIENCE_S", 0.1)
    machine.install("nvidia-smi", "#!/bin/sh\nexec sleep 60\n")
    assert examine_runner(force)["NVIDIA driver"]["text"] == "nvidia-smi fails: no answer within 0.1 s"


@pytest.mark.parametrize(
    ("script", "text", "mend"),
    [
        ("echo 'Got permission denied while trying to connect' >&2", "may not use it without sudo", "usermod"),
        ("echo 'Cannot connect to the Docker daemon' >&2", "Cannot connect to the Docker daemon", "systemctl"),
        ("""echo '{"ServerErrors": ["Cannot connect"]}'""", "Cannot connect", "systemctl"),
        ("true", "'docker' ends with 1", "systemctl"),
    ],
)
def test_reason_is_given_when_the_engine_does_not_answer(
    machine: Machine, force: Callable[..., Ended], script: str, text: str, mend: str
) -> None:
    machine.install("docker", f"#!/bin/sh\n{script}\nexit 1\n")
    findings = examine_runner(force)
    assert not findings["Docker engine"]["is_fine"]
    assert text in findings["Docker engine"]["text"]
    assert mend in findings["Docker engine"]["mend"]
    assert "BuildKit" not in findings


def test_mending_command_is_named_when_the_toolkit_is_missing(machine: Machine, force: Callable[..., Ended]) -> None:
    machine.set_info(Runtimes={"runc": {}})
    finding = examine_runner(force)["NVIDIA container toolkit"]
    assert not finding["is_fine"]
    assert finding["mend"].startswith("sudo apt-get install nvidia-container-toolkit && sudo nvidia-ctk runtime")


def test_toolkit_is_found_when_it_is_cdi_or_the_hook(machine: Machine, force: Callable[..., Ended]) -> None:
    (machine.data / "nvidia.yaml").touch()
    machine.set_info(Runtimes={}, CDISpecDirs=[str(machine.data), "/nowhere"])
    assert examine_runner(force)["NVIDIA container toolkit"]["text"] == f"CDI {machine.data}/nvidia.yaml"
    machine.set_info(
        Runtimes={}, DiscoveredDevices=[{"Source": "cdi", "ID": "nvidia.com/gpu=0"}, {"ID": "amd.com/x=0"}]
    )
    assert examine_runner(force)["NVIDIA container toolkit"]["text"] == "CDI device nvidia.com/gpu=0"
    machine.set_info(Runtimes=None)
    machine.install("nvidia-container-runtime-hook", "#!/bin/sh\n")
    assert examine_runner(force)["NVIDIA container toolkit"]["text"].startswith("hook /")


def test_room_for_images_is_checked_where_docker_keeps_them(machine: Machine, force: Callable[..., Ended]) -> None:
    finding = examine_runner(force, "--min-free-gib", "1e9")["disk of Docker"]
    assert not finding["is_fine"]
    assert finding["text"].endswith(" GiB free at /, 1000000000 wanted")
    assert finding["mend"].startswith("docker system prune")
    machine.set_info(DockerRootDir="/nowhere/docker", SecurityOptions=["name=rootless"])
    findings = examine_runner(force)
    assert findings["disk of Docker"]["text"] == "not checked: /nowhere/docker is not seen from here"
    assert findings["Docker engine"]["text"].endswith("; rootless")


def test_every_client_is_tried_when_the_first_has_no_buildkit(
    machine: Machine, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = machine.data / "first"
    first.mkdir()
    (machine.bin / "docker").rename(first / "docker")
    info = f"[ $1 = info ] && exec cat {machine.info_path}"
    machine.install("docker", f"#!/bin/sh\n{info}\necho 'the buildx component is missing' >&2\nexit 1\n")
    monkeypatch.setenv("PATH", f"{machine.bin}{os.pathsep}{first}{os.pathsep}/usr/bin{os.pathsep}/bin")
    assert examine_runner(force)["BuildKit"]["text"] == f"builds with {first}/docker"
    (first / "docker").write_text((machine.bin / "docker").read_text())
    monkeypatch.setenv("PATH", f"{machine.bin}{os.pathsep}{first}", prepend=None)
    for name in ("env", "timeout", "cat", "sh", "git"):
        (machine.bin / name).symlink_to(shutil.which(name, path="/usr/bin:/bin"))
    finding = examine_runner(force)["BuildKit"]
    assert (finding["is_fine"], finding["text"]) == (
        False,
        f"{machine.bin}/docker does not build: the buildx component is missing",
    )
    assert "docker-buildx-plugin" in finding["mend"]


@pytest.mark.parametrize("variable", ["FORCE_CACHE_DIR", "FORCE_CHECKPOINT_DIR"])
def test_folder_for_all_jobs_is_tried(
    machine: Machine, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "/proc/no such folder")
    finding = examine_runner(force)[variable]
    assert (finding["is_fine"], finding["text"]) == (False, "/proc/no such folder is not there")
    assert finding["mend"].endswith(" '/proc/no such folder'")
    monkeypatch.setenv(variable, "/proc")
    assert examine_runner(force)[variable]["text"].startswith("/proc: write fails: ")
    monkeypatch.setenv(variable, "data")
    assert examine_runner(force)[variable]["text"] == "'data' is no absolute path"
    monkeypatch.delenv(variable)
    finding = examine_runner(force)[variable]
    assert finding["is_fine"]
    assert finding["text"].startswith("not set: ")


def test_cache_says_so_when_it_is_on_another_file_system(
    machine: Machine, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "file system" not in examine_runner(force)["FORCE_CACHE_DIR"]["text"]
    monkeypatch.setenv("FORCE_CACHE_DIR", "/dev/shm")
    finding = examine_runner(force)["FORCE_CACHE_DIR"]
    assert finding["is_fine"]
    assert finding["text"].endswith("DVC copies files instead of linking them")


def test_remote_that_cannot_be_written_is_found_unless_reading_is_enough(
    machine: Machine, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_REMOTE_URL", "/proc/self")
    finding = examine_runner(force)["DVC remote, tried"]
    assert not finding["is_fine"]
    assert finding["text"].startswith("/proc/")
    assert "write fails" in finding["text"]
    assert examine_runner(force, "--read-only-remote")["DVC remote, tried"]["is_fine"]


def test_the_committed_remote_is_tried_when_no_other_is_set(
    machine: Machine, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, recorded: Checkout
) -> None:
    monkeypatch.delenv("FORCE_REMOTE_URL")
    storage = recorded.root.parent / "force-build-storage"
    assert examine_runner(force)["DVC remote, tried"]["text"] == f"{recorded.root.parent}: write works"
    assert not examine_runner(force, "--read-only-remote")["DVC remote, tried"]["is_fine"]
    storage.mkdir()
    assert examine_runner(force)["DVC remote, tried"]["text"] == f"{storage}: write works"
    recorded.write(".dvc/config", "[core]\n    analytics = false\n")
    assert not examine_runner(force)["DVC remote, tried"]["is_fine"]


def test_reason_is_dvcs_when_a_remote_with_an_address_cannot_be_used(
    machine: Machine, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_REMOTE_URL", "http://127.0.0.1:9/storage")
    finding = examine_runner(force)["DVC remote, tried"]
    assert not finding["is_fine"]
    assert finding["text"].startswith("http://127.0.0.1:9/storage: ")
    assert "127.0.0.1:9" in finding["text"].partition("storage: ")[2]


@pytest.mark.parametrize(("skew_s", "is_fine"), [(0, True), (20, True), (-20, True), (60, False), (-3600, False)])
def test_clock_is_compared_with_the_api(
    machine: Machine, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, skew_s: float, is_fine: bool
) -> None:
    monkeypatch.setattr(Api, "skew_s", skew_s)
    finding = examine_runner(force)["clock"]
    assert finding["is_fine"] == is_fine
    assert finding["mend"] == ("" if is_fine else "sudo timedatectl set-ntp true")
    if not is_fine:
        assert ("s after http" if skew_s > 0 else "s ahead of http") in finding["text"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "no address", "http://127.0.0.1:9999999"])
def test_clock_is_said_to_be_unchecked_when_the_api_does_not_answer(
    machine: Machine, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("GITHUB_API_URL", url)
    finding = examine_runner(force)["clock"]
    assert not finding["is_fine"]
    assert finding["text"].startswith(f"not checked: {url} does not answer")


def test_neither_dvc_nor_docker_is_loaded_when_a_runner_is_checked(machine: Machine, recorded: Checkout) -> None:
    probe = "import sys\nfrom pipeline import cli\nsys.argv = ['force', 'doctor', '--runner']\ntry:\n    cli.main()\n"
    probe += "finally:\n    print({'dvc', 'torch', 'docker', 'numpy'} & set(sys.modules), file=sys.stderr)\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-c", probe]
    done = subprocess.run(command, cwd=recorded.root, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "set()"
