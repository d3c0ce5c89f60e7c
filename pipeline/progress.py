"""Show what a run does: a row a stage that lives on a terminal, a line a change elsewhere."""

import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from pipeline.bars import REFRESH_PER_S, read_progress, render_progress
from pipeline.tables import build_table, is_terminal, make_console

_MAX_ROWS = 30


@dataclass
class _Row:
    state: str = "waiting"
    text: str = ""
    progress_path: Path | None = None  # where a stage says how far it is
    started: float = 0.0
    ended: float = 0.0

    def seconds(self) -> str:
        if not self.started:
            return ""
        return f"{(self.ended or monotonic()) - self.started:.0f} s"

    def render(self) -> RenderableType:
        """Return what the stage has to say: a bar while it says how far it is, else a line."""
        progress = read_progress(self.progress_path) if self.progress_path and self.state == "running" else None
        return render_progress(progress) if progress else self.text


class Progress:
    """The stages of a run. Methods may be called from any thread."""

    def __init__(self, stages: list[tuple[str, str]]) -> None:
        self._rows = {stage: _Row() for stage in stages}
        self._lock = threading.Lock()
        self._is_live = is_terminal()
        self._live = Live(
            get_renderable=self._render, console=make_console(), refresh_per_second=REFRESH_PER_S, transient=True
        )

    def __enter__(self) -> "Progress":
        if self._is_live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_live:
            self._live.stop()
            make_console().print(self._render(everything=True))

    def start(self, stage: tuple[str, str], progress_path: Path | None = None) -> None:
        """A stage starts; the file at `progress_path` may say how far it is."""
        with self._lock:
            row = self._rows[stage]
            row.state, row.started, row.progress_path = "running", monotonic(), progress_path

    def say(self, stage: tuple[str, str], line: str) -> None:
        """A stage printed a line."""
        if line.strip():
            with self._lock:
                self._rows[stage].text = line.strip()

    def end(self, stage: tuple[str, str], state: str, text: str) -> None:
        """A stage ended as `state`: done, up to date, cached, failed, skipped."""
        with self._lock:
            row = self._rows[stage]
            row.state, row.text, row.ended = state, text, monotonic()
            if not self._is_live:
                place = f"{stage[0]}: {stage[1]}"
                _print("  ".join(part for part in (f"{state:<10}", place, row.seconds(), text) if part))

    def note(self, line: str) -> None:
        """Print a line that stays."""
        if self._is_live:  # without our lock: the console has its own, and holds it while it asks us for the rows
            self._live.console.print(line, highlight=False, markup=False)
        else:
            with self._lock:
                _print(line)

    def _render(self, everything: bool = False) -> Group:
        with self._lock:
            rows = everything_there = list(self._rows.items())
        hidden = 0
        if len(rows) > _MAX_ROWS and not everything:
            shown = [(stage, row) for stage, row in rows if row.state in ("running", "failed")][:_MAX_ROWS]
            hidden = len(rows) - len(shown)
            rows = shown
        cells = [[*stage, row.state, row.seconds(), row.render()] for stage, row in rows]
        table = build_table(["experiment", "stage", "state", "time", ""], cells, ["time"])
        if not hidden:
            return Group(table)
        counts = dict.fromkeys(("waiting", "done", "up to date", "cached", "skipped"), 0)
        for _, row in everything_there:
            counts[row.state] = counts.get(row.state, 0) + 1
        text = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        return Group(table, Text(f"… {text}", style="dim"))


def _print(line: str) -> None:
    with suppress(BrokenPipeError):  # the reader went away, as `head` does: the run goes on
        print(line, flush=True)
