"""The scheduler: order, failures, workers and interrupts."""

import threading

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


class Watched(dict[str, set[str]]):
    """Independent jobs; says when the scheduler comes to the last of them, so that all others are queued."""

    def __init__(self, *jobs: str) -> None:
        super().__init__({job: set() for job in jobs})
        self.are_queued = threading.Event()

    def __getitem__(self, job: str) -> set[str]:
        if job == list(self)[-1]:
            self.are_queued.set()
        return super().__getitem__(job)


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


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_as_many_jobs_run_at_once_as_there_are_workers_when_they_are_independent(num_workers: int) -> None:
    graph = Watched(*"abcdef")
    threads: dict[str, int] = {}

    def execute(job: str) -> bool:
        threads[job] = threading.get_ident()
        return graph.are_queued.wait(PATIENCE_S)  # so that every worker has its first job before one is done

    recorder = Recorder()
    run_graph(graph, execute, recorder.skip, num_workers, recorder.stop)
    assert sorted(threads) == list("abcdef")
    assert len(set(threads.values())) == num_workers


def test_a_running_job_is_stopped_and_none_is_started_when_the_main_thread_is_interrupted() -> None:
    is_running, stopped = threading.Event(), threading.Event()
    started = []

    class Interrupted(Watched):
        """Raises what Ctrl-C raises, when the scheduler comes to the last job."""

        def __getitem__(self, job: str) -> set[str]:
            if job == list(self)[-1]:
                is_running.wait(PATIENCE_S)
                raise KeyboardInterrupt
            return super().__getitem__(job)

    def execute(job: str) -> bool:
        started.append(job)
        is_running.set()
        return stopped.wait(PATIENCE_S)

    with pytest.raises(KeyboardInterrupt):
        run_graph(Interrupted("running", "queued", "last"), execute, Recorder().skip, 1, stopped.set)
    assert started == ["running"]
    assert stopped.is_set()


def test_the_error_passes_on_and_none_is_started_when_a_job_raises() -> None:
    recorder = Recorder()

    def execute(job: str) -> bool:
        recorder.executed.append(job)
        raise ValueError(f"a bug in {job}")

    with pytest.raises(ValueError, match="a bug in a"):
        run_graph({"a": set(), "b": {"a"}, "c": {"b"}}, execute, recorder.skip, 1, recorder.stop)
    assert (recorder.executed, recorder.num_stops) == (["a"], 1)
