"""The process of a stage, as DVC's command starts it."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 120


@contextmanager
def start_stage(target: str | Path, root: Path, also: Sequence[Path] = ()) -> Iterator[subprocess.Popen[str]]:
    """Start the stage whose task is in `target`, with the code below `root`, then below `also`; kill it at last."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.stages", str(target)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [root, *also])), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_log(process: subprocess.Popen[str]) -> str:
    """Return the rest of the log, once all who write it have ended."""
    assert process.stdout
    log = process.stdout.read()
    process.wait(PATIENCE_S)
    return log
