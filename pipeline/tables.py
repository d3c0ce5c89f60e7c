"""Print tables for people: in colour on a terminal, as wide as their content elsewhere."""

import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

STYLES = {
    "up to date": "green",
    "cached": "cyan",
    "fetch": "cyan",
    "run": "yellow",
    "waiting": "dim",
    "running": "yellow",
    "done": "green",
    "failed": "red",
    "interrupted": "red",
    "skipped": "dim",
}


def is_terminal() -> bool:
    """Say whether a person sits at standard output. The terminals of CI have nobody who sees a line change."""
    return sys.stdout.isatty() and not os.environ.get("CI")


def make_console() -> "Console":
    """Return a console on standard output, wide enough for any table where no terminal sets its width."""
    is_live = is_terminal()
    make: type[Console] = importlib.import_module("rich.console").Console  # slow, and no need of what prints plain text
    return make(width=None if is_live else 200, highlight=False, soft_wrap=False, force_terminal=is_live)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[str] = ()) -> None:
    """Print a table; the columns named in `numeric` are aligned to the right."""
    if is_terminal():
        make_console().print(build_table(columns, rows, numeric))
        return
    cells = [list(columns), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (
            cell.rjust(width) if column in numeric else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        print("  ".join(padded).rstrip())


def build_table(
    columns: Sequence[str], rows: "Iterable[Sequence[RenderableType]]", numeric: Iterable[str] = ()
) -> "Table":
    """Return a table; a text is shown as it is, the name of a state in its colour."""
    make: type[Table] = importlib.import_module("rich.table").Table
    make_text: type[Text] = importlib.import_module("rich.text").Text
    table = make(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column in numeric
        table.add_column(column, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in rows:
        table.add_row(*(make_text(cell, style=STYLES.get(cell, "")) if isinstance(cell, str) else cell for cell in row))
    return table
