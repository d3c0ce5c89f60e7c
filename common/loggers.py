"""Who hears of a training."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Logger(Protocol):
    """Hears of a training."""

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """A few times a second."""

    def log_epoch(self, row: Mapping[str, Any]) -> None:
        """The row of an epoch."""


class Loggers:
    """Several."""

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self._loggers = list(loggers)

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Tell all."""
        for logger in self._loggers:
            logger.log_step(step, values)

    def log_epoch(self, row: Mapping[str, Any]) -> None:
        """Tell all."""
        for logger in self._loggers:
            logger.log_epoch(row)
