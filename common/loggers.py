"""Who hears of a training while it runs: the protocol, several loggers as one, and the history that a training leaves.

Loggers that no result depends on, as those that write to TensorBoard, stand in `pipeline.stages.trackers`: a change of
them trains nothing again.
"""

import csv
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

log = logging.getLogger("force")


class Logger(Protocol):
    """Hears of a training. A logger that fails is dropped with a warning: it never ends a training."""

    def start(self, facts: Mapping[str, Any]) -> None:
        """Hear what begins: `experiment`, the effective `params`, `num_steps` or None."""

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Hear, a few times a second at most, where the training is.

        `train_loss`, `samples_per_s`, `epoch`, `fraction` (0 … 1 of the whole training), `seconds_left`, and the last
        validation metrics.
        """

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Hear the row of the history that an epoch made: `epoch`, `step`, `train_loss`, `valid_accuracy` …

        A resumed training tells the rows of earlier epochs again.
        """

    def finish(self, status: str) -> None:
        """Hear that it is "finished" or "failed". Nothing follows; a training that is killed does not say so."""


class Loggers:
    """Several loggers as one. Which of them fails is dropped with a warning, but for the history: that is a result."""

    def __init__(self, loggers: Iterable[Logger], facts: Mapping[str, Any] | None = None) -> None:
        """Join them; `facts` is what they hear at the start besides what the trainer says."""
        self._loggers = list(loggers)
        self._facts = facts or {}
        self._has_started = False

    def start(self, facts: Mapping[str, Any]) -> None:
        """Tell all."""
        self._has_started = True
        self._tell(lambda logger: logger.start({**self._facts, **facts}))

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Tell all."""
        self._tell(lambda logger: logger.log_step(step, values))

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Tell all."""
        self._tell(lambda logger: logger.log_epoch(row))

    def finish(self, status: str) -> None:
        """Tell all who heard of a start; the history is written in any case."""
        if not self._has_started:
            self._loggers = [logger for logger in self._loggers if isinstance(logger, History)]
        self._has_started = False
        self._tell(lambda logger: logger.finish(status))

    def _tell(self, call: Callable[[Logger], None]) -> None:
        for logger in list(self._loggers):
            try:
                call(logger)
            except Exception as error:
                if isinstance(logger, History):
                    raise
                self._loggers.remove(logger)
                reason = (str(error).splitlines() or [""])[0]
                log.warning("%s hears no more: %s: %s", type(logger).__name__, type(error).__name__, reason)


class History:
    """One row of numbers an epoch: as JSON lines while training, as a table for `dvc plots` when it is finished."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rows: list[Mapping[str, float]] = []
        (folder / "history.jsonl").write_text("")  # there may be rows of a process that was killed

    def start(self, facts: Mapping[str, Any]) -> None:
        """Do nothing: the rows say all."""

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Do nothing: only epochs have rows."""

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Append a row; it is on disk when this returns."""
        self.rows.append(row)
        with (self._folder / "history.jsonl").open("a") as stream:
            stream.write(json.dumps(row) + "\n")

    def finish(self, status: str) -> None:
        """Write all rows as CSV."""
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        with (self._folder / "history.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
