"""Render the files that keep a self-hosted runner on a machine, and check what runners are described by.

Only texts: nothing is installed, nothing is asked. All that users give is checked here by pattern; the scripts take it
from variables that systemd sets, so that none of it is ever part of a script.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import UsageError

SCRIPTS_DIR = Path(__file__).parent / "runner_scripts"
GITHUB = "https://github.com"

_OWNER = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,38})"
_REPOSITORY = r"(?!\.\.?$)[A-Za-z0-9._-]{1,100}"
_NO_WORD = r"(?!(?:true|false|yes|no|on|off|y|n|null)$)"
_PATTERNS = {
    "label": (r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "letters, digits, '.', '_' and '-'"),
    "name": (r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "letters, digits, '.', '_' and '-'"),
    "user": (r"(?!root$)[a-z_][a-z0-9_-]{0,31}", "small letters, digits, '_' and '-', and not root"),
    "directory": (
        r"(?!/(home|root|run|tmp|var/tmp|dev|proc|sys)/)(?!.*/\.{1,2}(/|$))(/[A-Za-z0-9._-]+){2,}",
        "as in /opt/runner; what is below /home, /root, /run or /tmp is not seen by the service",
    ),
    # The chart writes names without quotes, so none may be a number or a word that YAML takes for something else.
    "scale set": (rf"{_NO_WORD}[a-z](?:[a-z0-9-]{{0,43}}[a-z0-9])?", "up to 45 small letters, digits and '-'"),
    "resource": (rf"{_NO_WORD}[a-z](?:[a-z0-9.-]{{0,251}}[a-z0-9])?", "small letters, digits, '.' and '-'"),
    "image": (r"[a-z0-9][A-Za-z0-9._/:@-]{0,254}", "as in ghcr.io/lab/force-runner:1"),
}


@dataclass(frozen=True)
class Target:
    """Whose jobs a runner takes: a repository's, or those of all repositories of an organization."""

    url: str
    token_url: str  # POST: a token that registers runners for an hour

    @property
    def owner(self) -> str:
        """The organization or user."""
        return urlsplit(self.url).path.split("/")[1]


def parse_target(url: str, server: str = GITHUB) -> Target:
    """Return the target that an address names. `server` is the lab's own GitHub, where it has one.

    >>> parse_target("https://github.com/lab/digits").token_url
    'https://api.github.com/repos/lab/digits/actions/runners/registration-token'
    >>> parse_target("https://github.com/lab").token_url
    'https://api.github.com/orgs/lab/actions/runners/registration-token'
    """
    address = url.removesuffix("/").removesuffix(".git")
    match = re.fullmatch(rf"(https?://[A-Za-z0-9.:-]+)/({_OWNER})(?:/({_REPOSITORY}))?", address)
    api = _find_api(match[1], server) if match else None
    if match is None or api is None:
        hint = f"--url {server.rstrip('/')}/OWNER/REPO, or without /REPO for all of an organization"
        raise UsageError(f"{url!r} is no repository or organization on GitHub", hint)
    path = f"repos/{match[2]}/{match[3]}" if match[3] else f"orgs/{match[2]}"
    return Target(address, f"{api}/{path}/actions/runners/registration-token")


def _find_api(host: str, server: str) -> str | None:
    """Return the address of the REST API of a server, None where it is none of GitHub's that we know of."""
    if host == GITHUB:
        return "https://api.github.com"
    if re.fullmatch(r"https://[a-z0-9-]+\.ghe\.com", host):
        return host.replace("https://", "https://api.")
    return f"{host}/api/v3" if host == server.rstrip("/") else None


def check(kind: str, text: str, option: str) -> str:
    """Return what a user gave for an option. Raises UsageError where it is nothing that can be such a thing."""
    pattern, wanted = _PATTERNS[kind]
    if not re.fullmatch(pattern, text):
        raise UsageError(f"{option} {text!r} cannot be used", f"wanted: {wanted}")
    return text


def parse_labels(text: str) -> tuple[str, ...]:
    """Return the labels of a list with commas, each once. Raises UsageError for what no label can be.

    >>> parse_labels("gpu,a100")
    ('gpu', 'a100')
    """
    return tuple(dict.fromkeys(check("label", label, "--labels") for label in text.split(",")))


def parse_gpus(text: str) -> tuple[int, ...]:
    """Return the indices of GPUs of a list with commas, in order. Raises UsageError for what is none.

    >>> parse_gpus("1,0")
    (0, 1)
    """
    if not re.fullmatch(r"[0-9]{1,3}(,[0-9]{1,3})*", text):
        raise UsageError(f"--gpus {text!r} are no numbers of GPUs", "--gpus 0,1, as `nvidia-smi` counts them")
    return tuple(sorted({int(index) for index in text.split(",")}))


@dataclass(frozen=True)
class MachineRunner:
    """A runner that systemd keeps on a machine, registered anew for each job."""

    target: Target
    name: str | None = None  # without one, the machine's
    labels: tuple[str, ...] = ("gpu",)
    user: str = "force-runner"
    directory: str = "/opt/force-runner"  # root's: the scripts and dist/; run/ is made anew for each job
    data: str = "/var/lib/force-runner"  # what jobs share, and what outlives them
    gpus: tuple[int, ...] = ()  # without any, all that the machine has

    @property
    def unit(self) -> str:
        """The name of the unit, without its ending."""
        return f"force-runner-{self.name}" if self.name else "force-runner"


def render_machine(runner: MachineRunner) -> dict[str, str]:
    """Return path → text of the files to install, paths as they are below `/`; all `.sh` are programs.

    Raises UsageError where the data would go with the runner, which is made anew for each job.
    """
    if f"{runner.data}/".startswith(f"{runner.directory}/"):
        raise UsageError(f"--data {runner.data!r} is inside of --directory", "--data /var/lib/force-runner")
    scripts = {path.name: path.read_text() for path in sorted(SCRIPTS_DIR.glob("*.sh"))}
    return {
        f"etc/systemd/system/{runner.unit}.service": _render_unit(runner),
        f"etc/{runner.unit}/environment": _render_environment(runner),
        **{f"{runner.directory.lstrip('/')}/{name}": text for name, text in scripts.items()},
    }


def _render_unit(runner: MachineRunner) -> str:
    variables = {
        "FORCE_RUNNER_URL": runner.target.url,
        "FORCE_RUNNER_API": runner.target.token_url,
        "FORCE_RUNNER_TOKEN": f"/etc/{runner.unit}/token",
        "FORCE_RUNNER_NAME": runner.name or "%H",
        "FORCE_RUNNER_LABELS": ",".join(runner.labels),
        "FORCE_RUNNER_USER": runner.user,
        "FORCE_RUNNER_DIRECTORY": runner.directory,
        "HOME": f"{runner.directory}/run/home",
        # The engine does not see the /tmp of this service: what containers are to see stands elsewhere.
        "TMPDIR": f"{runner.directory}/run/tmp",
        "RUNNER_MANUALLY_TRAP_SIG": "1",
        "ACTIONS_RUNNER_HOOK_JOB_COMPLETED": f"{runner.directory}/clean.sh",
    }
    environment = "\n".join(f'Environment="{key}={value}"' for key, value in variables.items())
    return _UNIT.format(runner=runner, environment=environment)


def _render_environment(runner: MachineRunner) -> str:
    gpus = ",".join(map(str, runner.gpus))
    return _ENVIRONMENT.format(runner=runner, gpus=f"FORCE_GPUS={gpus}" if gpus else "#FORCE_GPUS=0,1")


_UNIT = """\
# Made by `force runner systemd`. One job a start: then the runner is gone, and the next start registers a new one.
[Unit]
Description=GitHub Actions runner for {runner.target.url}
Wants=network-online.target
After=network-online.target docker.service
StartLimitIntervalSec=0

[Service]
User={runner.user}
# Whoever may use Docker is root on this machine, unless Docker is rootless.
SupplementaryGroups=docker
WorkingDirectory={runner.directory}
{environment}
EnvironmentFile=/etc/{runner.unit}/environment
# "+": as root, for the access token, and for files that containers wrote as other users.
ExecStartPre=+{runner.directory}/prepare.sh
ExecStart={runner.directory}/start.sh
ExecStopPost=+{runner.directory}/clean.sh
Restart=always
RestartSec=10
TimeoutStartSec=5min
# A job that is stopped has time to end its container and keep its checkpoint.
KillMode=mixed
TimeoutStopSec=5min

NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
# Not run/ itself: it is deleted and made again. All else in this folder is root's.
ReadWritePaths={runner.directory} -{runner.data}
ProtectHome=yes
PrivateTmp=yes
ProtectProc=invisible
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""

_ENVIRONMENT = """\
# What jobs of {runner.unit} find in their environment. No secrets: every job can read them.
# Folders outside of {runner.data} need a line ReadWritePaths= in the unit.

# One DVC cache for all jobs of this machine.
FORCE_CACHE_DIR={runner.data}/cache
# Trainings of jobs that were killed go on from here.
FORCE_CHECKPOINT_DIR={runner.data}/checkpoints
# Packages that jobs install; each is checked against its hash.
PIP_CACHE_DIR={runner.data}/pip
# The DVC remote, if it is not the committed one.
#FORCE_REMOTE_URL=s3://bucket/path
# The GPUs of this runner, if it does not have all.
{gpus}
#HTTPS_PROXY=http://proxy.example.org:3128
"""
