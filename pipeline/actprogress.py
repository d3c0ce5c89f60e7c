"""Show what act does: a line a step and job that ended, and on a terminal a row a job that runs."""

import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

from rich.live import Live
from rich.table import Table

from pipeline.actlog import Event, Kind
from pipeline.tables import build_table, is_terminal, make_console

NUM_TAIL_LINES = 30


@dataclass
class Step:
    """What is known of a step; what it printed may come after its end."""

    name: str
    started: float = field(default_factory=monotonic)
    seconds: float = 0.0
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=NUM_TAIL_LINES))
    reason: str = ""
    is_tolerated: bool = False
    failure: Event | None = None  # until it is printed


@dataclass
class Job:
    """What is known of a job."""

    name: str
    step: str = "set up"
    last_line: str = ""
    state: str = "running"
    started: float = field(default_factory=monotonic)
    steps: dict[str, Step] = field(default_factory=dict)
    summary: str = ""


class ActProgress:
    """The jobs of a run of act, in the order in which they start."""

    def __init__(self, is_verbose: bool) -> None:
        self.jobs: dict[str, Job] = {}
        self.notes: list[str] = []
        self._is_verbose = is_verbose
        self._lock = threading.Lock()
        self._is_live = is_terminal()
        self._live = Live(get_renderable=self._render, console=make_console(), refresh_per_second=4, transient=True)

    def __enter__(self) -> "ActProgress":
        if self._is_live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        for job in self.jobs.values():
            self._say_failures(job)
        if self._is_live:
            self._live.stop()

    @property
    def failed(self) -> list[str]:
        """The names of the jobs that failed."""
        return [job.name for job in self.jobs.values() if job.state == "failed"]

    def add(self, event: Event) -> None:
        """Take in what a line of act's log says."""
        if event.kind is Kind.NOTE:
            self.notes.append(event.text)
            return
        with self._lock:
            job = self.jobs.setdefault(event.job, Job(event.job))
            step = job.steps.setdefault(event.number, Step(event.step))
        _TAKE[event.kind](self, job, step, event)

    def note(self, line: str) -> None:
        """Print a line that stays."""
        if self._is_live:
            self._live.console.print(line, highlight=False, markup=False)
            return
        with suppress(BrokenPipeError):  # the reader went away, as `head` does: the run goes on
            print(line, flush=True)

    def _start_step(self, job: Job, step: Step, event: Event) -> None:
        with self._lock:
            job.step, job.last_line = event.step, ""
            step.started = monotonic()

    def _take_line(self, job: Job, step: Step, event: Event) -> None:
        with self._lock:
            job.last_line = event.text.strip() or job.last_line
        step.tail.append(event.text)
        if self._is_verbose:
            self.note(f"  {job.name} | {event.text}")

    def _take_annotation(self, job: Job, step: Step, event: Event) -> None:
        self.note(_format(event.state, f"{job.name}: {event.step}", "", event.text))

    def _take_summary(self, job: Job, step: Step, event: Event) -> None:
        job.summary += event.text

    def _take_reason(self, job: Job, step: Step, event: Event) -> None:
        if step.failure and not step.reason:
            step.reason = event.text.partition("\n")[0]
        else:
            self._take_line(job, step, event)

    def _tolerate(self, job: Job, step: Step, event: Event) -> None:
        step.is_tolerated = True

    def _end_step(self, job: Job, step: Step, event: Event) -> None:
        self._say_failures(job)
        step.seconds = monotonic() - step.started
        if event.state == "failed":
            step.failure = event
        else:
            self.note(_format(event.state, f"{job.name}: {event.step}", f"{step.seconds:.0f} s"))

    def _end_job(self, job: Job, step: Step, event: Event) -> None:
        self._say_failures(job)
        with self._lock:
            job.state = event.state
        self.note(_format(job.state, job.name, f"{monotonic() - job.started:.0f} s"))

    def _say_failures(self, job: Job) -> None:
        """Print each step that failed, with the last lines that it printed: by now, they are there."""
        for step in job.steps.values():
            event, step.failure = step.failure, None
            if event is None:
                continue
            text = ", ".join(filter(None, (step.reason, "the job goes on" if step.is_tolerated else "")))
            self.note(_format("failed", f"{job.name}: {event.step}", f"{step.seconds:.0f} s", text))
            for line in () if self._is_verbose else step.tail:
                self.note(f"  | {line}")

    def _render(self) -> Table:
        with self._lock:
            running = [job for job in self.jobs.values() if job.state == "running"]
            rows = [[job.name, job.step, f"{monotonic() - job.started:.0f} s", job.last_line] for job in running]
        return build_table(["job", "step", "time", ""], rows, ["time"])


_TAKE = {
    Kind.STARTED: ActProgress._start_step,
    Kind.OUTPUT: ActProgress._take_line,
    Kind.ANNOTATION: ActProgress._take_annotation,
    Kind.SUMMARY: ActProgress._take_summary,
    Kind.REASON: ActProgress._take_reason,
    Kind.TOLERATED: ActProgress._tolerate,
    Kind.ENDED: ActProgress._end_step,
    Kind.JOB_ENDED: ActProgress._end_job,
}


def _format(state: str, place: str, time: str, text: str = "") -> str:
    return "  ".join(part for part in (f"{state:<10}", place, time, text) if part)
