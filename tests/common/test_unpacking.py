"""Archives of data, sound and hostile."""

import gzip
import io
import stat
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common import unpacking
from common.samples import BadSourceError
from common.unpacking import ENDINGS, unpack

FILES = {"a.txt": b"one\n", "deep/b.txt": b"two\n" * 1000}
TARS = [ending for ending in ENDINGS if ending != ".zip"]


def write_tar(
    path: Path, members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w", encoding: str = "utf-8"
) -> Path:
    """Write a tar with these members."""
    with tarfile.open(path, mode, encoding=encoding, errors="surrogateescape") as archive:
        for member, content in members:
            member.size = member.size or len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a zip with these files."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write(path: Path, files: dict[str, bytes]) -> Path:
    """Write an archive as its name says."""
    ending = unpacking.find_ending(path.name)
    if ending == ".zip":
        return write_zip(path, files)
    mode = {"gz": "w:gz", "tgz": "w:gz", "xz": "w:xz", "txz": "w:xz", "bz2": "w:bz2", "tbz2": "w:bz2"}
    members = [(tarfile.TarInfo(name), content) for name, content in files.items()]
    return write_tar(path, members, mode.get(ending.rpartition(".")[2], "w"))


def make_member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    """Return the header of a member of a tar."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def read_files(path: Path) -> dict[str, bytes]:
    """Return the files of a folder."""
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def refuse(archive: Path) -> str:
    """Return why an archive is refused, once nothing is left of it."""
    before = sorted(archive.parent.iterdir())
    with pytest.raises(BadSourceError) as caught:
        unpack(archive, archive.parent / "unpacked")
    assert sorted(archive.parent.iterdir()) == before
    message = str(caught.value)
    assert message.startswith(f"'{archive}' ")
    assert "\n" not in message
    return message.removeprefix(f"'{archive}' ")


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_and_folders_are_as_they_were_packed(tmp_path: Path, ending: str) -> None:
    archive = write(tmp_path / f"data{ending}", FILES)
    assert unpack(archive, tmp_path / "unpacked") == tmp_path / "unpacked"
    assert read_files(tmp_path / "unpacked") == FILES


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["x.csv"], "x.csv"),
        (["deep/down/x.csv"], "deep/down/x.csv"),
        (["top/a.csv", "top/b.csv"], "top"),
        (["./top/a.csv", "./top/b.csv"], "top"),
        (["top/cats/a.png", "top/cats/b.png"], "top"),
        (["top/a.csv", "b.csv"], ""),
        (["top/a.csv", "top/b.csv", "__MACOSX/top/._a.csv"], "top"),
    ],
)
@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_only_file_or_folder_is_what_the_archive_stands_for(
    tmp_path: Path, ending: str, names: list[str], found: str
) -> None:
    archive = write(tmp_path / f"x{ending}", {name: name.encode() for name in names})
    assert unpack(archive, tmp_path / "unpacked") == tmp_path / "unpacked" / found


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a\\..\\..\\x", "C:/x"])
def test_member_that_leads_out_is_refused(tmp_path: Path, ending: str, name: str) -> None:
    archive = write(tmp_path / f"x{ending}", {"a.txt": b"", name: b"out"})
    assert refuse(archive) == f"holds {name!r}, which leads out of it"
    assert not Path("/etc/x").exists()


@pytest.mark.parametrize(
    ("member", "kind"),
    [
        (make_member("link", tarfile.SYMTYPE, "/etc"), "link"),
        (make_member("link", tarfile.SYMTYPE, "a.txt"), "link"),
        (make_member("link", tarfile.LNKTYPE, "../../secret"), "link"),
        (make_member("link", tarfile.CHRTYPE), "device"),
        (make_member("link", tarfile.FIFOTYPE), "device"),
    ],
)
def test_links_and_devices_of_a_tar_are_refused(tmp_path: Path, member: tarfile.TarInfo, kind: str) -> None:
    behind = (make_member("link/passwd"), b"root")
    archive = write_tar(tmp_path / "x.tar", [(make_member("a.txt"), b""), (member, b""), behind])
    assert refuse(archive) == f"holds the {kind} 'link': only files and folders are unpacked"


@pytest.mark.parametrize(("mode", "kind"), [(stat.S_IFLNK, "link"), (stat.S_IFIFO, "device")])
def test_links_and_devices_of_a_zip_are_refused(tmp_path: Path, mode: int, kind: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        member = zipfile.ZipInfo("link")
        member.external_attr = (mode | 0o777) << 16
        archive.writestr(member, "/etc")
    assert refuse(tmp_path / "x.zip") == f"holds the {kind} 'link': only files and folders are unpacked"


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar.xz", ".tar.bz2"])
def test_bomb_is_refused_once_it_grows_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setattr(unpacking, "_FREE_GROWTH", 2**20)
    archive = write(tmp_path / f"x{ending}", {"zeros": bytes(2**24)})
    assert refuse(archive).startswith("unpacks to more than 0.0 GiB")


def test_what_follows_the_end_of_a_tar_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_FREE_GROWTH", 2**20)
    archive = write(tmp_path / "x.tar", FILES)
    with gzip.open(tmp_path / "x.tar.gz", "wb") as packed:
        packed.write(archive.read_bytes() + bytes(2**24))
    assert refuse(tmp_path / "x.tar.gz").startswith("unpacks to more")


def test_zip_is_refused_when_its_header_lies(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "x.zip", {"zeros": bytes(2**20)})
    sizes = [size.to_bytes(4, "little") for size in (2**20, 2**10)]
    archive.write_bytes(archive.read_bytes().replace(*sizes))
    assert refuse(archive).startswith("is damaged: Bad CRC-32")


def test_archive_of_a_million_empty_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_FREE_GROWTH", 10_000)
    monkeypatch.setattr(unpacking, "_MAX_GROWTH", 1)
    assert refuse(write_zip(tmp_path / "x.zip", {f"{n}": b"" for n in range(100)})).startswith("unpacks to more")


def test_all_archives_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_MAX_BYTES", 4000)
    assert refuse(write(tmp_path / "x.zip", FILES)).startswith("unpacks to more")
    assert refuse(write(tmp_path / "x.tar", FILES)).startswith("unpacks to more")


def test_holes_of_a_sparse_file_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_FREE_GROWTH", 2**16)
    member = make_member("sparse")
    member.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(2**40)}
    member.pax_headers |= {"GNU.sparse.map": "0,4", "GNU.sparse.numblocks": "1", "GNU.sparse.name": "sparse"}
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member.size = 4
        archive.addfile(member, io.BytesIO(b"data"))
    assert refuse(tmp_path / "x.tar").startswith("unpacks to more")


def test_header_that_wants_all_memory_is_refused(tmp_path: Path) -> None:
    header = make_member("x", tarfile.XHDTYPE)
    header.size = 2**40
    (tmp_path / "x.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    assert refuse(tmp_path / "x.tar").startswith("is damaged: a header says that it has")


@pytest.mark.parametrize("ending", [".zip", ".tar"])
@pytest.mark.parametrize("names", [("a", "a"), ("a", "./a"), ("a", "a/b"), ("a/b", "a")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_name_that_comes_twice_is_refused(tmp_path: Path, ending: str, names: tuple[str, str]) -> None:
    path = tmp_path / f"x{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, name)
    else:
        write_tar(path, [(make_member(name), b"x") for name in names])
    assert refuse(path) == f"holds '{names[1]}' twice"


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.99])
def test_truncated_archive_is_refused(tmp_path: Path, ending: str, kept: float) -> None:
    noise = b"".join((n * 2654435761 % 2**32).to_bytes(4, "little") for n in range(20_000))
    archive = write(tmp_path / f"x{ending}", {"a": noise, "b": noise})
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content.rstrip(b"\0")) * kept)])
    assert refuse(archive).startswith("is damaged: ")


def test_tar_that_ends_between_members_is_refused(tmp_path: Path) -> None:
    archive = write(tmp_path / "x.tar", {"a": bytes(512), "b": bytes(512)})
    archive.write_bytes(archive.read_bytes()[:1024])
    assert refuse(archive) == "is damaged: it does not end as a tar does"


def test_tar_with_a_damaged_header_is_refused(tmp_path: Path) -> None:
    archive = write(tmp_path / "x.tar", {"a": bytes(512), "b": bytes(512)})
    content = bytearray(archive.read_bytes())
    content[1024] ^= 1
    archive.write_bytes(content)
    assert refuse(archive) == "is damaged: it does not end as a tar does"


def test_checksum_at_the_end_is_checked(tmp_path: Path) -> None:
    archive = write(tmp_path / "x.tar.gz", FILES)
    content = bytearray(archive.read_bytes())
    content[-6] ^= 1
    archive.write_bytes(content)
    assert refuse(archive).startswith("is damaged: CRC check failed")


def test_zip_inside_a_truncated_zip_is_not_taken_for_it(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", {"a.txt": b"inner"}).read_bytes()
    archive = write_zip(tmp_path / "x.zip", {"first": b"1", "inner.zip": inner, "last": b"2"}, zipfile.ZIP_STORED)
    content = archive.read_bytes()
    archive.write_bytes(content[: content.index(inner) + len(inner)])
    assert refuse(archive) == "is damaged: it does not begin as a zip does"


def test_encrypted_zip_is_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "x.zip", {"a": b"secret"}, zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    for place in (6, content.index(b"PK\1\2") + 8):
        content[place] |= 1
    archive.write_bytes(content)
    assert refuse(archive) == "is encrypted: unpack it, and dvc add the folder"


@pytest.mark.parametrize("ending", ENDINGS)
def test_archive_without_files_is_refused(tmp_path: Path, ending: str) -> None:
    assert refuse(write(tmp_path / f"x{ending}", {})) == "holds no files"


def test_archive_of_folders_alone_is_refused(tmp_path: Path) -> None:
    assert refuse(write_tar(tmp_path / "x.tar", [(make_member("a", tarfile.DIRTYPE), b"")])) == "holds no files"


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar"])
def test_what_is_no_archive_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    path.write_bytes(b"<html>not found</html>\n" * 100)
    assert refuse(path).startswith("is damaged: ")


def test_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    name = "caf\udce9.txt"
    archive = write_tar(tmp_path / "x.tar", [(make_member(name), b"x")])
    with gzip.open(tmp_path / "x.tar.gz", "wb") as packed:
        packed.write(archive.read_bytes())
    assert refuse(archive).startswith("holds a name that is not UTF-8: b'caf\\xe9.txt")
    assert refuse(tmp_path / "x.tar.gz").startswith("holds a name that is not UTF-8: b'caf\\xe9.txt")
    path = write_zip(tmp_path / "x.zip", {"cafX.txt": b"x"})
    path.write_bytes(path.read_bytes().replace(b"cafX", b"caf\xe9"))
    assert refuse(path) == "holds a name that is not UTF-8: b'caf\\xe9.txt'"


@pytest.mark.parametrize("is_declared", [True, False])
def test_name_in_utf_8_is_read_whether_a_zip_says_so_or_not(tmp_path: Path, is_declared: bool) -> None:
    path = write_zip(tmp_path / "x.zip", {"café.txt" if is_declared else "cafXX.txt": b"x"})
    path.write_bytes(path.read_bytes().replace(b"cafXX", "café".encode()))
    assert unpack(path, tmp_path / "unpacked").name == "café.txt"


def test_name_that_no_disk_takes_is_refused(tmp_path: Path) -> None:
    assert "File name too long" in refuse(write_zip(tmp_path / "x.zip", {"x" * 300: b"x"}))


def test_full_disk_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write(tmp_path / "x.zip", FILES)

    def fill(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unpacking, "_unpack_zip", fill)
    with pytest.raises(OSError, match="No space left"):
        unpack(archive, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tar.xz", ".tar.bz2"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_archive_is_refused_or_unpacked_inside(tmp_path: Path, ending: str, data: st.DataObject) -> None:
    with TemporaryDirectory(dir=tmp_path) as temporary:
        path = write(Path(temporary, f"x{ending}"), FILES)
        content = bytearray(path.read_bytes())
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            content[place] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
        out = Path(temporary, "out")
        try:
            found = str(unpack(path, out))
        except BadSourceError as error:
            found = str(error)
            assert not out.exists()
        assert found.startswith(str(out)) or str(path) in found
        assert "\n" not in found
        assert {each.name for each in Path(temporary).iterdir()} <= {path.name, "out"}
    assert not list(tmp_path.iterdir())
