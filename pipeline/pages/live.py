"""What stages do at this moment, read from the files that they write while they run.

Whatever these files hold, nothing here fails by it, or waits for it.
"""

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.bars import describe_progress, read_progress
from pipeline.errors import escape_controls
from pipeline.experiments import COMMON
from pipeline.ownership import STAGES, TRAIN, folder_of
from pipeline.pages.charts import draw_curve, list_curves
from pipeline.results import keep_finite
from pipeline.validation import find_faults
from pipeline.workspace import OUTCOME, TASK, Workspace, open_regular, read_end

StageId = tuple[str, str]  # experiment, stage

_MAX_LOG_BYTES = 16_000  # of the end of a log
_MAX_LOG_LINES = 40
_MAX_OUTCOME_BYTES = 2**20
_MAX_HISTORY_BYTES = 2**21  # that are read at once: the rest is, the next time
_MAX_ROWS = 300  # of a history that are kept: half as many at least, evenly spaced; even, so that the last one is
_MAX_CURVES = 12
_MAX_ENDED = 20
_DIED = "its process is gone, and left no outcome: force run goes on where it was, or begins again"


class _Place(NamedTuple):
    """Where a stage works, and what is looked at every second, of thousands of stages."""

    stage: StageId
    space: Workspace
    task: str
    outcome: str


class LiveReader:
    """Reads which stages of a checkout run, how far they are, and how those ended that did since it was made.

    Threads may share one.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._places: dict[str, list[_Place]] = {}
        self._histories: dict[StageId, History] = {}
        self._seen = {place.stage: _sign(place.outcome) for place in self._list()}
        self._ended: dict[StageId, dict[str, Any]] = {}

    def read(self) -> dict[str, list[dict[str, Any]]]:
        """Return the stages that are `running`, and those that `ended`, the last one first."""
        with self._lock:
            started: dict[StageId, dict[str, Any]] = {}
            for place in self._list():
                if entry := self._describe(place):
                    started[place.stage] = entry
                self._look_for_end(place)
            self._histories = {stage: history for stage, history in self._histories.items() if stage in started}
            self._ended = {stage: end for stage, end in self._ended.items() if stage not in started}
            running = [entry for entry in started.values() if entry["state"] == "running"]
            died = [entry for entry in started.values() if entry["state"] == "died"]
            ended = sorted([*died, *self._ended.values()], key=lambda entry: -entry["at"])
            return {"running": running, "ended": ended[:_MAX_ENDED]}

    def _list(self) -> Iterator[_Place]:
        """Yield all stages that may run, those of folders, too, that are no sound experiments now."""
        names: list[str] = []
        with suppress(OSError):
            names = sorted(entry.name for entry in os.scandir(self._root / "experiments") if entry.is_dir())
        for name in (COMMON, *names):
            if name not in self._places:
                spaces = [Workspace(self._root / folder_of(name), stage) for stage in STAGES]
                self._places[name] = [
                    _Place((name, space.stage), space, str(space.partial / TASK), str(space.final / OUTCOME))
                    for space in spaces
                ]
            yield from self._places[name]

    def _describe(self, place: _Place) -> dict[str, Any] | None:
        """Return what is known of a stage that has started and has not ended, None of others.

        One that nobody works on any more has died. The lock is there before the task, and goes after it.
        """
        stage, space, started = place.stage, place.space, _sign(place.task)
        if started is None:
            return None
        is_running = space.is_held()
        if not is_running and _sign(place.task) != started:
            return None
        progress = read_progress(space.progress_path)
        now = time.time() if is_running else _find_last_sign(space)
        return {
            "experiment": stage[0],
            "stage": stage[1],
            "state": "running" if is_running else "died",
            "reason": "" if is_running else _DIED,
            "at": now,
            "seconds": max(0.0, now - started[0] / 1e9),
            "fraction": progress["fraction"] if progress else None,
            "text": describe_progress(progress) if progress else "",
            "curves": self._draw_curves(stage, space, started) if is_running and stage[1] == TRAIN else [],
            "log": read_log(space.log_path),
        }

    def _draw_curves(self, stage: StageId, space: Workspace, started: tuple[int, int]) -> list[tuple[str, Any]]:
        history = self._histories.get(stage)
        if history is None or history.run != started:
            history = self._histories[stage] = History(space.partial / "history.jsonl", started)
        rows = history.read()
        names = list_curves(rows)[:_MAX_CURVES]
        return [(name, draw_curve(name, {stage[0]: rows}, has_legend=False)) for name in names]

    def _look_for_end(self, place: _Place) -> None:
        """Take note of an outcome that was not there before; a run may have put an old one aside, and back again."""
        stage, space, signature = place.stage, place.space, _sign(place.outcome)
        if signature is None or signature == self._seen.get(stage):
            return
        self._seen[stage] = signature
        outcome = _read_outcome(space.final / OUTCOME)
        if outcome is None:
            return
        reason = outcome["reason"]
        where = f"{reason['place']}: " if reason and reason["place"] else ""
        self._ended[stage] = {
            "experiment": stage[0],
            "stage": stage[1],
            "state": outcome["status"],
            "reason": escape_controls(f"{where}{reason['type']}: {reason['message']}") if reason else "",
            "at": signature[0] / 1e9,
            "seconds": outcome["wall_time_s"],
            "log": read_log(space.final / space.log_path.name if not reason else space.failed_log_path),
        }


class History:
    """What a training has recorded so far, read on from where it was read before; `run` tells one from the next."""

    def __init__(self, path: Path, run: tuple[int, int]) -> None:
        self.run = run
        self._path = path
        self._begin(0)

    def read(self) -> list[Mapping[str, float]]:
        """Return the rows, or as many of them as a chart can show, the last one with them."""
        with suppress(OSError):
            for line in self._read_lines():
                with suppress(ValueError, RecursionError):  # half a line of what was killed
                    row = json.loads(line)
                    if isinstance(row, dict):
                        self._add(keep_finite(row))
        return [*self._rows, *self._last]

    def _begin(self, inode: int) -> None:
        self._inode, self._offset = inode, 0
        self._num_rows, self._stride = 0, 1  # of so many rows one is kept
        self._rows: list[Mapping[str, float]] = []
        self._last: list[Mapping[str, float]] = []  # the last row, where it is not one of these

    def _read_lines(self) -> list[bytes]:
        """Return the lines that are new, but for one that is half written."""
        with open_regular(self._path) as file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._offset:  # as where the training was resumed
                self._begin(status.st_ino)
            file.seek(self._offset)
            content = file.read(_MAX_HISTORY_BYTES)
        whole, newline, rest = content.rpartition(b"\n")
        if len(rest) == _MAX_HISTORY_BYTES:
            whole, newline = rest, b""  # no row is so long
        self._offset += len(whole + newline)
        return whole.split(b"\n")

    def _add(self, row: Mapping[str, float]) -> None:
        is_kept = self._num_rows % self._stride == 0
        self._rows += [row] if is_kept else []
        self._last = [] if is_kept else [row]
        self._num_rows += 1
        if len(self._rows) > _MAX_ROWS:
            self._rows, self._stride = self._rows[::2], self._stride * 2


def read_log(path: Path) -> str:
    """Return the last lines of a log, as they are to be shown.

    What drew over its own line, as bars do, is shown as it stood in the end.
    """
    end = read_end(path, _MAX_LOG_BYTES) or b""
    lines = end.decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n").split("\n")
    last = [line.rstrip("\r").rpartition("\r")[2] for line in lines[-_MAX_LOG_LINES:]]
    return escape_controls("\n".join(last))


def _sign(path: str | Path) -> tuple[int, int] | None:
    """Return what changes with a file that is always written whole; None where there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _find_last_sign(space: Workspace) -> float:
    """Return when a stage that has died was last heard of."""
    signs = map(_sign, (space.partial / TASK, space.progress_path, space.log_path))
    return max((sign[0] for sign in signs if sign), default=0) / 1e9


def _read_outcome(path: Path) -> dict[str, Any] | None:
    try:
        outcome: dict[str, Any] = json.loads(read_end(path, _MAX_OUTCOME_BYTES) or b"")
    except (ValueError, RecursionError):
        return None
    return None if find_faults("outcome", outcome) else outcome
