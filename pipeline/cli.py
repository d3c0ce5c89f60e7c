"""The command line `force`: its table of contents, and the one place where errors become text and exit codes.

A command's module is imported only when the command is called: `force --help` starts in a blink.
"""

import atexit
import gc
import importlib
import json
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from pipeline.errors import ForceError, escape_controls, suggest

COMMANDS = {
    "new": "Make a new experiment, ready to run.",
    "ls": "List the experiments.",
    "show": "Show an experiment's effective config, and where each value comes from.",
    "data": "Look at the prepared data of an experiment, and check them.",
    "plan": "Say what would run, what is inherited or cached, and why.",
    "sync": "Write the dvc.yaml files that the experiments imply.",
    "run": "Run what is not up to date, and compare the results.",
    "stage": "Run one stage of the experiment in this folder, as DVC does.",
    "compare": "Compare the metrics of experiments, where they are comparable.",
    "report": "Report on experiments: differences, how sure they are, and gates.",
    "ui": "Show the report, and what runs at this moment, in a browser.",
    "card": "Print the model card of an experiment.",
    "model": "Look at a model, or write it in another form.",
    "image": "Build the container image that stages run in, once for what goes into it.",
    "act": "Run the workflows on this machine with act.",
    "ci": "What the workflows call.",
    "runner": "Set up a self-hosted runner with a GPU.",
    "doctor": "Say what is missing or damaged on this machine, and what mends it.",
}


class LazyGroup(click.Group):
    """A group that imports a command when it is called: `NAME` from the module `pipeline.commands.<prefix>NAME`."""

    def __init__(self, table: dict[str, str], prefix: str = "", **settings: Any) -> None:
        super().__init__(**settings)
        self._table = table
        self._prefix = prefix

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(self._table)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return a command, imported now."""
        if name not in self._table:
            return None
        module = f"pipeline.commands.{self._prefix}{name.replace('-', '_')}"
        command: click.Command = importlib.import_module(module).command
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args` start with; say which one was meant."""
        if args[0] not in self._table:
            raise click.UsageError(f"no command '{args[0]}'{suggest(args[0], list(self._table))}", context)
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table, without importing what it names."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._table.items()))


force = LazyGroup(
    COMMANDS,
    name="force",
    help="Force Build: change one component, inherit everything else.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line and end the process."""
    gc.set_threshold(100_000)  # a command that reads a thousand experiments makes objects, hardly any garbage
    atexit.register(gc.freeze)  # and need not be searched for any when the process ends
    try:
        status = force.main(standalone_mode=False)
    except ForceError as error:
        click.echo(error.render(), err=True)
        status = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        status = error.exit_code
    except click.ClickException as error:
        click.echo(f"error: {_lower(error.format_message())}", err=True)
        click.echo(f"hint: {_name_called(sys.argv[1:])} --help", err=True)
        status = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("error: interrupted", err=True)
        status = 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away, as `head` does; nobody is there to be told
        status = 0
    except Exception:
        traceback.print_exc()
        click.echo("error: this is a bug in Force Build; please report it with the lines above", err=True)
        status = 1
    sys.exit(status)


def print_json(value: Any) -> None:
    """Print a value for programs to read."""
    click.echo(json.dumps(value, indent=1))


def print_text(text: str) -> None:
    """Print a text with names in it that anybody may have chosen."""
    click.echo(escape_controls(text).encode(errors="backslashreplace").decode())


def _name_called(arguments: Sequence[str]) -> str:
    """Return the command that arguments call, with the groups that it is in, as far as there is one."""
    command: click.Command | None = force
    names = ["force"]
    for argument in arguments:
        command = command.get_command(click.Context(command), argument) if isinstance(command, click.Group) else None
        if command is None:
            break
        names.append(argument)
    return " ".join(names)


def _lower(message: str) -> str:
    """Return a message of click's in the form of ours: lower case, without the full stop."""
    return (message[:1].lower() + message[1:]).rstrip(".")
