"""The server of the pages, over loopback."""

import json
import re
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.pages.server import PageServer
from tests.servers import run_server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pages, beside what is nobody's business."""
    for path, text in {
        "site/index.html": "the index",
        "site/assets/page.css": "body {}",
        "site/assets/live.js": "run();",
        "site/experiments/x y.html": "an experiment",
        "site/.force-report": "",
        "secret.html": "secret",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "site/link.html").symlink_to(tmp_path / "secret.html")
    return tmp_path / "site"


@pytest.fixture
def server(folder: Path) -> Iterator[PageServer]:
    """A server of the pages."""
    live = {"version": 1, "running": [{"log": "</script>\ud800"}]}
    with run_server(PageServer("127.0.0.1", 0, lambda: folder, lambda: live)) as server:
        yield server


def ask(
    server: PageServer, path: str, method: str = "GET", host: str | None = None
) -> tuple[int, bytes, dict[str, str]]:
    """Return status, content and headers of an answer; no path is made another one on its way."""
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", f"127.0.0.1:{server.server_address[1]}" if host is None else host)
    connection.endheaders()
    answer: HTTPResponse = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("/", b"the index", "text/html; charset=utf-8"),
        ("/index.html?a=b", b"the index", "text/html; charset=utf-8"),
        ("/assets/page.css", b"body {}", "text/css; charset=utf-8"),
        ("/assets/live.js", b"run();", "text/javascript; charset=utf-8"),
        ("/experiments/x%20y.html", b"an experiment", "text/html; charset=utf-8"),
    ],
)
def test_pages_are_served_and_kept_nowhere(server: PageServer, path: str, content: bytes, kind: str) -> None:
    status, found, headers = ask(server, path)
    assert (status, found, headers["Content-Type"], headers["Cache-Control"]) == (200, content, kind, "no-store")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers


def test_live_figures_are_json(server: PageServer) -> None:
    status, found, headers = ask(server, "/live.json")
    assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, "application/json", "no-store")
    assert json.loads(found) == {"version": 1, "running": [{"log": "</script>\ud800"}]}


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.html",
        "/%2e%2e/secret.html",
        "/..%2fsecret.html",
        "/assets/../../secret.html",
        "/..\\secret.html",
        "//etc/passwd",
        "/link.html",
        "/.force-report",
        "/.",
        "/./",
        "/%2e",
        "/assets",
        "/experiments/",
        "/index.html%00.css",
        "/nothing.html",
        "/" + "x" * 5000 + ".html",
        "http://[",
    ],
)
def test_no_path_leads_out_of_the_folder(server: PageServer, path: str) -> None:
    status, content, _ = ask(server, path)
    assert (status, content) == (404, b"there is no such page\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "<b>"])
def test_nothing_but_reading_is_done(server: PageServer, method: str) -> None:
    status, content, _ = ask(server, "/", method)
    assert status == 501
    assert b"the index" not in content


@pytest.mark.parametrize("path", ["/", "/live.json"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "", "[", "localhost@evil"])
def test_a_foreign_name_that_leads_here_reads_nothing(server: PageServer, path: str, host: str) -> None:
    assert ask(server, path, host=host)[:2] == (421, b"this server has another name\n")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9000", "[::1]:8642", "LOCALHOST:1"])
def test_names_of_this_machine_are_its_own_behind_a_tunnel_too(server: PageServer, host: str) -> None:
    assert ask(server, "/", host=host)[0] == 200


def test_names_of_its_own_and_addresses_will_do_where_others_are_to_reach_it(server: PageServer) -> None:
    assert server.is_local
    server.is_local, server.names = False, {"localhost", "lab.example"}
    hosts = ("lab.example:80", "LAB.example", "10.0.0.1:8642", "[2001:db8::1]", "evil.example")
    assert [ask(server, "/", host=host)[0] for host in hosts] == [200, 200, 200, 200, 421]


def test_it_goes_on_when_a_browser_goes_away(server: PageServer, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", server.server_address[1])) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: loc")
    with socket.create_connection(("127.0.0.1", server.server_address[1])) as connection:
        connection.sendall(b"\xff\x00\r\n\r\n")
    assert ask(server, "/")[0] == 200
    assert capfd.readouterr().err == ""


def test_address_is_that_of_the_first_page(server: PageServer) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", server.url)


def test_folder_is_asked_for_with_each_page(folder: Path, tmp_path: Path) -> None:
    current = [folder]
    with run_server(PageServer("127.0.0.1", 0, lambda: current[0], dict)) as server:
        assert ask(server, "/")[1] == b"the index"
        (tmp_path / "new").mkdir()
        (tmp_path / "new/index.html").write_text("another index")
        current[0] = tmp_path / "new"
        assert ask(server, "/")[1] == b"another index"


@pytest.mark.parametrize("host", ["no.such.name.invalid", "192.0.2.1", "a" * 300])
def test_an_address_that_is_not_ours_is_said(host: str) -> None:
    with pytest.raises(UsageError, match=rf"nothing can be served on {host} port 0: "):
        PageServer(host, 0, Path, dict)
