"""Copies of what params name, and what the dataset says of them."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from common.data import Config, DataModule
from common.dataset import read_metadata
from common.part_states import PartStates
from common.samples import BadSourceError
from tests.common.test_unpacking import write
from tests.servers import FileServer, serve_files

TABLE = b"length,kind\n" + b"".join(b"%d.5,%s\n" % (n, b"rose" if n % 2 else b"iris") for n in range(40))
SHA256 = hashlib.sha256(TABLE).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A server with a table."""
    with serve_files() as server:
        server.files["/x.csv"] = TABLE
        yield server


def make_module(path: str, **params: Any) -> DataModule:
    """Return a data module that reads a table."""
    return DataModule(Config(source={"name": "table", "path": path, "target": "kind"}, **params))


def prepare(module: DataModule, folder: Path) -> dict[str, Any]:
    """Return the metadata of what a module prepares in a folder, and nothing beside it."""
    target = folder / "out" / "data"
    target.mkdir(parents=True)
    module.prepare(target)
    assert [path.name for path in target.parent.iterdir()] == ["data"]
    found: dict[str, Any] = json.loads((target / "metadata.json").read_text())
    return found


def refuse(module: DataModule, folder: Path) -> str:
    """Return why nothing can be prepared, once nothing is left of it."""
    (folder / "out" / "data").mkdir(parents=True)
    with pytest.raises(BadSourceError) as caught:
        module.prepare(folder / "out" / "data")
    assert [path.name for path in (folder / "out").iterdir()] == ["data"]
    assert str(folder / "out") not in str(caught.value)
    return str(caught.value)


def test_table_of_a_server_is_prepared_and_named_in_the_metadata(server: FileServer, tmp_path: Path) -> None:
    module = make_module(f"{server.url}/x.csv?id=3#sha256={SHA256}")
    metadata = prepare(module, tmp_path)
    assert metadata["sources"] == [{"name": f"{server.url}/x.csv", "sha256": SHA256}]
    assert (metadata["name"], sum(metadata["num_samples"].values())) == ("x.csv", 40)


def test_dataset_has_the_same_bytes_wherever_it_is_prepared(server: FileServer, tmp_path: Path) -> None:
    server.files["/x.tar.gz"] = write(tmp_path / "x.tar.gz", {"top/x.csv": TABLE}).read_bytes()
    module = make_module(f"{server.url}/x.tar.gz")
    first, second = (prepare(module, tmp_path / name) for name in "ab")
    assert first == second
    assert [source["name"] for source in first["sources"]] == [
        f"{server.url}/x.tar.gz",
        f"{server.url}/x.tar.gz/top/x.csv",
    ]


def test_other_content_than_the_params_say_is_refused(server: FileServer, tmp_path: Path) -> None:
    url = f"{server.url}/x.csv"
    message = refuse(make_module(f"{url}#sha256={'0' * 64}"), tmp_path)
    assert message == f"'{url}' has the sha256 {SHA256}, wanted {'0' * 64}"
    (tmp_path / "x.csv").write_bytes(TABLE)
    message = refuse(make_module(f"{tmp_path}/x.csv#sha256={'0' * 64}"), tmp_path / "local")
    assert message == f"'{tmp_path}/x.csv' has the sha256 {SHA256}, wanted {'0' * 64}"


def test_folder_has_no_sha256(tmp_path: Path) -> None:
    message = refuse(make_module(f"{tmp_path}#sha256={'0' * 64}"), tmp_path)
    assert message == f"there is no file '{tmp_path}': only files have a sha256"


def test_local_file_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(TABLE)
    module = make_module(f"{tmp_path}/x.csv#sha256={SHA256.upper()}")
    assert module.copies.find(module.config.source["path"]) == f"{tmp_path}/x.csv"  # type: ignore[index]
    assert prepare(module, tmp_path)["sources"] == [{"name": f"{tmp_path}/x.csv", "sha256": SHA256}]


def test_archive_of_images_is_a_folder_of_them(tmp_path: Path) -> None:
    files = {}
    for place in range(20):
        Image.new("RGB", (4, 4), (place, 0, 0)).save(tmp_path / "x.png")
        files[f"shades/{'dark' if place % 2 else 'light'}/{place}.png"] = (tmp_path / "x.png").read_bytes()
    archive = write(tmp_path / "pictures.zip", files)
    metadata = prepare(DataModule(Config(source={"name": "image_folder", "path": str(archive)})), tmp_path)
    assert metadata["classes"] == ["dark", "light"]
    assert metadata["name"] == "shades"
    assert metadata["sources"][0] == {"name": str(archive), "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}


def test_folder_that_is_called_like_an_archive_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "tables.zip"
    folder.mkdir()
    (folder / "x.csv").write_bytes(TABLE)
    assert prepare(make_module(str(folder)), tmp_path)["sources"][0]["name"] == f"{folder}/x.csv"


def test_fault_in_an_archive_is_named_by_its_place_in_there(server: FileServer, tmp_path: Path) -> None:
    content = write(tmp_path / "x.zip", {"x.csv": TABLE + b",iris\n", "y.csv": TABLE}).read_bytes()
    server.files["/x.zip"] = content
    message = refuse(make_module(f"{server.url}/x.zip"), tmp_path)
    assert message.startswith(f"{server.url}/x.zip/x.csv has no value in column 'length' of row 40")
    server.files["/x.zip"] = content[:-30]
    assert refuse(make_module(f"{server.url}/x.zip"), tmp_path / "cut").startswith(f"'{server.url}/x.zip' is damaged")


def test_vocabulary_of_a_transform_may_be_elsewhere(server: FileServer, tmp_path: Path) -> None:
    server.files["/words.txt"] = b"rose\niris\n"
    (tmp_path / "lines.txt").write_bytes(b"".join(b"a rose %d\n" % n for n in range(20)))
    source = {"name": "text", "path": f"{tmp_path}/lines.txt", "sample": "line"}
    transform = {"name": "tokenise", "length": 4, "vocabulary": f"{server.url}/words.txt"}
    module = DataModule(Config(source=source, transforms=(transform,), duplicates="allow"))
    assert prepare(module, tmp_path)["sources"][0]["name"] == f"{server.url}/words.txt"


def test_module_prepares_again_what_was_removed_before(server: FileServer, tmp_path: Path) -> None:
    module = make_module(f"{server.url}/x.csv")
    for name in "ab":
        prepare(module, tmp_path / name)
        assert read_metadata(tmp_path / name / "out" / "data").name == "x.csv"


def test_copies_of_a_preparation_that_was_killed_are_removed(tmp_path: Path) -> None:
    (tmp_path / "copies-x/0").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    DataModule(Config(source={"name": "digits"})).prepare(tmp_path / "data", PartStates(tmp_path / "parts.json", 5.0))
    assert not (tmp_path / "copies-x").exists()
