"""The files of a runner: sound for systemd and the shell, run for real with a runner and an API that stand in."""

import os
import pwd
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipeline import containers
from pipeline.commands.runner import write_tree
from pipeline.errors import UsageError
from pipeline.runners import (
    SCRIPTS_DIR,
    MachineRunner,
    Target,
    check,
    parse_gpus,
    parse_labels,
    parse_target,
    render_machine,
)

TARGET = Target("https://github.com/lab/digits", "http://127.0.0.1:9/token")
USER = pwd.getpwuid(os.getuid()).pw_name
SCRIPTS = sorted(SCRIPTS_DIR.glob("*.sh"))
HOSTILE = ["a b", "a,b;c", "$(id)", "`id`", "a\nb", 'a"b', "a'b", "%H", "a\\b", "-a", "../a", "", "é", "a#b", "*"]

# What is left of these when something harmless stands before them, and is harmless then.
ACCEPTED = {
    "label": {"x", "x-a"},
    "name": {"x", "x-a"},
    "user": {"x", "x-a"},
    "directory": {"/opt/x", "/opt/x-a", "/opt/x../a"},
    "scale set": {"x", "x-a"},
    "resource": {"x", "x-a"},
    "image": {"x", "x-a", "x../a"},
}

CONFIG = """#!/bin/bash
echo "$*" >../configured
env | grep ACTIONS_RUNNER_INPUT_ >>../configured
"""
RUN = """#!/bin/bash
{ env | grep ACTIONS_RUNNER_INPUT_; ls -A; echo "$HOME" "$TMPDIR"; } >../job
"""


class Api(BaseHTTPRequestHandler):
    """Answers as GitHub does where the token is the right one."""

    def do_POST(self) -> None:
        is_known = self.headers["Authorization"] == "Bearer ghp_known"
        self.send_response(201 if is_known else 401)
        self.end_headers()
        self.wfile.write(b'{\n  "token": "AABBCC",\n  "expires_at": "2026-01-22T12:13:35Z"\n}' if is_known else b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/repos/lab/digits/actions/runners/registration-token"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def runner(tmp_path: Path, api: str) -> MachineRunner:
    """A runner that is installed below a temporary folder, with a distribution that notes what it is called with."""
    runner = MachineRunner(
        Target(TARGET.url, api),
        name="box-1",
        labels=("gpu", "a100"),
        user=USER,
        directory=str(tmp_path / "opt" / "runner"),
        data=str(tmp_path / "var" / "runner"),
        gpus=(0, 1),
    )
    write_tree(tmp_path / "tree", render_machine(runner))
    files = tmp_path / "tree" / str(tmp_path).lstrip("/")
    (files / "opt").rename(tmp_path / "opt")
    for name, text in (("config.sh", CONFIG), ("run.sh", RUN)):
        path = tmp_path / "opt/runner/dist" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (tmp_path / "token").write_text("ghp_known\n")
    return runner


def read_environment(runner: MachineRunner, tmp_path: Path) -> dict[str, str]:
    """Return what the unit and its file of variables set, as systemd reads them."""
    files = render_machine(runner)
    unit = files[f"etc/systemd/system/{runner.unit}.service"].splitlines()
    assignments = [
        shlex.split(line.removeprefix("Environment="))[0] for line in unit if line.startswith("Environment=")
    ]
    lines = files[f"etc/{runner.unit}/environment"].splitlines()
    assignments += [line for line in lines if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in assignments) | {"FORCE_RUNNER_TOKEN": str(tmp_path / "token")}


def call(script: str, runner: MachineRunner, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script of an installed runner."""
    environment = {"PATH": os.environ["PATH"], **read_environment(runner, tmp_path), **variables}
    command = [f"{runner.directory}/{script}"]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("url", "server", "token_url"),
    [
        ("https://github.com/lab/digits.git", "https://github.com", "https://api.github.com/repos/lab/digits/"),
        ("https://github.com/lab/", "https://github.com", "https://api.github.com/orgs/lab/"),
        ("https://lab.ghe.com/a/b", "https://github.com", "https://api.lab.ghe.com/repos/a/b/"),
        ("https://git.lab.org/a/b", "https://git.lab.org/", "https://git.lab.org/api/v3/repos/a/b/"),
    ],
)
def test_address_of_the_api_is_found_when_a_url_names_a_server(url: str, server: str, token_url: str) -> None:
    target = parse_target(url, server)
    assert target.token_url == f"{token_url}actions/runners/registration-token"
    assert not target.url.endswith(("/", ".git"))


@pytest.mark.parametrize(
    "url",
    [
        "https://gitlab.com/lab/digits",
        "github.com/lab/digits",
        "https://github.com",
        "https://github.com/lab/digits/tree/main",
        "https://github.com/lab/..",
        "https://github.com/lab/digits?a=b",
        "https://user:secret@github.com/lab/digits",
        "https://github.com.evil.org/lab/digits",
        "https://github.com/lab/digits\nExecStart=/bin/sh",
        *(f"https://github.com/lab/{text}" for text in HOSTILE if text not in ("", "-a")),
    ],
)
def test_url_is_refused_when_it_is_no_repository_of_github(url: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_target(url)
    assert "is no repository or organization on GitHub" in raised.value.message
    assert "\n" not in raised.value.message


@pytest.mark.parametrize("kind", ["label", "name", "user", "directory", "scale set", "resource", "image"])
@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_refused_when_a_shell_or_systemd_could_take_it_for_more(kind: str, text: str) -> None:
    for harmful in {text, f"x{text}", f"/opt/x{text}"} - ACCEPTED[kind]:
        with pytest.raises(UsageError) as raised:
            check(kind, harmful, "--option")
        assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("user", "root"),
        ("directory", "/opt"),
        ("directory", "opt/runner"),
        ("directory", "/opt/../etc"),
        ("directory", "/home/me/runner"),
        ("scale set", "on"),
        ("scale set", "1e3"),
        ("scale set", "a" * 46),
        ("resource", "true"),
    ],
)
def test_text_is_refused_when_it_would_do_harm(kind: str, text: str) -> None:
    with pytest.raises(UsageError):
        check(kind, text, "--option")


def test_lists_are_read_when_they_have_commas() -> None:
    assert parse_labels("gpu,a100,gpu") == ("gpu", "a100")
    assert parse_gpus("3,0,3") == (0, 3)
    for text in ("gpu,", "", "gpu, a100"):
        with pytest.raises(UsageError):
            parse_labels(text)
    for text in ("", "a", "0,", "0-1", "-1", "0 1", "all"):
        with pytest.raises(UsageError):
            parse_gpus(text)


def test_data_are_refused_when_they_would_go_with_the_runner() -> None:
    with pytest.raises(UsageError):
        render_machine(MachineRunner(TARGET, directory="/opt/a", data="/opt/a/run"))


def test_files_of_two_runners_do_not_meet_when_they_have_names() -> None:
    first = render_machine(MachineRunner(TARGET))
    second = render_machine(MachineRunner(TARGET, name="b", directory="/opt/force-runner-b"))
    assert not set(first) & set(second)


def test_unit_is_sound_when_systemd_verifies_it(runner: MachineRunner, tmp_path: Path) -> None:
    unit = tmp_path / "tree/etc/systemd/system/force-runner-box-1.service"
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if unit.name in line] == []
    assert done.returncode == 0, done.stderr
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSystems=strict"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Unknown key name 'ProtectSystems'" in done.stderr or "Unknown key 'ProtectSystems'" in done.stderr


def test_unit_has_no_secret_and_passes_none_to_jobs(runner: MachineRunner) -> None:
    unit = render_machine(runner)["etc/systemd/system/force-runner-box-1.service"]
    assert "Credential" not in unit
    privileged = [line for line in unit.splitlines() if "=+" in line]
    assert [line.partition("=")[0] for line in privileged] == ["ExecStartPre", "ExecStopPost"]
    assert f"User={USER}\n" in unit


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_sound_when_shellcheck_reads_it(script: Path) -> None:
    for command in (["bash", "-n"], [str(Path(sys.executable).parent / "shellcheck")]):
        done = subprocess.run([*command, str(script)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert os.access(script, os.X_OK)


def test_runner_is_registered_for_one_job_when_it_starts(runner: MachineRunner, tmp_path: Path) -> None:
    assert call("prepare.sh", runner, tmp_path).stderr == ""
    run = Path(runner.directory) / "run"
    assert (run / "registration").stat().st_mode & 0o777 == 0o600
    assert call("start.sh", runner, tmp_path).stderr == ""
    options, token = (run.parent / "configured").read_text().splitlines()
    assert options == (
        "--unattended --ephemeral --replace --disableupdate --work _work --url https://github.com/lab/digits "
        "--name box-1 --labels gpu,a100"
    )
    assert token == "ACTIONS_RUNNER_INPUT_TOKEN=AABBCC"
    assert (run.parent / "job").read_text().split() == [
        *("config.sh", "home", "run.sh", "tmp"),
        *(f"{run}/home", f"{run}/tmp"),
    ]
    assert [path.name for path in sorted(Path(runner.data).iterdir())] == ["cache", "checkpoints", "pip"]


def test_nothing_of_a_job_is_left_when_the_next_one_starts(runner: MachineRunner, tmp_path: Path) -> None:
    run = Path(runner.directory) / "run"
    call("prepare.sh", runner, tmp_path)
    (run / "run.sh").write_text("a job was here")
    (run / "_work").mkdir()
    assert call("prepare.sh", runner, tmp_path).returncode == 0
    assert (run / "run.sh").read_text() == RUN
    assert not (run / "_work").exists()


def test_token_comes_from_a_program_when_it_is_one(runner: MachineRunner, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("#!/bin/sh\necho ghp_known\n")
    (tmp_path / "token").chmod(0o700)
    assert call("prepare.sh", runner, tmp_path).returncode == 0
    assert (Path(runner.directory) / "run/registration").read_text() == "AABBCC"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("ghp_unknown", "no registration token from http"),
        ("", "is no token of GitHub"),
        ('a"\nurl = "http://127.0.0.1:9/', "is no token of GitHub"),
    ],
)
def test_reason_is_said_and_no_token_when_there_is_no_registration(
    runner: MachineRunner, tmp_path: Path, token: str, reason: str
) -> None:
    (tmp_path / "token").write_text(token)
    ended = call("prepare.sh", runner, tmp_path)
    assert ended.returncode == 1
    assert reason in ended.stderr.splitlines()[-1]
    assert "ghp_" not in ended.stderr + ended.stdout
    assert not (Path(runner.directory) / "run/registration").exists()


def test_reason_is_said_when_the_distribution_is_missing(runner: MachineRunner, tmp_path: Path) -> None:
    ended = call("prepare.sh", replace(runner, directory=runner.directory), tmp_path, FORCE_RUNNER_DIRECTORY="/nowhere")
    assert (ended.returncode, ended.stderr) == (
        1,
        "error: no runner in /nowhere/dist: unpack the newest release there\n",
    )


FAKE_DOCKER = """#!/bin/bash
echo "$*" >>"{log}"
case "$1" in
ps) printf '%s\\n' "1 {run}/_work/a/a" "2 {run}/_work/a/ab" "3 {run}2/_work/a/a" "4 /elsewhere" "5 {run}/_work" ;;
esac
"""


@pytest.fixture
def removed(runner: MachineRunner, tmp_path: Path) -> Path:
    """The log of a docker that has containers of this runner and of others."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(FAKE_DOCKER.format(log=tmp_path / "log", run=f"{runner.directory}/run"))
    docker.chmod(0o755)
    return tmp_path / "log"


def clean(runner: MachineRunner, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    ended = call("clean.sh", runner, tmp_path, PATH=path, **variables)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended


def test_only_what_is_of_this_runner_goes_when_it_has_ended(
    runner: MachineRunner, tmp_path: Path, removed: Path
) -> None:
    call("prepare.sh", runner, tmp_path)
    clean(runner, tmp_path)
    query, *rest = removed.read_text().splitlines()
    assert f"label={containers.WORKSPACE_LABEL}" in query
    assert rest == ["rm --force --volumes 1", "rm --force --volumes 2", "rm --force --volumes 5"]
    assert not (Path(runner.directory) / "run").exists()
    assert (Path(runner.data) / "cache").is_dir()


def test_only_what_is_of_the_job_goes_when_the_job_has_ended(
    runner: MachineRunner, tmp_path: Path, removed: Path
) -> None:
    call("prepare.sh", runner, tmp_path)
    run = Path(runner.directory) / "run"
    for name in ("_work/a/a/.git/config", "_work/a/a/outputs/model", "_work/_temp/event.json"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).touch()
    clean(runner, tmp_path, GITHUB_WORKSPACE=f"{run}/_work/a/a")
    assert removed.read_text().splitlines()[1:] == ["rm --force --volumes 1"]
    assert list((run / "_work/a/a").iterdir()) == []
    assert (run / "_work/_temp/event.json").exists()


def test_files_go_all_the_same_when_docker_does_not_answer(runner: MachineRunner, tmp_path: Path) -> None:
    call("prepare.sh", runner, tmp_path)
    ended = call("clean.sh", runner, tmp_path, DOCKER_HOST="unix:///nowhere")
    assert ended.returncode == 0
    assert not (Path(runner.directory) / "run").exists()
