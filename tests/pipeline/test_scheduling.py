"""The scheduler: order, failures, workers and interrupts."""

import signal
import threading
from collections.abc import Iterator

import pytest

from pipeline.scheduling import run_graph

PATIENCE_S = 30.0


class Recorder:
    """Executes jobs by noting them; those named in `failing` fail."""

    def __init__(self, *failing: str) -> None:
        self.failing = failing
        self.executed: list[str] = []
        self.skipped: list[tuple[str, str]] = []
        self.num_stops = 0

    def execute(self, job: str) -> bool:
        self.executed.append(job)
        return job not in self.failing

    def skip(self, job: str, blocker: str) -> None:
        self.skipped.append((job, blocker))

    def stop(self) -> None:
        self.num_stops += 1

    def run(self, dependencies: dict[str, set[str]], num_workers: int = 1) -> None:
        run_graph(dependencies, self.execute, self.skip, num_workers, self.stop)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt in this thread, whatever runs the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_each_job_runs_once_and_after_what_it_depends_on_when_all_succeed(num_workers: int) -> None:
    graph = {"d": {"b", "c"}, "b": {"a"}, "c": {"a"}, "a": set(), "e": {"d"}, "f": set()}
    recorder = Recorder()
    recorder.run(graph, num_workers)
    assert sorted(recorder.executed) == sorted(graph)
    for job, needed in graph.items():
        assert all(recorder.executed.index(other) < recorder.executed.index(job) for other in needed)
    assert (recorder.skipped, recorder.num_stops) == ([], 0)


def test_only_dependents_are_skipped_when_a_job_fails() -> None:
    recorder = Recorder("b")
    recorder.run({"a": set(), "b": {"a"}, "c": {"b"}, "d": {"c"}, "e": {"a"}, "f": set(), "g": {"f"}})
    assert set(recorder.executed) == {"a", "b", "e", "f", "g"}
    assert recorder.skipped == [("c", "b"), ("d", "c")]
    assert recorder.num_stops == 0


def test_a_job_is_skipped_once_when_all_that_it_needs_failed() -> None:
    recorder = Recorder("a", "b")
    recorder.run({"a": set(), "b": set(), "c": {"a", "b"}})
    assert [job for job, _ in recorder.skipped] == ["c"]


def test_nothing_happens_when_there_are_no_jobs() -> None:
    recorder = Recorder()
    recorder.run({})
    assert recorder.executed == []


def test_as_many_jobs_run_at_once_as_there_are_workers_when_they_are_independent() -> None:
    both = threading.Barrier(2)
    lock = threading.Lock()
    running, peaks = set[str](), list[int]()

    def execute(job: str) -> bool:
        with lock:
            running.add(job)
            peaks.append(len(running))
        both.wait(PATIENCE_S)  # passes only while two are here
        with lock:
            running.remove(job)
        return True

    recorder = Recorder()
    run_graph({job: set() for job in "abcdef"}, execute, recorder.skip, 2, recorder.stop)
    assert len(peaks) == 6
    assert max(peaks) == 2


def test_a_running_job_is_stopped_and_none_is_started_when_the_main_thread_is_interrupted(interruptible: None) -> None:
    stopped = threading.Event()
    started = []

    def execute(job: str) -> bool:
        started.append(job)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return stopped.wait(PATIENCE_S)

    graph = {"a": set(), "b": set(), "c": {"a"}}
    with pytest.raises(KeyboardInterrupt):
        run_graph(graph, execute, Recorder().skip, 1, stopped.set)
    assert started == ["a"]
    assert stopped.is_set()


def test_the_error_passes_on_and_none_is_started_when_a_job_raises() -> None:
    recorder = Recorder()

    def execute(job: str) -> bool:
        recorder.executed.append(job)
        raise ValueError(f"a bug in {job}")

    with pytest.raises(ValueError, match="a bug in a"):
        run_graph({"a": set(), "b": {"a"}, "c": {"b"}}, execute, recorder.skip, 1, recorder.stop)
    assert (recorder.executed, recorder.num_stops) == (["a"], 1)
