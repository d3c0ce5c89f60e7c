"""Find out what keeps a stage from giving the same bits again, so that its record can say so."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# What torch warns of. It is warned of once a process, or at each call: that depends on the filters of warnings.
_TORCH_SAYS = re.compile(r"(\S+) does not have a deterministic implementation|(.*not deterministic because.*)")
_WE_SAY = "last bits may differ"  # in our own warning, of a training that was resumed elsewhere


@contextmanager
def collect_doubts(runtime: dict[str, Any], num_processes: int) -> Iterator[list[str]]:
    """Collect the reasons why another run of the same inputs may differ in its last bits."""
    doubts = []
    if not runtime.get("deterministic", True):
        doubts.append("runtime.deterministic is false")
    if num_processes > 1:
        doubts.append(f"computed by {num_processes} processes: another number of them adds and draws otherwise")
    handler = _Handler(doubts)
    log = logging.getLogger("force")
    log.addHandler(handler)
    show = warnings.showwarning

    def collect(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        if match := _TORCH_SAYS.search(str(message).partition("\n")[0]):
            _add(doubts, f"{match[1]} has no deterministic implementation" if match[1] else match[2])
        show(message, *args, **kwargs)

    warnings.showwarning = collect
    try:
        yield doubts
    finally:
        warnings.showwarning = show
        log.removeHandler(handler)


class _Handler(logging.Handler):
    def __init__(self, doubts: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._doubts = doubts

    def emit(self, record: logging.LogRecord) -> None:
        if _WE_SAY in record.getMessage():
            _add(self._doubts, record.getMessage())


def _add(doubts: list[str], doubt: str) -> None:
    if doubt not in doubts:
        doubts.append(doubt)
