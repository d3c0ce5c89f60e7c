"""Serve pages and live figures to browsers on this machine: nothing is changed by any request."""

import ipaddress
import json
import socket
import sys
from collections.abc import Callable, Collection
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.errors import UsageError
from pipeline.folders import find_inside

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-eval'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TIMEOUT_S = 30  # of a connection on which nothing is asked


class PageServer(ThreadingMixIn, TCPServer):
    """Serves the files of the folder that `find_folder` returns, and as `/live.json` what `read_live` does.

    It listens at once, and answers while `serve_forever` runs. Raises UsageError where it cannot listen.
    """

    daemon_threads = True  # none keeps the process alive
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(
        self, host: str, port: int, find_folder: Callable[[], Path], read_live: Callable[[], dict[str, Any]]
    ) -> None:
        self.find_folder = find_folder
        self.read_live = read_live
        hint = "--port takes another one, --port 0 any that is free"
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self.address_family = family
            super().__init__((str(address[0]), port), _Handler)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"nothing can be served on {host} port {port}: {reason.lower()}", hint) from None
        self.names = {"localhost"}
        self.is_local = ipaddress.ip_address(str(self.server_address[0]).partition("%")[0]).is_loopback
        if not self.is_local:
            self.names |= {host.lower(), socket.gethostname().lower()}

    @property
    def url(self) -> str:
        """The address of the first page."""
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://{f'[{host}]' if self.address_family == socket.AF_INET6 else host}:{port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version = "force"
    sys_version = ""
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        """Answer with a page, what stands beside it, or the live figures."""
        if not is_own_name(self.headers.get("Host", ""), self.server.names, is_local=self.server.is_local):
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, "text/plain", b"this server has another name\n")
            return
        path = unquote(self.path.partition("?")[0]).removeprefix("/") or "index.html"
        if path == "live.json":
            facts = json.dumps(self.server.read_live(), allow_nan=False)
            self._answer(HTTPStatus.OK, "application/json", facts.encode())
            return
        try:
            file = find_inside(self.server.find_folder(), path)
            content, kind = file.read_bytes(), _TYPES[file.suffix]
        except (OSError, ValueError, KeyError):
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there is no such page\n")
            return
        self._answer(HTTPStatus.OK, kind, content)

    def _answer(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def is_own_name(host: str, names: Collection[str], *, is_local: bool) -> bool:
    """Say whether a Host header names this server, on any port, as that of a tunnel: by `names`, or an address.

    A name of somebody else's that leads here would let his pages read ours. `is_local`: only loopback addresses count.

    >>> hosts = ("127.0.0.1:8642", "localhost:9000", "[::1]", "10.0.0.1", "evil.example:8642", "", "[")
    >>> [is_own_name(host, ["localhost"], is_local=True) for host in hosts]
    [True, True, True, False, False, False, False]
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name in names:
            return True
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or not is_local
