"""`force ci experiment`: one job of a matrix: run its targets in containers, and collect what they left."""

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import click

from pipeline.checkpoints import FINISHED, PREPARED, find_checkpoint_base
from pipeline.commands.run import Run, describe_failures, run_targets
from pipeline.comparison import describe_rows
from pipeline.errors import ForceError, InterruptedRunError, PublishError, StageError, UsageError
from pipeline.experiments import NAME_PATTERN
from pipeline.manifest import copy_tree, write_manifest
from pipeline.markdown import render_job
from pipeline.outs import PREDICTIONS, REPORTED, OutFinder, hand_on, hand_on_file
from pipeline.ownership import STAGES, folder_of
from pipeline.project import Project, find_project
from pipeline.results import read_history
from pipeline.statuses import Status, collect_files, lay_over, read_statuses, write_status
from pipeline.targets import collect_stages, parse_targets
from pipeline.tools import actions, dvc, git
from pipeline.workspace import write_json

REMOTE_VARIABLE = "FORCE_REMOTE_URL"
CACHE_VARIABLE = "FORCE_CACHE_DIR"
_LOG_LINES, _LOG_WIDTH = 120, 400  # a traceback through torch and the trainer is 70 lines long
_CANCELLED = InterruptedRunError("re-run the job: it goes on from its checkpoint")
_ENTRY_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,119}")  # a name, and the stage where it is shared
_DIR = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("targets", nargs=-1, required=True)
@click.option("--name", required=True, help="Of the entry in the matrix.")
@click.option("--wave", type=int, default=1, show_default=True)
@click.option("--image", default="", help="The image, by digest; else that of `force image`.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Stages to run at once.")
@click.option("--earlier", type=_DIR, help="What earlier waves and attempts handed on.")
@click.option("--checkpoints", type=_DIR, help="What an earlier attempt of this job handed on.")
@click.option("--remote-url", default="", help=f"The DVC remote; else {REMOTE_VARIABLE}, or the committed one.")
@click.option("--out", type=_DIR, required=True, help="Where `artifact/` and `result/NAME/` go.")
def command(
    targets: tuple[str, ...],
    name: str,
    wave: int,
    image: str,
    jobs: int,
    earlier: Path | None,
    checkpoints: Path | None,
    remote_url: str,
    out: Path,
) -> None:
    """Run TARGETS in containers, push what they made, and collect it. Exits as `force run` does, after collecting."""
    _check_names(name, targets)
    shutil.rmtree(out, ignore_errors=True)
    job = Job(find_project(Path.cwd()), name, wave, targets, out)
    error: ForceError | None
    try:
        job.prepare(earlier, checkpoints, remote_url or os.environ.get(REMOTE_VARIABLE, ""))
        error = job.run(image, jobs)
    except ForceError as raised:
        error = raised
    except KeyboardInterrupt:  # GitHub cancels, and gives ten seconds
        error = _CANCELLED
    job.collect(error)
    if error is not None:
        actions.annotate_error(error)
        raise error


class Job:
    """One job: from what earlier ones handed on to what it hands on itself."""

    def __init__(self, project: Project, name: str, wave: int, targets: tuple[str, ...], out: Path) -> None:
        self.project = project
        self.name = name
        self.wave = wave
        self.targets = targets
        self.out = out
        self.ran: Run | None = None
        self.is_skipped = False
        self.recorded_before: dict[str, str] = {}  # hash → out of earlier results of the same experiments
        self.started = time.time()

    def prepare(self, earlier: Path | None, checkpoints: Path | None, remote_url: str) -> None:
        """Lay over the checkout what earlier waves and attempts left, and say where DVC and trainings find theirs."""
        root = self.project.root
        handed_on = read_statuses(earlier) if earlier else []
        before = [(status, files) for status, files in handed_on if status.wave < self.wave]
        attempts = [(status, files) for status, files in handed_on if status.entry == self.name]
        lay_over(root, collect_files([*before, *attempts]))
        self.project.refresh()
        remote = self.project.cache.remote_name or "storage"
        settings = {
            "core.remote": remote if remote_url else "",
            f"remote.{remote}.url": remote_url,
            "cache.dir": os.environ.get(CACHE_VARIABLE, ""),
        }
        for key, value in settings.items():
            if value:
                dvc.set_local(root, key, value)
        self.project.refresh()
        if checkpoints and checkpoints.is_dir():
            copy_tree(checkpoints, find_checkpoint_base(root), [FINISHED], follow_links=False)
        self._check_remote()
        self._note_recorded()
        self._check_earlier([status for status, _ in before])

    def run(self, image: str, num_workers: int) -> ForceError | None:
        """Run the targets, and push their outs; return what went wrong."""
        self.ran = run_targets(
            self.project, self.targets, num_workers=num_workers, use_docker=True, image=image, wait=True
        )
        summary = self.ran.summary
        if summary.is_interrupted:
            return _CANCELLED
        reason = self._push(self.ran)
        self._fetch_compared(self.ran)
        if summary.failures:
            return describe_failures(summary)
        if reason:
            hint = f"is {REMOTE_VARIABLE} right, and may this runner write there? force doctor --runner"
            return PublishError(f"the results are here, but not in the DVC remote: {reason}", hint)
        return None

    def collect(self, error: ForceError | None) -> None:
        """Write the artifact, the result for later jobs, the summary and the outputs."""
        status = self._build_status(error)
        write_status(status, self.project.root, self.out / "result" / self.name)
        self._hand_on(self.out / "result" / self.name / "outs")
        self._collect_artifact(status)
        rows = self.ran.compare() if self.ran else []
        histories = {name: read_history(self.project.root, name) for name in status.experiments}
        actions.add_summary(render_job(status, rows, histories, self._list_uses()))
        actions.write_output("status", status.status)
        actions.write_output("metrics", json.dumps(describe_rows(rows)))
        actions.write_output("artifact", f"experiment-{self.name}")

    def _check_remote(self) -> None:
        """Warn where what is pushed goes with the runner: the committed remote is a folder beside the checkout."""
        workspace, cache = os.environ.get("RUNNER_WORKSPACE"), self.project.cache
        if not workspace or os.environ.get("ACT") == "true":
            return
        if not cache.remote_url or (cache.remote_folder and cache.remote_folder.is_relative_to(workspace)):
            text = f"models go with this runner: the DVC remote is '{cache.remote_url}'"
            actions.annotate("warning", f"{text}; set the variable {REMOTE_VARIABLE}")

    def _check_earlier(self, statuses: list[Status]) -> None:
        """Raise StageError where an earlier wave owes a stage that this job needs: each such job would do it."""
        failed = {stage: status.message for status in statuses for stage in status.failed_stages}
        wanted = parse_targets(self.targets)
        ownership = self.project.ownership(self.project.select(tuple(wanted)))
        planner = self.project.planner(ownership)
        for stage in collect_stages(wanted, ownership):
            if stage.name in wanted.get(stage.experiment, ()):
                continue
            reason = failed.get(":".join(stage.id))
            if reason is None and self.wave > 1 and planner.find_staleness(stage):
                reason = "its job left no result"
            if reason is not None:
                self.is_skipped = True
                raise StageError(f"{stage.name} of {stage.experiment}, which this needs, failed: {reason}")

    def _push(self, run: Run) -> str:
        states = run.summary.states
        done = [stage for stage in run.stages if states.get(stage.id) not in ("failed", "interrupted", "skipped")]
        if not done or not self.project.cache.remote_url:
            return ""
        with actions.group("dvc push"):
            return dvc.push(self.project.root, done)

    def _note_recorded(self) -> None:
        experiments = self.project.select(tuple(parse_targets(self.targets)))
        ownership = self.project.ownership(experiments)
        finder = OutFinder(self.project, ownership, self.project.planner(ownership), self.project.cache)
        for name in experiments:
            self.recorded_before |= {md5: out for out in REPORTED if (md5 := finder.hash(name, out))}

    def _fetch_compared(self, run: Run) -> None:
        """Fetch the scores of parents: without them, no difference from these has an interval."""
        if run.summary.failures or not any(stage.name == "evaluate" for stage in run.stages):
            return
        finder = self._make_finder(run)
        names = [name for name in _list_compared(run) if finder.hash(name, PREDICTIONS)]
        missing = [run.ownership.effective(name, "evaluate") for name in names if not finder.find(name, PREDICTIONS)]
        if missing and self.project.cache.may_fetch() and (reason := dvc.fetch(self.project.root, missing)):
            actions.annotate("warning", f"the report will lack intervals: {reason}")

    def _hand_on(self, folder: Path) -> None:
        """Leave what the report reads besides results, also of those that these experiments are compared with."""
        if self.ran is None:
            return
        hand_on(self._make_finder(self.ran), _list_compared(self.ran), folder)
        cache = self.project.cache
        for md5, out in self.recorded_before.items():
            if cache.has(md5):
                hand_on_file(cache.object_path(md5), folder / md5, is_scores=out == PREDICTIONS)

    def _make_finder(self, run: Run) -> OutFinder:
        self.project.index.forget()
        return OutFinder(self.project, run.ownership, self.project.planner(run.ownership), self.project.cache)

    def _build_status(self, error: ForceError | None) -> Status:
        states = self.ran.summary.states if self.ran else {}
        word = "ok" if error is None else "skipped" if self.is_skipped else "failed"
        word = "interrupted" if isinstance(error, InterruptedRunError) else word
        return Status(
            entry=self.name,
            wave=self.wave,
            targets=self.targets,
            status=word,
            commit=git.read_commit(self.project.root)[0] or "",
            message=error.message if error else "",
            hint=error.hint if error else "",
            stages={":".join(stage): state for stage, state in states.items()},
            log=self._read_log(),
        )

    def _read_log(self) -> str:
        """Return the last lines of the first stage that failed."""
        for experiment, stage in self.ran.summary.failures if self.ran else ():
            path = self.project.root / folder_of(experiment) / "outputs" / stage / "failed.log"
            if path.exists():
                lines = path.read_text(errors="replace").splitlines()[-_LOG_LINES:]
                return "\n".join(line[:_LOG_WIDTH] for line in lines)
        return ""

    def _collect_artifact(self, status: Status) -> None:
        folder = self.out / "artifact"
        folder.mkdir(parents=True)
        for experiment in status.experiments:
            outputs = self.project.root / folder_of(experiment) / "outputs"
            for stage in STAGES:  # the prepared data is in the DVC cache: too large, and the same for many
                copy_tree(outputs / stage, folder / experiment / stage, ["data"] if stage == "prepare" else [])
            for checkpoints in (find_checkpoint_base(self.project.root) / experiment).glob("*/"):
                if (checkpoints / PREPARED).exists():
                    continue  # as large as the prepared data
                if checkpoints.stat().st_mtime >= self.started - 1:  # others are of other branches
                    target = folder / "checkpoints" / experiment / checkpoints.name
                    copy_tree(checkpoints, target, ["*.tmp"], follow_links=False)
        write_json(folder / "workflow.json", _describe_workflow(status))
        write_manifest(folder)

    def _list_uses(self) -> list[tuple[str, str, str, str]]:
        """Return (experiment, stage, owner, how it ended) of every stage that the experiments use."""
        if self.ran is None:
            return []
        states = self.ran.summary.states
        stages = [(name, self.ran.ownership.effective(name, s)) for name in self.ran.experiments for s in STAGES]
        return [(name, s.name, s.experiment, states.get(s.id, "up to date")) for name, s in stages]


def _list_compared(run: Run) -> list[str]:
    """Return the experiments of a run, and those that a report compares them with."""
    parents = [experiment.parent.name for experiment in run.experiments.values() if experiment.parent]
    others = [gate.baseline for experiment in run.experiments.values() for gate in experiment.gates]
    return [name for name in dict.fromkeys([*run.experiments, *parents, *others]) if name in run.ownership]


def _check_names(name: str, targets: tuple[str, ...]) -> None:
    """Raise UsageError for what can be no name: it would become part of paths, and later jobs could not read it."""
    wanted = [(name, _ENTRY_PATTERN), *((target.partition(":")[0], NAME_PATTERN) for target in targets)]
    for text, pattern in wanted:
        if not pattern.fullmatch(text):
            raise UsageError(f"{text[:80]!r} can be no name of an experiment or a job", "force ci plan names them")
    parse_targets(targets)


def _describe_workflow(status: Status) -> dict[str, Any]:
    """Return where these results come from."""
    names = ("WORKFLOW", "RUN_ID", "RUN_ATTEMPT", "REPOSITORY", "REF", "SHA", "ACTOR", "EVENT_NAME")
    facts = {name.lower(): os.environ.get(f"GITHUB_{name}", "") for name in names}
    runner = {name: os.environ.get(f"RUNNER_{name.upper()}", "") for name in ("name", "os", "arch")}
    return {**facts, "runner": runner, "entry": status.entry, "targets": list(status.targets), "status": status.status}
