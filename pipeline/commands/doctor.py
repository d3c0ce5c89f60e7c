"""`force doctor`: what is missing or damaged on this machine, and the command that mends it."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli import print_json
from pipeline.commands.doctor_runner import RunnerOptions, check_runner
from pipeline.errors import ConfigError, ForceError, ToolError, UsageError
from pipeline.findings import Finding
from pipeline.installing import suggest_install
from pipeline.ownership import STAGES
from pipeline.project import Project, find_project
from pipeline.recovery import Attic, quarantine
from pipeline.runners import parse_labels
from pipeline.syncing import find_drift, find_orphans, render_generated
from pipeline.tables import print_table
from pipeline.tools.process import last_line, run

_MIN_FREE_GIB = 5
_PATIENCE_S = 60
_TRY_GPU = "import torch; torch.ones(1, device='cuda').item(); print(torch.__version__)"


@click.command()
@click.option("--mend-cache", is_flag=True, help="Take damaged objects out of the DVC cache; they are kept aside.")
@click.option(
    "--runner", "is_runner", is_flag=True, help="Check what a machine needs that takes jobs of workflows, too."
)
@click.option(
    "--labels", metavar="A,B", help="With --runner: its labels; with 'gpu', GPUs have to work.  [default: gpu]"
)
@click.option("--min-free-gib", type=click.FloatRange(0), help="With --runner: for Docker's images.  [default: 50]")
@click.option("--read-only-remote", is_flag=True, help="With --runner: the DVC remote need not be writable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    mend_cache: bool,
    is_runner: bool,
    labels: str | None,
    min_free_gib: float | None,
    read_only_remote: bool,
    as_json: bool,
) -> None:
    """Check tools, files and the DVC cache. Exits with 5 when something needs mending."""
    if not is_runner and (labels is not None or min_free_gib is not None or read_only_remote):
        raise UsageError("--labels, --min-free-gib and --read-only-remote are for runners", "force doctor --runner")
    if labels is None:
        labels = os.environ.get("FORCE_RUNNER_LABELS") or "gpu"
    options = RunnerOptions(parse_labels(labels), 50 if min_free_gib is None else min_free_gib, read_only_remote)
    project = find_project(Path.cwd())
    findings = [finding for check in CHECKS for finding in check(project)]
    findings += check_runner(project, options) if is_runner else _check_gpu(project)
    findings += _check_cache(project, mend_cache)
    project.index.save()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        rows = [[f.check, "fine" if f.is_fine else "failed", f.text, f.mend] for f in findings]
        print_table(["check", "", "found", "mend with"], rows)
    faulty = [finding for finding in findings if not finding.is_fine]
    if faulty:
        raise ToolError(f"{len(faulty)} of {len(findings)} checks failed", faulty[0].mend)


def _check_python(project: Project) -> list[Finding]:
    version = platform.python_version()
    is_fine = tuple(map(int, version.split(".")[:2])) >= (3, 11)
    return [Finding("python", is_fine, version, "" if is_fine else "install Python 3.11 or newer")]


def _check_packages(project: Project) -> list[Finding]:
    findings = []
    for name in ("dvc", "torch", "torchmetrics", "safetensors"):
        try:
            findings.append(Finding(name, True, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(name, False, "not installed", "make run"))
    if importlib.util.find_spec("torchvision") is not None:
        findings.append(_check_torchvision(project))
    return findings


def _check_torchvision(project: Project) -> Finding:
    """Try what imports torchvision: one for another build of torch keeps every evaluation from starting."""
    tried = run([sys.executable, "-c", "import torchmetrics"], project.root, check=False)
    mend = "" if not tried.returncode else "uninstall torchvision, or install the one for this build of torch"
    return Finding("torchvision", not tried.returncode, last_line(tried.stderr) or "fits torch", mend)


def _check_programs(project: Project) -> list[Finding]:
    findings = []
    for name in ("git", "dvc", "force"):
        path = shutil.which(name)
        mend = "" if path else "apt-get install git" if name == "git" else "source .venv/bin/activate"
        findings.append(Finding(f"{name} on PATH", path is not None, path or "not found", mend))
    return findings


def _check_gpu(project: Project) -> list[Finding]:
    if shutil.which("nvidia-smi") is None:
        return [Finding("GPU", True, "none; stages run on the CPU")]
    names = run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], project.root, check=False)
    if names.returncode:
        return [Finding("GPU", False, "nvidia-smi fails", "reinstall or reload the NVIDIA driver")]
    text = ", ".join(names.stdout.split("\n")).strip(", ")
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return [Finding("GPU", True, f"{text}; hidden by CUDA_VISIBLE_DEVICES: stages run on the CPU")]
    tried = run(
        ["timeout", "--kill-after=5", str(_PATIENCE_S), sys.executable, "-c", _TRY_GPU], project.root, check=False
    )
    if tried.returncode:
        reason = last_line(tried.stderr) or f"no answer within {_PATIENCE_S} s"
        mend = suggest_install("--force-reinstall", "torch") if "not compiled" in reason else "update the NVIDIA driver"
        return [Finding("GPU", False, f"{text}; torch cannot use it: {reason}", mend)]
    return [Finding("GPU", True, f"{text}; torch {tried.stdout.strip()} computes on it")]


def _check_repository(project: Project) -> list[Finding]:
    git = shutil.which("git")
    is_git = git is not None and run([git, "rev-parse", "--git-dir"], project.root, check=False).returncode == 0
    is_dvc = (project.root / ".dvc" / "config").is_file()
    return [
        Finding("git repository", is_git, "found" if is_git else "missing", "" if is_git else "git init"),
        Finding("DVC set up", is_dvc, "found" if is_dvc else "missing", "" if is_dvc else "dvc init"),
    ]


def _check_remote(project: Project) -> list[Finding]:
    url, folder = project.cache.remote_url, project.cache.remote_folder
    if not url:
        return [Finding("DVC remote", False, "none is configured", "dvc remote add --default storage URL")]
    if folder is None:
        scheme = url.partition("://")[0]
        plugin = {"s3": "s3", "gs": "gs", "azure": "azure", "ssh": "ssh"}.get(scheme)
        missing = plugin is not None and not _is_installed(f"dvc-{plugin}")
        return [Finding("DVC remote", not missing, url, suggest_install(f"dvc[{plugin}]") if missing else "")]
    return [Finding("DVC remote", True, f"{folder}" + ("" if folder.is_dir() else " (made by the first dvc push)"))]


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _check_disk(project: Project) -> list[Finding]:
    free_gib = shutil.disk_usage(project.root).free / 2**30
    is_fine = free_gib >= _MIN_FREE_GIB
    return [Finding("free disk space", is_fine, f"{free_gib:.0f} GiB", "" if is_fine else "dvc gc --workspace")]


def _check_experiments(project: Project) -> list[Finding]:
    sound, problems = project.experiments.load_all()
    try:
        ownership = project.ownership(sound)
        drifted = find_drift(project.root, render_generated(project.experiments, sound, ownership))
    except ConfigError as error:
        problems += error.problems
        drifted = []
    drifted += find_orphans(project.root, project.experiments.names())
    findings = [Finding("experiments", False, str(problem), problem.hint) for problem in problems]
    findings = findings or [Finding("experiments", True, f"{len(sound)} are sound")]
    text = ", ".join(drifted) or "as they should be"
    return [*findings, Finding("generated files", not drifted, text, "force sync" if drifted else "")]


CHECKS: tuple[Callable[[Project], list[Finding]], ...] = (
    _check_python,
    _check_packages,
    _check_programs,
    _check_repository,
    _check_remote,
    _check_disk,
    _check_experiments,
)


def _check_cache(project: Project, mend: bool) -> list[Finding]:
    """Read every object of the cache that a dvc.lock names, and compare it with its name."""
    hashes: dict[str, None] = {}
    try:
        sound, _ = project.experiments.load_all()
        ownership = project.ownership(sound)
        planner = project.planner(ownership)
        for name in sound:
            for stage in STAGES:
                hashes |= dict.fromkeys(planner.recorded_outs(ownership.effective(name, stage)).values())
    except ForceError as error:
        return [Finding("DVC cache", False, f"not checked: {error.message}", error.hint)]
    damage = dict.fromkeys(found for md5 in hashes for found in project.cache.find_damage(md5))
    if not damage:
        return [Finding("DVC cache", True, f"{len(hashes)} outs are as recorded, or not here")]
    if mend:
        notes = quarantine(damage, Attic(project.root))
        return [Finding("DVC cache", True, note.removeprefix("warning: ")) for note in notes]
    return [Finding("DVC cache", False, f"{d.path} is damaged", "force doctor --mend-cache") for d in damage]
