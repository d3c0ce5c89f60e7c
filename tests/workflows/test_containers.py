"""Stages in containers: whose outputs are, what code inside can reach, and that no container outlives its run."""

import json
import os
import shutil
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

import docker
from pipeline.containers import ContainerParams, ContainerSpec
from pipeline.errors import ToolError
from pipeline.tools.docker import Engine
from tests.checkouts import Checkout
from tests.flows.commands import ENVIRONMENT, make_training_long, run, start_force, wait_until
from tests.flows.conftest import make_small_checkout
from tests.workflows.labs import list_containers

PROBE = """\
import json
import os
import socket
from pathlib import Path

from common.data import DataModule, Samples


def reach(address: tuple[str, int]) -> str:
    try:
        socket.create_connection(address, timeout=2).close()
    except OSError as error:
        return type(error).__name__
    return "connected"


class Probe(DataModule):
    def read(self) -> Samples:
        root = Path.cwd()
        facts = {
            "user": os.getuid(),
            "names": sorted(path.name for path in root.iterdir()),
            "states": sorted(str(path.relative_to(root)).rpartition("/")[0] for path in root.glob(".force/*/*/*")),
            "network": reach(("127.0.0.1", 9)) + " " + reach(("192.0.2.1", 80)),
            "secrets": [name for name in os.environ if "SECRET" in name],
            "config": (root / ".dvc" / "config.local").exists(),
            "socket": os.path.exists("/var/run/docker.sock"),
            "writable": os.access(root / "common", os.W_OK),
            "shm_mib": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize // 2**20,
        }
        print("FACTS", json.dumps(facts), flush=True)
        return super().read()
"""


@pytest.fixture
def small(tmp_path: Path, image: str) -> Checkout:
    """A checkout whose stages run in the image."""
    root = tmp_path / "checkout"
    root.mkdir()
    return make_small_checkout(root)


def force_run(checkout: Checkout, image: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run `force run --docker`."""
    return run(checkout, "force", "run", "--docker", "--image", image, *args)


def containers_of(checkout: Checkout) -> list[str]:
    """Return the ids of a checkout's containers."""
    return list_containers(f"force-build.workspace={checkout.root}")


def test_code_of_an_experiment_reaches_nothing_but_its_inputs(
    small: Checkout, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "AWS_SECRET_ACCESS_KEY", "hidden")
    small.write(".dvc/config.local", "[core]\n    no_scm = false\n")
    small.experiment("probe", "params:\n  container: {shm_gib: 0.5}\n", data=PROBE)
    done = force_run(small, image, "probe:prepare")
    assert done.returncode == 0, done.stdout + done.stderr
    log = (small.root / "experiments/probe/outputs/prepare/prepare.log").read_text()
    facts = json.loads(next(line for line in log.splitlines() if line.startswith("FACTS")).removeprefix("FACTS"))
    assert facts == {
        "user": os.getuid(),
        "names": [".force", "common", "experiments"],
        "states": [".force/checkpoints/probe"],  # where its own preparation goes on
        "network": "ConnectionRefusedError OSError",
        "secrets": [],
        "config": False,
        "socket": False,
        "writable": False,
        "shm_mib": 512,
    }


def test_results_are_those_of_a_run_without_a_container(small: Checkout, image: str) -> None:
    assert force_run(small, image, "wide").returncode == 0
    path = small.root / "experiments/wide/outputs/train/model/weights.safetensors"
    inside = path.read_bytes()
    record = json.loads((small.root / "experiments/wide/outputs/train/run.json").read_text())
    assert record["image"] == image
    for lock in ("dvc.lock", "experiments/wide/dvc.lock"):
        (small.root / lock).unlink()
    for folder in (".dvc/cache", "common/outputs", "experiments/wide/outputs"):
        shutil.rmtree(small.root / folder)
    assert run(small, "force", "run", "wide").returncode == 0
    assert path.read_bytes() == inside


def test_outputs_belong_to_the_user_that_a_container_runs_as(image: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    os.chown(folder, 54321, 54321)
    args = ("python", "-c", f"import tempfile; open({str(folder / 'result')!r}, 'w').write(tempfile.gettempdir())")
    spec = ContainerSpec(image, args, folder, ContainerParams(), (), (folder,), {"HOME": "/tmp"})
    with closing(Engine()) as engine:
        container = engine.create(spec, "54321:54321")  # as `force stage` does with who runs it: see the test above
        container.start()
        assert list(container.lines()) == []
        assert container.wait() == 0
    assert (folder / "result").read_text() == "/tmp"
    assert (folder / "result").stat().st_uid == 54321


def test_a_stage_over_its_memory_limit_says_so(small: Checkout, image: str) -> None:
    small.experiment("tight", "params:\n  container: {memory_gib: 0.05}\n  data: {split_seed: 1}\n")
    done = force_run(small, image, "tight:prepare")
    assert done.returncode == 6
    assert "killed by SIGKILL, as the system does when memory runs out" in done.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_container_outlives_its_run(small: Checkout, image: str, how: signal.Signals) -> None:
    make_training_long(small)
    process = start_force(small, "run", "--docker", "--image", image, "wide")
    wait_until(lambda: bool(list(small.root.glob(".force/checkpoints/wide/*/*"))), "the first epoch")
    assert len(containers_of(small)) == 1
    process.send_signal(how)
    process.communicate(timeout=60)
    client = docker.from_env()
    label = f"force-build.workspace={small.root}"
    wait_until(lambda: client.containers.list(filters={"label": label}) == [], "the end of the container")
    client.close()
    again = force_run(small, image, "judge:prepare")  # takes away what a killed run left
    assert again.returncode == 0, again.stderr
    assert containers_of(small) == []


def test_the_image_is_asked_for_when_it_is_not_built(small: Checkout) -> None:
    subprocess.run(["cp", "-r", Path(__file__).parents[2] / "docker", small.root], check=True)
    (small.root / "docker/force").write_text("#!/bin/sh\n# another\n")
    done = run(small, "force", "run", "--docker")
    assert done.returncode == 5
    assert done.stderr == "error: the image for these files is not built yet\nhint: force image build\n"


def test_no_engine_is_one_line(small: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "DOCKER_HOST", "unix:///nowhere.sock")
    done = run(small, "force", "run", "--docker")
    assert done.returncode == 5
    assert done.stderr == (
        "error: no Docker engine answers at unix:///nowhere.sock: No such file or directory\n"
        "hint: start it, or set DOCKER_HOST; force doctor --runner\n"
    )


@pytest.mark.parametrize(
    ("gpus", "share", "wanted"),
    [
        ("all", "", [(-1, [])]),
        ((0, 2), "", [(0, ["0", "2"])]),
        ("auto", "1,3", [(0, ["1", "3"])]),
        ("auto", "", []),
        ("none", "all", []),
    ],
)
def test_gpus_are_asked_of_the_engine(
    image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: str, share: str, wanted: list[object]
) -> None:
    monkeypatch.setenv("FORCE_GPUS", share)
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    spec = ContainerSpec(image, ("true",), tmp_path, ContainerParams(gpus=gpus), (tmp_path,), ())
    with closing(Engine()) as engine:
        container = engine.create(spec, "0:0")
        requests = container.inspect()["HostConfig"]["DeviceRequests"] or []
        container.end(0.1)
    assert [(request["Count"], request["DeviceIDs"] or []) for request in requests] == wanted


def test_gpus_that_are_not_there_are_one_line(image: str, tmp_path: Path) -> None:
    spec = ContainerSpec(image, ("true",), tmp_path, ContainerParams(gpus="all"), (tmp_path,), ())
    with closing(Engine()) as engine:
        container = engine.create(spec, "0:0")
        with pytest.raises(ToolError, match=r"docker cannot start the container: .*could not select device driver"):
            container.start()
