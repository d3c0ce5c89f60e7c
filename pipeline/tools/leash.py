"""Hold a program that knows nothing of lifelines: `python -m pipeline.tools.leash PROGRAM ARGUMENT…`.

Started as a `process.Child`, it interrupts the program when its own standard input ends, and in the end clears away
what the program left running: so nothing outlives `force`, whatever ends that.
"""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from pipeline.tools.process import LIFELINE

# Everything that a program on a leash starts has this in its environment, and can be found by it.
MARK = "FORCE_LEASH"
_PATIENCE_S = 30.0  # for the steps of a workflow that always run
_CLEARING_S = 10.0


def main() -> int:
    """Run the program to its end and return its exit status."""
    environment = {name: value for name, value in os.environ.items() if name != LIFELINE}
    no_input = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    program = os.posix_spawnp(sys.argv[1], sys.argv[1:], environment, file_actions=no_input)
    ended = threading.Event()
    threading.Thread(target=_interrupt_with_input, args=(program, ended), daemon=True).start()
    status = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    ended.set()
    clear(os.environ.get(MARK, ""))
    return status if status >= 0 else 128 - status


def clear(mark: str) -> None:
    """End all processes with this mark but our own: ask them, and kill what is still there after a while."""
    deadline = time.monotonic() + _CLEARING_S
    asked: set[int] = set()
    num_empty = 0  # looks in a row: a process that is just starting a program shows no mark for a moment
    while num_empty < 2:
        found = list_marked(mark)
        num_empty = 0 if found else num_empty + 1
        is_late = time.monotonic() > deadline
        for process in found if is_late else found - asked:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL if is_late else signal.SIGTERM)
        asked |= found
        time.sleep(0.05)


def list_marked(mark: str) -> set[int]:
    """Return the processes with a mark, without our own; none where the system does not tell, as on macOS."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ") if mark else ():
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
    return found - {os.getpid()}


def _interrupt_with_input(program: int, ended: threading.Event) -> None:
    """Wait for the end of our input, then end the program: at first as Ctrl-C does."""
    while os.read(0, 1024):
        pass
    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if ended.is_set():
            return
        with suppress(ProcessLookupError):
            os.kill(program, how)
        ended.wait(_PATIENCE_S)


if __name__ == "__main__":
    sys.exit(main())
