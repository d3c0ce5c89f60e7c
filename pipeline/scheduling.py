"""Run jobs of a graph, independent ones at once, each after what it depends on."""

import threading
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from typing import TypeVar

Job = TypeVar("Job", bound=Hashable)


def run_graph(
    dependencies: Mapping[Job, set[Job]],
    execute: Callable[[Job], bool],
    skip: Callable[[Job, Job], None],
    num_workers: int,
    stop: Callable[[], None],
) -> None:
    """Call `execute` for each job, in threads, once all that it depends on returned True.

    After a False, everything that depends on that job is skipped (`skip` gets the job, and what it waited for), and all
    else goes on. When this thread is interrupted, `stop` is called, which must make running jobs return, nothing new
    is started, and the interrupt passes on.
    """
    sorter = TopologicalSorter(dependencies)
    sorter.prepare()
    failed: set[Job] = set()
    running: dict[Future[bool], Job] = {}
    stopping = threading.Event()

    def work(job: Job) -> bool:
        return not stopping.is_set() and execute(job)

    with ThreadPoolExecutor(num_workers) as pool:
        try:
            while sorter.is_active():
                for job in sorter.get_ready():
                    blocker = next((d for d in dependencies[job] if d in failed), None)
                    if blocker is None:
                        running[pool.submit(work, job)] = job
                    else:
                        skip(job, blocker)
                        failed.add(job)
                        sorter.done(job)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    if not future.result():
                        failed.add(job)
                    sorter.done(job)
        except BaseException:
            stopping.set()
            stop()
            raise
