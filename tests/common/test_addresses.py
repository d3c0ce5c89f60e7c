"""Data that are elsewhere: real servers on loopback."""

import hashlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.addresses import fetch, parse_address
from common.samples import BadSourceError
from tests.servers import FileServer, serve_files

CONTENT = b"length,kind\n" * 1_000_000


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A server with one file."""
    with serve_files() as server:
        server.files["/data/x.csv"] = CONTENT
        yield server


def refuse(url: str, folder: Path) -> str:
    """Return why what is at a URL cannot be fetched."""
    with pytest.raises(BadSourceError) as caught:
        fetch(parse_address(url), folder / "copy")
    return str(caught.value)


def test_file_of_a_server_is_copied_and_hashed(server: FileServer, tmp_path: Path) -> None:
    found = fetch(parse_address(f"{server.url}/data/x.csv?id=3"), tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_bytes() == CONTENT
    assert found == hashlib.sha256(CONTENT).hexdigest()
    assert server.asked.count("GET /data/x.csv?id=3") == 1


def test_answers_that_are_no_file_are_one_line(server: FileServer, tmp_path: Path) -> None:
    server.files |= {"/forbidden": 403, "/broken": 500}
    for query in ("", "?id=3"):
        assert refuse(f"{server.url}/none.csv{query}", tmp_path) == f"there is no '{server.url}/none.csv'"
    for name, status in (("forbidden", 403), ("broken", 500)):
        assert f"/{name}' cannot be read: ClientResponseError: {status}" in refuse(f"{server.url}/{name}", tmp_path)
        message = refuse(f"{server.url}/{name}?id=3", tmp_path)
        assert message.startswith(f"'{server.url}/{name}' cannot be read: ClientResponseError: {status}")
        assert "id=3" not in message


def test_file_that_ends_early_is_refused(server: FileServer, tmp_path: Path) -> None:
    server.num_missing_bytes = 10
    assert "cannot be read: ClientPayloadError" in refuse(f"{server.url}/data/x.csv", tmp_path)


def test_server_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    with serve_files() as server:
        url = server.url
    assert "cannot be read: ConnectionRefusedError" in refuse(f"{url}/x.csv", tmp_path)


def test_unknown_scheme_is_one_line(tmp_path: Path) -> None:
    assert refuse("htps://host/x.csv", tmp_path).startswith(
        "'htps://host/x.csv' cannot be read: ValueError: Protocol not known: htps"
    )


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.setattr(registry, "_registry", {})
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert refuse("s3://bucket/x.csv", tmp_path) == (
        "'s3://bucket/x.csv' wants a package that is not installed: make extras NAMES=s3"
    )


def test_object_of_s3_is_copied(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_ENDPOINT_URL": s3_url}
    for name, value in (variables | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)
    client = importlib.import_module("boto3").client("s3")
    client.create_bucket(Bucket="lab")
    client.put_object(Bucket="lab", Key="deep/x.csv", Body=CONTENT)
    found = fetch(parse_address("s3://lab/deep/x.csv"), tmp_path / "x.csv")
    assert (found, (tmp_path / "x.csv").read_bytes()) == (hashlib.sha256(CONTENT).hexdigest(), CONTENT)
    assert refuse("s3://lab/none.csv", tmp_path) == "there is no 's3://lab/none.csv'"
    client.close()


@pytest.mark.parametrize(
    ("text", "shown", "name", "sha256"),
    [
        ("data/x.csv", "data/x.csv", "x.csv", ""),
        (f"data/x.csv#sha256={'0A' * 32}", "data/x.csv", "x.csv", "0a" * 32),
        ("https://host:80/a%20b.csv?id=3", "https://host:80/a%20b.csv", "a b.csv", ""),
        (f"s3://bucket/x.csv#sha256={'0a' * 32}", "s3://bucket/x.csv", "x.csv", "0a" * 32),
        ("https://host/%2e%2e", "https://host/%2e%2e", "data", ""),
        ("https://host/a%2f..%2fb", "https://host/a%2f..%2fb", "b", ""),
        ("https://host", "https://host", "data", ""),
    ],
)
def test_address_says_where_and_what(text: str, shown: str, name: str, sha256: str) -> None:
    address = parse_address(text)
    assert (address.shown, address.name, address.sha256) == (shown, name, sha256)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x.csv#sha256=12", "'x.csv': '12' is no sha256, which has 64 digits from 0 to f"),
        ("https://me:pass@host/x", "'https://host/x': the URL holds a user or a secret, which params must not"),
        ("https://host/x?token=pass", "'https://host/x': the URL holds a user or a secret, which params must not"),
    ],
)
def test_address_is_refused_when_it_says_too_much(text: str, message: str) -> None:
    with pytest.raises(BadSourceError) as caught:
        parse_address(text)
    assert str(caught.value) == message
