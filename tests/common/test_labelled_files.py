"""Files below a folder: none of elsewhere, but for what DVC links."""

from pathlib import Path

import pytest

from common.labelled_files import check_link, open_inside
from common.samples import BadSourceError
from common.sources.table import Table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of data with a file, beside which others stand."""
    folder = tmp_path / "data"
    (folder / "red").mkdir(parents=True)
    (folder / "red/a.png").write_bytes(b"a")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/z.png").write_bytes(b"z")
    check_link.cache_clear()
    return folder


def read(folder: Path, name: str) -> bytes:
    with open_inside(str(folder), name) as stream:
        return stream.read()


def test_links_to_files_of_the_folder_are_followed(folder: Path) -> None:
    (folder / "red/b.png").symlink_to("a.png")
    (folder / "blue").symlink_to("red")
    assert [read(folder, name) for name in ("red/a.png", "red/b.png", "blue/a.png")] == [b"a"] * 3


def test_the_folder_itself_may_be_a_link(folder: Path) -> None:
    folder.with_name("link").symlink_to(folder)
    assert read(folder.with_name("link"), "red/a.png") == b"a"


@pytest.mark.parametrize(
    ("link", "target", "name"), [("red/z.png", "outside/z.png", "red/z.png"), ("blue", "outside", "blue/z.png")]
)
def test_links_that_lead_out_are_refused(folder: Path, link: str, target: str, name: str) -> None:
    (folder / link).symlink_to(folder.parent / target)
    with pytest.raises(BadSourceError, match=f"'{link}' is a link that leads out of '.*data'$"):
        read(folder, name)


def test_links_of_dvc_lead_to_its_cache(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "cache/files/md5/0c" / ("1" * 30)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"kept")
    (folder / "red/k.png").symlink_to(kept)
    assert read(folder, "red/k.png") == b"kept"


@pytest.mark.parametrize("name", ["../outside/z.png", "red/../../outside/z.png", "/etc/hostname"])
def test_names_that_lead_out_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(BadSourceError, match="leads out of"):
        read(folder, name)


def test_a_link_that_leads_nowhere_cannot_be_read(folder: Path) -> None:
    (folder / "red/n.png").symlink_to("nothing.png")
    with pytest.raises(BadSourceError, match=r"'red/n.png' cannot be read: No such file"):
        read(folder, "red/n.png")


def test_tables_of_elsewhere_are_refused(folder: Path) -> None:
    (folder / "red/a.png").unlink()
    (folder / "a.csv").write_text("a,b\n1,2\n")
    (folder / "b.csv").symlink_to(folder.parent / "outside/z.png")
    with pytest.raises(BadSourceError, match=r"'b\.csv' is a link that leads out of"):
        list(Table(str(folder)).parts())
