"""`force ci`: what the workflows call. Each command reads what GitHub Actions says in the environment."""

from typing import Any

import click

from pipeline.cli import LazyGroup
from pipeline.tools import actions

COMMANDS = {
    "plan": "Say which experiments a push or a request affects, as matrices of jobs.",
    "image": "Build the image that the jobs of a push run in, unless it is there.",
    "experiment": "Run one entry of a matrix in containers, and collect what it left.",
    "results": "Commit the results of all experiments of a push to its branch.",
    "last-run": "Find the runs that trained a branch before.",
    "report": "Comment the metrics on the pull requests of a branch.",
    "gate": "Fail when an experiment did.",
    "verdict": "Say on GitHub how a push ended, on its commit and on its results.",
    "reap": "End the containers that this job left running.",
    "act-setup": "Write .actrc: run the workflows on this machine, without GitHub.",
}


class _Commands(LazyGroup):
    def invoke(self, context: click.Context) -> Any:
        """Call a command, whose output the runner shows and does not obey."""
        with actions.stop_commands():
            return super().invoke(context)


command = _Commands(COMMANDS, prefix="ci_", name="ci", help="What the workflows call.")
