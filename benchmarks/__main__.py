"""Measure and print the figures: `python -m benchmarks [NAME...]`. Ends with status 1 where a target is missed."""

import sys
import tempfile
from pathlib import Path

from benchmarks import (
    checkpointing,
    gpu_training,
    loading,
    noop_run,
    plan_scale,
    preparing,
    push_overhead,
    reporting,
    sharing,
    startup,
    training,
    vectorised,
)
from benchmarks.measuring import Figure
from pipeline.tables import print_table

BENCHMARKS = {
    "startup": startup,
    "plan_scale": plan_scale,
    "reporting": reporting,
    "noop_run": noop_run,
    "sharing": sharing,
    "training": training,
    "preparing": preparing,
    "loading": loading,
    "checkpointing": checkpointing,
    "gpu_training": gpu_training,
    "vectorised": vectorised,
    "push_overhead": push_overhead,
}


def main(names: list[str]) -> int:
    """Measure the named benchmarks, all without a name; return the exit status."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"error: no benchmark '{unknown[0]}'\nhint: there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    for name in names or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="force-benchmark-") as folder:
            measured = BENCHMARKS[name].measure(Path(folder))
        print(f"\n{BENCHMARKS[name].TITLE}\n")
        columns = ["figure", "measured", "target", "reached"]
        print_table(columns, [figure.cells() for figure in measured], numeric=("measured", "target"))
        sys.stdout.flush()
        figures += measured
    return 0 if all(figure.is_reached for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
