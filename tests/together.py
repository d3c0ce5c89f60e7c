"""Several real processes that compute one function together, as torchrun would start them."""

import os
import pickle
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from torch.distributed import TCPStore

from common import parallel

PATIENCE_S = 300

_CONTEXT = get_context("forkserver")  # imports torch once, and then forks
_CONTEXT.set_forkserver_preload(["sklearn.datasets", "torch._dynamo", "torch.distributed.fsdp"])


def run_together(num_processes: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """Call a function in processes that have joined each other; return what it returned, by rank.

    Raises what a process raised, the first by rank.
    """
    results = attempt_together(num_processes, function, *args)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def attempt_together(num_processes: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """Do the same; return what was raised in the place of what should have been returned."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    workers = []
    for rank in range(num_processes):
        ours, theirs = _CONTEXT.Pipe(duplex=False)
        variables = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(num_processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is ours
        }
        process = _CONTEXT.Process(target=_work, args=(theirs, variables, function, args))
        process.start()
        theirs.close()
        workers.append((process, ours))
    try:
        return [_receive(connection) for _, connection in workers]
    finally:
        for process, connection in workers:
            connection.close()
            process.kill()
            process.join()


def _receive(connection: Connection) -> Any:
    assert connection.poll(PATIENCE_S), "a process does not come to an end"
    return pickle.loads(connection.recv_bytes())


def _work(connection: Connection, variables: dict[str, str], function: Callable[..., Any], args: Any) -> None:
    os.environ.update(variables)
    try:
        with parallel.join("cpu"):
            result = function(*args)
    except Exception as error:
        result = error
    connection.send_bytes(pickle.dumps(result))
