"""Queries of a database as sources."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from common.data import Config, DataModule
from common.samples import BadSourceError, Samples
from common.sources import sql as module
from common.sources.sql import Sql

QUERY = "SELECT key, size, weight, kind FROM fish ORDER BY key"
FISH = [(1, 10, 2.5, "cod"), (2, 20, 3.5, "eel"), (3, 30, 4.5, "cod"), (4, 40, 5.5, "eel"), (5, 50, 6.5, "cod")]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a database of fish."""
    pytest.importorskip("sqlalchemy")
    return fill(tmp_path / "fish.db", FISH)


def fill(path: Path, rows: list[tuple[Any, ...]]) -> str:
    """Write rows into a database without types, where any column holds anything; return its URL."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS fish (key, size, weight, kind)")
        connection.executemany("INSERT INTO fish VALUES (?, ?, ?, ?)", rows)
    connection.close()
    return f"sqlite:///{path}"


def read(source: Sql) -> list[Samples]:
    """Return the samples of each part."""
    with closing(source.parts()) as parts:
        return [source.load(part) for part in parts]


def test_rows_of_a_query_are_samples(url: str) -> None:
    (samples,) = read(Sql(url, QUERY, "key", target="kind"))
    assert samples.inputs.tolist() == [list(row[1:3]) for row in FISH]
    assert samples.inputs.dtype == torch.float32
    assert (samples.ids, samples.targets) == (["1", "2", "3", "4", "5"], ["cod", "eel", "cod", "eel", "cod"])


def test_many_rows_come_in_parts(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NUM_ROWS", 2)
    parts = read(Sql(url, QUERY, "key", target="kind"))
    assert [part.ids for part in parts] == [["1", "2"], ["3", "4"], ["5"]]


def test_whole_numbers_may_turn_into_others_later(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NUM_ROWS", 5)
    fill(tmp_path / "fish.db", [(6, 0.5, 1, "cod")])
    assert read(Sql(url, QUERY, "key", target="kind"))[1].inputs.tolist() == [[0.5, 1]]


def test_digests_are_of_the_rows_that_are_kept(tmp_path: Path, url: str) -> None:
    source = Sql(url, QUERY, "key", target="kind", missing="drop")
    (before,) = read(source)
    fill(tmp_path / "fish.db", [(0, None, 1, "cod"), (7, 1, 1, "cod")])
    (after,) = read(source)
    assert after.ids == [*before.ids, "7"]
    assert before.digests is not None
    assert after.digests is not None
    assert (after.digests[:5], len(set(after.digests))) == (before.digests, 6)


def test_metadata_record_what_was_read(tmp_path: Path, url: str) -> None:
    found = []
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        source = {"name": "sql", "url": url, "query": QUERY, "id": "key", "target": "kind"}
        found.append(DataModule(Config(source=source)).prepare(tmp_path / run).sources)
        fill(tmp_path / "fish.db", [(9, 1, 1, "cod")])
    assert len(found[0][0]["sha256"]) == 64
    assert found[0] != found[1]


def test_percent_and_colon_are_as_the_database_has_them(url: str) -> None:
    query = "SELECT key, size, kind FROM fish WHERE kind LIKE '%o%' AND kind <> ':x'"
    (samples,) = read(Sql(url, query, "key", target="kind"))
    assert samples.ids == ["1", "3", "5"]


# What is refused


def refuse(*arguments: str, **options: Any) -> str:
    """Return what a source is refused for, which is one line."""
    with pytest.raises(BadSourceError) as caught:
        read(Sql(*arguments, **options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM birds", "the database says: no such table: birds"),
        ("SELEC", 'the database says: near "SELEC": syntax error'),
        ("", "the query finds no rows; wanted a SELECT"),
        ("DELETE FROM fish", "the query finds no rows; wanted a SELECT"),
        ("SELECT size, kind FROM fish", "the query has no column 'key'"),
        ("SELECT key, size, size, kind FROM fish", "the query has several columns of one name"),
        ("SELECT key, size, x'00ff' AS blob, kind FROM fish", "column 'blob' holds binary, no numbers"),
        ("SELECT key, kind FROM fish", "has no column that is left for inputs"),
        ("SELECT key, size FROM fish", "has no column 'kind'"),
    ],
)
def test_query_is_refused_when(url: str, query: str, message: str) -> None:
    found = refuse(url, query, "key", target="kind")
    assert message in found
    assert url in found
    assert len(read(Sql(url, QUERY, "key", target="kind"))[0].ids) == 5  # nothing was deleted


def test_column_is_refused_when_it_holds_several_types(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "fish.db", [(6, 1, 1, 3)])
    assert "column 'kind' holds values of several types" in refuse(url, QUERY, "key", target="kind")
    monkeypatch.setattr(module, "_NUM_ROWS", 5)
    assert "column 'kind' holds values of several types" in refuse(url, QUERY, "key", target="kind")


def test_missing_value_is_refused(tmp_path: Path, url: str) -> None:
    fill(tmp_path / "fish.db", [(6, 1, 1, None), (None, 1, 1, "cod")])
    assert "has no value in column" in refuse(url, QUERY, "key", target="kind")


def test_password_is_refused_in_the_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in ("postgresql://me:s3cret@host/db", "postgresql://me@host/db?password=s3cret"):
        found = refuse(bad, QUERY, "key")
        assert "the URL holds a password; data.source.password_variable names" in found
        assert "s3cret" not in found
    monkeypatch.delenv("FISH", raising=False)
    assert "the environment has no variable 'FISH'" in refuse(url, QUERY, "key", password_variable="FISH")


def test_url_is_refused_when_there_is_no_such_database(url: str, tmp_path: Path) -> None:
    assert "there is no file" in refuse(f"sqlite:///{tmp_path}/none.db", QUERY, "key")
    assert not (tmp_path / "none.db").exists()
    for bad in ("nonsense", "foo://x/y"):
        assert "is no URL of a database that is known" in refuse(bad, QUERY, "key")


@pytest.mark.parametrize("size", [0, 50, 100, 1000, 4000, 5000])
def test_database_is_refused_when_it_is_truncated(url: str, size: int) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    path.write_bytes(path.read_bytes()[:size])
    assert str(path) in refuse(url, QUERY, "key", target="kind")


def test_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    wanted = "this source wants the package 'sqlalchemy'; make extras NAMES=sql"
    assert refuse("sqlite:///x.db", QUERY, "key") == wanted
