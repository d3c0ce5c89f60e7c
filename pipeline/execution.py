"""Execute a plan: check out what is cached, run the rest through DVC, check what came back."""

import signal
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from pipeline import rawdata
from pipeline.dvccache import hash_out
from pipeline.errors import ForceError, StageError
from pipeline.ownership import Ownership, Stage
from pipeline.planning import PlannedStage, State
from pipeline.progress import Progress
from pipeline.project import Project
from pipeline.recovery import Attic, quarantine
from pipeline.scheduling import run_graph
from pipeline.tools import dvc
from pipeline.tools.process import Child
from pipeline.workspace import OUTCOME, Workspace, read_json

StageId = tuple[str, str]


@dataclass
class Summary:
    """How the stages of a run ended."""

    states: dict[StageId, str] = field(default_factory=dict)
    failures: dict[StageId, StageError] = field(default_factory=dict)
    is_interrupted: bool = False

    def __str__(self) -> str:
        return ", ".join(f"{count} {state}" for state, count in sorted(Counter(self.states.values()).items()))


class Execution:
    """One run. `lock` is the descriptor of the run lock, which DVC's processes hold too; `variables` are for them."""

    def __init__(
        self,
        project: Project,
        ownership: Ownership,
        attic: Attic,
        progress: Progress,
        lock: int,
        variables: Mapping[str, str],
    ) -> None:
        self._project = project
        self._ownership = ownership
        self._attic = attic
        self._progress = progress
        self._run_lock = lock
        self._variables = variables
        self._planning = threading.Lock()  # planner and index belong to one thread at a time
        self._starting = threading.Lock()  # nothing starts while children are being ended
        self._children: set[Child] = set()
        self._is_stopping = False
        self._summary = Summary()

    def run(self, stages: list[Stage], num_workers: int) -> Summary:
        """Bring the stages up to date, `num_workers` at once, and say how each ended."""
        self._restore(stages)
        by_id = {stage.id: stage for stage in stages}
        dependencies = {stage.id: set(stage.needs) for stage in stages}
        try:
            run_graph(dependencies, lambda job: self._execute(by_id[job]), self._skip, num_workers, self._end_children)
        except KeyboardInterrupt:
            self._summary.is_interrupted = True
        return self._summary

    # Checking out what is recorded

    def _restore(self, stages: Iterable[Stage]) -> None:
        """Check out at once all outs that dvc.lock records for the present inputs; fetch what is not in the cache."""
        planner = self._project.planner(self._ownership)
        incomplete = [stage for stage in stages if _is_only_incomplete(planner.plan(stage))]
        self._quarantine(md5 for stage in incomplete for md5 in planner.recorded_outs(stage).values())
        wanted = [p for p in map(self._plan, incomplete) if p.state in (State.CACHED, State.FETCH)]
        cache = self._project.cache
        absent = [p for p in wanted if not all(map(cache.has, _cached_outs(p).values()))]
        if absent and cache.may_fetch():
            reason = dvc.fetch(self._project.root, [p.stage for p in absent])
            self._quarantine(md5 for p in absent for md5 in p.outs.values())
            if reason:
                self._progress.note(f"warning: the remote does not have everything: {reason}")
        ready = [p for p in wanted if all(map(cache.has, _cached_outs(p).values()))]
        for p in ready:
            self._keep_edits(p.stage, p.outs)
        if ready:
            dvc.checkout(self._project.root, [p.stage for p in ready])

    def _quarantine(self, hashes: Iterable[str]) -> None:
        damage = [found for md5 in dict.fromkeys(hashes) for found in self._project.cache.find_damage(md5)]
        for note in quarantine(dict.fromkeys(damage), self._attic):
            self._progress.note(note)

    def _keep_edits(self, stage: Stage, recorded: Mapping[str, str]) -> None:
        """Keep outs that are not what the stage wrote before something newer takes their place."""
        for out in stage.kind.outs:
            path = f"{stage.folder}/{out.path}"
            actual = hash_out(self._project.root, path, self._project.index)
            if actual is not None and actual != recorded.get(out.path):
                self._progress.note(
                    f"warning: {path} is not what dvc.lock records; it is kept as {self._attic.keep(path)}"
                )

    # Running one stage

    def _execute(self, stage: Stage) -> bool:
        """Bring one stage up to date; return whether it is. Runs in a worker thread."""
        workspace = Workspace(self._project.root / stage.folder, stage.name)
        state, why = "done", ""
        try:
            with self._planning:
                planned = self._plan(stage)
                if planned.state is State.UP_TO_DATE:
                    return self._end(stage, "up to date", "")
                state, why = "cached" if planned.state is State.CACHED else "done", planned.why
                if planned.outs:
                    self._quarantine(planned.outs.values())
                self._keep_edits(stage, self._project.planner(self._ownership).recorded_outs(stage))
                workspace.set_aside()
            self._pull_data(stage)
            failure = self._reproduce(stage, workspace) or self._check(stage)
            if failure is None:
                workspace.drop_previous()
        except StageError as error:
            failure = error
        except (ForceError, OSError) as error:
            hint = error.hint if isinstance(error, ForceError) else "force doctor, then run it again"
            failure = StageError(f"{stage.name} of {stage.experiment}: {error}", hint)
        if failure is None:
            return self._end(stage, state, why)
        with suppress(OSError):
            self._take_back(stage, workspace)
        if self._is_stopping:
            return self._end(stage, "interrupted", "")
        self._summary.failures[stage.id] = failure
        return self._end(stage, "failed", failure.message.removeprefix(f"{stage.name} of {stage.experiment} failed: "))

    def _pull_data(self, stage: Stage) -> None:
        """Bring the data that the stage reads, and .dvc files track, where they are not here."""
        if missing := rawdata.find_missing(self._project.root, stage.data):
            dvc.pull(self._project.root, missing)

    def _take_back(self, stage: Stage, workspace: Workspace) -> None:
        """Put the earlier outs back after a failure; outs that are new, but that DVC could not record, are kept."""
        outcome = read_json(workspace.final / OUTCOME)
        if workspace.has_previous() and outcome and outcome["status"] == "ok":
            kept = self._attic.keep(f"{stage.folder}/outputs/{stage.name}")
            self._progress.note(f"warning: DVC did not record what {stage.name} wrote; it is kept as {kept}")
        workspace.bring_back()

    def _reproduce(self, stage: Stage, workspace: Workspace) -> StageError | None:
        """Let DVC run the stage, or take it from its run-cache; return why that failed."""
        with self._starting:
            if self._is_stopping:
                return StageError("interrupted")
            workspace.progress_path.unlink(missing_ok=True)  # a run that was killed left it
            self._progress.start(stage.id, workspace.progress_path)
            child = dvc.start_repro(self._project.root, stage, self._variables, [self._run_lock])
            self._children.add(child)
        error, hint, is_ours = "", "", False  # between DVC's own words before and after
        for line in child.lines():
            is_ours = not line.startswith(("Generating lock file", "Updating lock file")) and (
                is_ours or line == f"> {stage.kind.cmd}"
            )
            if is_ours and not line.startswith("> "):
                self._progress.say(stage.id, line)
            if line.startswith(("error: ", "ERROR: ")):
                error = error or line.removeprefix("error: ").removeprefix("ERROR: ")
            elif error and line.startswith("hint: "):
                hint = hint or line.removeprefix("hint: ")
        status = child.wait()
        self._children.discard(child)
        if status == 0:
            return None
        error = error or f"{stage.name} of {stage.experiment} failed: dvc ended with status {status}"
        return StageError(error, hint or "dvc repro says more")

    def _check(self, stage: Stage) -> StageError | None:
        """Check that the outs are what DVC recorded: it does not verify what it checks out of its cache."""
        with self._planning:
            planned = self._plan(stage)
        if planned.state is State.UP_TO_DATE:
            return None
        return StageError(f"{stage.name} of {stage.experiment} ran, but {planned.why}", "force run again; force doctor")

    def _plan(self, stage: Stage) -> PlannedStage:
        self._project.index.forget()
        return self._project.planner(self._ownership).plan(stage)

    def _end(self, stage: Stage, state: str, text: str) -> bool:
        self._summary.states[stage.id] = state
        self._progress.end(stage.id, state, text)
        return state not in ("failed", "interrupted")

    def _skip(self, job: StageId, blocker: StageId) -> None:
        self._summary.states[job] = "skipped"
        self._progress.end(job, "skipped", f"needs {blocker[1]} of {blocker[0]}")

    def _end_children(self) -> None:
        """Start nothing new, and end what runs, all at once; another Ctrl-C does not stop this from being done."""
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        with self._starting:
            self._is_stopping = True
            children = list(self._children)
        for child in children:
            child.cut_lifeline()
        for child in children:
            child.end()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _is_only_incomplete(planned: PlannedStage) -> bool:
    """Say whether dvc.lock records the present inputs, and only outs are missing, edited or not in the cache."""
    return bool(planned.reasons) and all(reason.kind in ("output", "cache") for reason in planned.reasons)


def _cached_outs(planned: PlannedStage) -> dict[str, str]:
    """Return path → md5 of the outs that DVC's checkout brings."""
    in_git = {out.path for out in planned.stage.kind.outs if out.in_git}
    return {path: md5 for path, md5 in planned.outs.items() if path not in in_git}
