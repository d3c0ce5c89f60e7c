"""`force stage`: what DVC calls, in the folder of an experiment. Runs one stage in a process of its own.

This process knows no torch: it checks what the stage is about to read, keeps the log, and writes the outcome even when
the stage's process is killed.
"""

import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from pipeline import containers, monitoring
from pipeline.checkpoints import PREPARED, find_checkpoint_dir, hold_checkpoints, take_prepared
from pipeline.costs import record_cost
from pipeline.dvccache import hash_out, run_key
from pipeline.dvcfiles import render_dvc_file
from pipeline.errors import ForceError, PlanError, StageError, ToolError, UsageError, suggest
from pipeline.experiments import CIRCUMSTANCES, COMMON, Experiment
from pipeline.ownership import PROCESSES_VARIABLE, STAGES, TRAIN, Ownership, Stage, product_of
from pipeline.project import Project, find_project
from pipeline.rawdata import find_missing
from pipeline.tools.git import read_commit
from pipeline.tools.process import LIFELINE, Child
from pipeline.validation import find_faults
from pipeline.workspace import LOCK, OUTCOME, PROGRESS, TASK, Workspace, read_json, write_json

VERSION = 1
MODEL_SOURCE = "architecture"  # the folder in a built model that holds another tool's files, as they were


@dataclass(frozen=True)
class Failure:
    """Why a stage failed."""

    type: str
    message: str
    place: str = ""  # file:line in the repository

    def __str__(self) -> str:
        return (f"{self.place}: " if self.place else "") + f"{self.type}: {self.message}"


@click.command()
@click.argument("name", metavar="STAGE")
@click.pass_context
def command(context: click.Context, name: str) -> None:
    """Run one stage of the experiment in this folder, as DVC does."""
    if name not in STAGES:
        raise UsageError(f"no stage '{name}'{suggest(name, list(STAGES))}", f"stages are {', '.join(STAGES)}")
    project = find_project(Path.cwd())
    experiment = _find_experiment(project)
    ownership = project.ownership({experiment.name: experiment})
    stage = _find_stage(project, ownership, experiment, name)
    inputs = _check_inputs(project, stage)
    run = StageRun(project, experiment, stage, inputs)
    run.check_loggers()
    context.call_on_close(project.index.save)
    run.execute()


class StageRun:
    """One execution of a stage."""

    def __init__(self, project: Project, experiment: Experiment, stage: Stage, inputs: dict[str, str]) -> None:
        self.project = project
        self.experiment = experiment
        self.stage = stage
        self.inputs = inputs
        self.workspace = Workspace(project.root / stage.folder, stage.name)
        self.started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.started = perf_counter()
        self.commit = read_commit(project.root)
        self.image = os.environ.get(containers.IMAGE_VARIABLE)  # run in a container of it, where there is one
        self.num_processes = _read_num_processes() if stage.kind.runs_in_parallel else 1
        self.checkpoint_dir = self._find_checkpoint_dir()
        self.monitoring = monitoring.read_params(experiment.section(monitoring.SECTION))
        self.log_dir = monitoring.find_log_dir(project.root)

    def check_loggers(self) -> None:
        """Raise ToolError where the package of a logger is missing. A container has packages of its own."""
        if self.stage.name == "train" and not self.image:
            monitoring.check_installed(self.monitoring.loggers)

    def execute(self) -> None:
        """Run the stage; leave its outs and the outcome, or the outcome alone. Raises StageError with the reason."""
        sources = self._hash_sources()
        self.workspace.start()
        with self.workspace.hold():
            failure = self._attempt(sources)
            if failure is not None:
                self._leave_failure(failure)
        if failure is None:
            return
        hint = f"the log is {self.stage.folder}/outputs/{self.stage.name}/{self.workspace.failed_log_path.name}"
        raise StageError(f"{self.stage.name} of {self.experiment.name} failed: {failure}", hint)

    def _attempt(self, sources: dict[str, str | None]) -> Failure | None:
        """Run the stage's process and publish what it left; return why there is nothing to publish."""
        try:
            with hold_checkpoints(self.checkpoint_dir) as checkpoint_dir:
                write_json(self.workspace.partial / TASK, self._build_task(checkpoint_dir))
                status = self._run_process(checkpoint_dir)
                if checkpoint_dir and not status:
                    take_prepared(checkpoint_dir, self.workspace.partial / PREPARED)
            failure = self._find_failure(status, sources)
            if failure is None:
                self._publish()
        except OSError as error:
            return Failure(type(error).__name__, str(error))
        except ForceError as error:
            return Failure("BadResult", error.message)
        except KeyboardInterrupt:
            self._leave_failure(Failure("Interrupted", "Ctrl-C"))
            raise
        return failure

    def _find_checkpoint_dir(self) -> Path | None:
        """Return where a stage keeps its state: a folder for exactly these inputs, that no others resume from."""
        stage, root, index = self.stage, self.project.root, self.project.index
        if not stage.kind.keeps_checkpoints:
            return None
        deps = {stage.relative(path): str(md5) for path, md5 in self._hash_sources().items()}
        deps |= {stage.relative(path): str(hash_out(root, path, index)) for path in stage.products}
        params = {stage.relative(file): keys for file, keys in stage.params.items()}
        key = run_key(stage.kind.cmd, deps, params, [out.path for out in stage.kind.outs])
        return find_checkpoint_dir(root, self.experiment.name, key)

    def _hash_sources(self) -> dict[str, str | None]:
        """Return path → md5 of the code and data that the stage reads; no products."""
        root, index = self.project.root, self.project.index
        files = {path: index.md5(path) for path in self.stage.files}
        return files | {path: hash_out(root, path, index) for path in self.stage.data}

    def _build_task(self, checkpoint_dir: Path | None) -> dict[str, Any]:
        sections = {key.partition(".")[0] for key in self.experiment.settings} - set(CIRCUMSTANCES)
        return {
            "stage": self.stage.name,
            "root": str(self.project.root),
            "target": str(self.workspace.partial),
            "inputs": self.inputs,
            "checkpoint_dir": str(checkpoint_dir or ""),
            "num_processes": self.num_processes,
            "experiment": self.experiment.name,
            "monitoring": asdict(self.monitoring),
            "log_dir": str(self.log_dir),
            "components": {n: [c.module, c.class_name] for n, c in self.experiment.components.items()},
            "files": {n: str(self.project.root / c.file) for n, c in self.experiment.components.items() if c.file},
            "trust": {n: c.sha256 for n, c in self.experiment.components.items() if c.sha256},
            "weights": self._describe_weights(),
            "params": {name: self.experiment.section(name) for name in sorted(sections)},
            "built_models": {name: self._describe_model(owner) for name, owner in self.stage.built_models.items()},
        }

    def _describe_model(self, owner: str) -> dict[str, Any]:
        """Return where the model is that an experiment built, and the class to rebuild it with."""
        component = self.project.experiments.get(owner).components["model"]
        folder = self.project.root / product_of(owner, TRAIN)
        return {
            "folder": str(folder),
            "component": [component.module, component.class_name],
            "sha256": component.sha256,
        }

    def _describe_weights(self) -> dict[str, str]:
        """Return path and form of the weights that the model begins with, nothing where it has none."""
        weights = self.experiment.components["model"].weights
        return {"path": str(self.project.root / weights.path), "form": weights.form} if weights else {}

    def _run_process(self, checkpoint_dir: Path | None) -> int:
        """Run the stage's process to its end, its output to the log and to ours; return its exit status."""
        child = self._start_process(checkpoint_dir)
        signal.signal(signal.SIGTERM, lambda *_: child.cut_lifeline())
        if LIFELINE in os.environ:
            threading.Thread(target=_end_with_input, args=(child,), daemon=True).start()
        try:
            with self.workspace.log_path.open("w") as log, self._open_screen() as say:
                for line in child.lines():
                    say(line)
                    print(line, file=log, flush=True)
            return int(child.wait())
        except BaseException:
            child.end()
            raise

    def _open_screen(self) -> AbstractContextManager[Callable[[str], None]]:
        """Return what prints lines; where a person sits at a terminal, above the bar of the stage."""
        is_watched = (sys.stdout.isatty() or sys.stderr.isatty()) and not os.environ.get("CI")
        if not (self.stage.kind.keeps_checkpoints and is_watched):
            return nullcontext(lambda line: print(line, flush=True))
        bars = importlib.import_module("pipeline.bars")  # rich takes 0.1 s to load
        screen: AbstractContextManager[Callable[[str], None]] = bars.show_progress(self.workspace.progress_path)
        return screen

    def _start_process(self, checkpoint_dir: Path | None) -> Any:
        """Start the process, in a container where there is an image: a `Child`, or what can be used like one."""
        args = ("-m", "pipeline.stages", str(self.workspace.partial))
        root = self.project.root
        if not self.image:
            return Child([sys.executable, *args], root, {"PYTHONPATH": str(root)})
        package = Path(__file__).parents[1]  # ours, where the checkout has no pipeline/ of its own
        # Neither .git nor DVC's config: what an experiment's code cannot see, it cannot leak.
        sources = [root / "common", root / "experiments", package, self.project.cache.folder / "files"]
        sources += [root / path for path in self.stage.data]
        params = containers.read_params(self.experiment.section(containers.SECTION))
        loggers = self.monitoring.loggers if self.stage.name == "train" else ()
        log_dirs = monitoring.make_writable_dirs(self.log_dir, loggers)
        spec = containers.ContainerSpec(
            image=self.image,
            args=("python", *args),
            folder=root,
            params=params,
            readable=(*(path for path in sources if path.exists()), *map(Path, params.mounts)),
            writable=(self.workspace.partial, *([checkpoint_dir] if checkpoint_dir else []), *log_dirs),
            variables={
                "PYTHONPATH": f"{root}{os.pathsep}{package.parent}",
                "HOME": "/tmp",
                "PYTHONUNBUFFERED": "1",
                **monitoring.collect_variables(loggers),
            },
            labels=containers.build_labels(root, self.experiment.name, self.stage.name),
        )
        engine = importlib.import_module("pipeline.tools.docker").Engine()  # the SDK takes 0.3 s to load
        container = engine.create(spec, user=f"{os.getuid()}:{os.getgid()}")
        container.start()
        return container

    def _find_failure(self, status: int, sources: dict[str, str | None]) -> Failure | None:
        if strange := self.workspace.drop_strange():
            return Failure("BadResult", f"{', '.join(strange)}: a stage leaves files and folders, no links or devices")
        if status == 143:
            return Failure("Interrupted", "the stage was ended from outside")
        if status < 0:
            name = signal.Signals(-status).name
            more = ", as the system does when memory runs out" if name == "SIGKILL" else ""
            return Failure("Killed", f"the stage's process was killed by {name}{more}")
        if status:
            described = read_json(self.workspace.partial / "failure.json")
            return Failure(**described) if described else Failure("Crashed", f"the process ended with status {status}")
        self.project.index.forget()
        changed = [path for path, md5 in self._hash_sources().items() if sources[path] != md5]
        if changed:
            return Failure("SourceChanged", f"{', '.join(changed)} changed while the stage ran; run it again")
        facts = read_json(self.workspace.partial / "facts.json")
        if facts is None:
            return Failure("Crashed", "the process ended without a result")
        unseen = [path for path in facts["modules"] if path not in self.stage.files and not self._is_empty(path)]
        if unseen:
            return Failure("HiddenImport", f"{', '.join(unseen)} was imported in a way that no import statement shows")
        return None

    def _is_empty(self, path: str) -> bool:
        return path.endswith("/__init__.py") and bool(self.project.experiments.modules.facts(path)["is_empty"])

    def _publish(self) -> None:
        partial = self.workspace.partial
        facts = read_json(partial / "facts.json")
        write_json(partial / "run.json", self._build_record(facts))
        write_json(partial / OUTCOME, self._build_outcome("ok", None))
        for name in ("facts.json", TASK, PROGRESS, LOCK):
            (partial / name).unlink(missing_ok=True)
        _check_schemas(partial)
        self.workspace.publish()
        record_cost(self.project.root, self.experiment.name, read_json(self.workspace.final / "run.json"))

    def _leave_failure(self, failure: Failure) -> None:
        status = "interrupted" if failure.type == "Interrupted" else "failed"
        with suppress(OSError):  # the reason is printed all the same
            self.workspace.drop_strange()
            self.workspace.discard()
            write_json(self.workspace.final / OUTCOME, self._build_outcome(status, failure))

    def _build_record(self, facts: dict[str, Any]) -> dict[str, Any]:
        commit, is_dirty = self.commit
        return {
            "version": VERSION,
            "experiment": self.experiment.name,
            "stage": self.stage.name,
            "git": {"commit": commit, "is_dirty": is_dirty},
            "image": self.image,
            "hardware": facts["hardware"],
            "versions": facts["versions"],
            "num_processes": self.num_processes,
            "seed": self.experiment.section("runtime").get("seed"),
            "doubts": facts["doubts"],
            "started_at": self.started_at,
            "wall_time_s": round(perf_counter() - self.started, 3),
            "samples_per_s": facts["figures"].get("samples_per_s"),
            "num_samples": facts["figures"]["num_samples"],
            "peak_memory_mib": round(facts["peak_memory_mib"], 1),
            "peak_gpu_memory_mib": facts["peak_gpu_memory_mib"],
            "modules": facts["modules"],
        }

    def _build_outcome(self, status: str, failure: Failure | None) -> dict[str, Any]:
        return {
            "version": VERSION,
            "experiment": self.experiment.name,
            "stage": self.stage.name,
            "status": status,
            "reason": asdict(failure) if failure else None,
            "started_at": self.started_at,
            "wall_time_s": round(perf_counter() - self.started, 3),
        }


def _read_num_processes() -> int:
    text = os.environ.get(PROCESSES_VARIABLE, "1")
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{PROCESSES_VARIABLE} is '{text}', no number of processes", "force run --processes N sets it")
    return int(text)


def _find_experiment(project: Project) -> Experiment:
    parts = Path.cwd().relative_to(project.root).parts
    if parts == (COMMON,):
        return project.experiments.get(COMMON)
    if len(parts) == 2 and parts[0] == "experiments":
        return project.experiments.get(parts[1])
    hint = "cd common, or cd experiments/NAME; `force run NAME` does it for you"
    raise UsageError(f"'{Path.cwd()}' is not the folder of an experiment", hint)


def _find_stage(project: Project, ownership: Ownership, experiment: Experiment, name: str) -> Stage:
    """Return the stage. Raises PlanError where dvc.yaml is not what the experiment's files say."""
    owned = ownership.owned(experiment.name)
    dvc_path = project.root / owned[0].dvc_file
    if not dvc_path.exists() or dvc_path.read_text() != render_dvc_file(owned):
        raise PlanError(f"{owned[0].dvc_file} is out of date", "force sync")
    owner = ownership.owner(experiment.name, name)
    if owner != experiment.name:
        raise PlanError(f"{experiment.name} inherits {name} from {owner}", f"force run {owner}")
    return ownership.stage(experiment.name, name)


def _check_inputs(project: Project, stage: Stage) -> dict[str, str]:
    """Return upstream stage → folder, once all that the stage reads is here and checked.

    Raises ToolError where anything is missing, or not what its dvc.lock records.
    """
    planner = project.planner(Ownership({}, project.experiments.modules))
    inputs = {}
    if missing := [path for path in stage.data if not (project.root / path).exists()]:
        tracked = " ".join(find_missing(project.root, stage.data))
        raise ToolError(f"{', '.join(missing)}: no such data", f"dvc pull {tracked}" if tracked else "")
    for path, (owner, name) in stage.products.items():
        actual = hash_out(project.root, path, project.index)
        if actual is None:
            raise ToolError(f"{path} is missing: {name} of {owner} has not run here", f"force run {owner}")
        recorded = planner.recorded(owner).get(name, {}).get("outs", {}).get(STAGES[name].product)
        if recorded and recorded != actual:
            raise ToolError(f"{path} is not what {name} of {owner} wrote: damaged or edited", f"force run {owner}")
        if stage.upstream.get(name) == owner:
            inputs[name] = str(project.root / path)
    return inputs


def _check_schemas(folder: Path) -> None:
    """Check every JSON of ours. Raises ForceError with all faults of one: a component gave what no schema allows."""
    for path in folder.rglob("*.json"):
        if MODEL_SOURCE in path.relative_to(folder).parts[:-1]:
            continue
        faults = find_faults(path.stem, read_json(path))
        if faults:
            raise ForceError(f"{path.name} is not as its schema says: {'; '.join(faults)}")


def _end_with_input(child: Any) -> None:
    while os.read(0, 1024):  # not sys.stdin: its lock would be held when the interpreter ends
        pass
    child.cut_lifeline()
