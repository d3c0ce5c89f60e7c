"""`force ui`: the pages of the report, and what stages do at this moment, in a browser."""

import signal
import threading
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from pipeline.commands.report import read_history
from pipeline.pages.live import LiveReader
from pipeline.pages.renewal import Renewer
from pipeline.pages.server import PageServer
from pipeline.project import find_project


@click.command()
@click.option("--port", default=8642, type=click.IntRange(0, 65535), show_default=True, help="0: any that is free.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address of this machine to serve on.")
def command(port: int, host: str) -> None:
    """Serve the pages of `force report` in a browser, with the stages that run: how far, curves, logs.

    Ctrl-C ends it. It may be started before or after a run, and changes nothing.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    root = find_project(Path.cwd()).root
    with TemporaryDirectory(prefix="force-ui-", ignore_cleanup_errors=True) as folder:
        renewer, reader, stop = Renewer(root, Path(folder), read_history), LiveReader(root), threading.Event()

        def read_live() -> dict[str, Any]:
            return {"version": renewer.version, "faults": renewer.faults, **reader.read()}

        with PageServer(host, port, lambda: renewer.site, read_live) as server:
            renewer.build()
            threading.Thread(target=renewer.watch, args=(stop,), daemon=True).start()
            click.echo(f"{server.url} shows the report, and what runs; Ctrl-C ends it")
            if not server.is_local:
                click.echo("warning: whoever reaches this address reads metrics, params and logs", err=True)
            try:
                with suppress(KeyboardInterrupt):  # that is how it ends
                    server.serve_forever()
            finally:
                stop.set()
