"""Find out what keeps a stage from giving the same bits again, so that its record can say so."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TORCH_SAYS = "deterministic"  # in its warning of an operation that is not
_WE_SAY = "last bits may differ"  # in our own, of a training that was resumed elsewhere


@contextmanager
def collect_doubts(runtime: dict[str, Any], num_processes: int) -> Iterator[list[str]]:
    """Collect the reasons why another run of the same inputs may differ in its last bits."""
    doubts = []
    if not runtime.get("deterministic", True):
        doubts.append("runtime.deterministic is false")
    if num_processes > 1:
        doubts.append(f"computed by {num_processes} processes: another number of them adds in another order")
    handler = _Handler(doubts)
    log = logging.getLogger("force")
    log.addHandler(handler)
    show = warnings.showwarning

    def collect(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        text = str(message).splitlines()[0]
        if _TORCH_SAYS in text and text not in doubts:
            doubts.append(text)
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
            self._doubts.append(record.getMessage())
