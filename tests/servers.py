"""Servers on loopback, and one that gives files."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer
from threading import Thread
from typing import TypeVar

Server = TypeVar("Server", bound=BaseServer)


class FileServer(ThreadingHTTPServer):
    """What it gives are bytes, or the status of a failure; or fewer bytes than it promises."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes | int] = {}
        self.num_missing_bytes = 0
        self.asked: list[str] = []  # for what, in order

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        """Answer with a file."""
        self._answer(with_content=True)

    def do_HEAD(self) -> None:
        """Answer with the size of a file."""
        self._answer(with_content=False)

    def _answer(self, *, with_content: bool) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        found = self.server.files.get(self.path.partition("?")[0], 404)
        content = b"" if isinstance(found, int) else found
        self.send_response(found if isinstance(found, int) else 200)
        self.send_header("Content-Length", str(len(content) + self.server.num_missing_bytes))
        self.send_header("Connection", "close")
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def run_server(server: Server) -> Iterator[Server]:
    """Let a server answer as long as the block runs."""
    with server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def serve_files() -> Iterator[FileServer]:
    """Serve files as long as the block runs."""
    with run_server(FileServer()) as server:
        yield server
