"""DVC's cache: hashes, what is there and whole, and what earlier runs left."""

import hashlib
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.generated import generate
from pipeline.dvccache import Damage, DvcCache, hash_out, run_key
from pipeline.index import FileIndex
from tests.checkouts import Ended

NUM_CORRUPTIONS = 50


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that DVC was set up in."""
    folder = tmp_path / "root"
    (folder / ".dvc").mkdir(parents=True)
    return folder


def configure(root: Path, text: str, name: str = "config") -> DvcCache:
    (root / ".dvc" / name).write_text(text)
    return DvcCache(root)


def store(cache: DvcCache, data: bytes, suffix: str = "") -> str:
    """Put an object into the cache and return its hash."""
    md5 = hashlib.md5(data).hexdigest() + suffix
    path = cache.object_path(md5)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return md5


def store_folder(cache: DvcCache, *files: bytes) -> tuple[str, list[str]]:
    """Put a folder into the cache; return its hash and those of its files."""
    members = [store(cache, data) for data in files]
    entries = [{"md5": md5, "relpath": f"{number}.bin"} for number, md5 in enumerate(members)]
    return store(cache, json.dumps(entries).encode(), ".dir"), members


def write_run(cache: DvcCache, key: str, value: str, text: str) -> Path:
    path = cache.folder / "runs" / key[:2] / key / value
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# Hashes


def test_hash_is_the_md5_of_the_bytes_when_an_out_is_a_file(root: Path) -> None:
    (root / "a.txt").write_text("abc")
    assert hash_out(root, "a.txt", FileIndex(root, root / "index")) == "900150983cd24fb0d6963f7d28e17f72"


def test_hash_is_what_dvc_add_recorded_when_an_out_is_a_nested_folder(root: Path) -> None:
    (root / "d" / "a" / "deep").mkdir(parents=True)
    for name, text in {"a.txt": "one", "a/b": "two", "a b": "three", "a/deep/ü.txt": "four"}.items():
        (root / "d" / name).write_text(f"{text}\n")
    assert hash_out(root, "d", FileIndex(root, root / "index")) == "95a9ab8660ade8c6a9a7e36f438911ad.dir"


def test_hash_is_what_dvc_add_recorded_when_an_out_is_an_empty_folder(root: Path) -> None:
    (root / "d").mkdir()
    assert hash_out(root, "d", FileIndex(root, root / "index")) == "d751713988987e9331980363e24189ce.dir"


def test_there_is_no_hash_when_there_is_no_out(root: Path) -> None:
    assert hash_out(root, "d", FileIndex(root, root / "index")) is None


@pytest.mark.parametrize(
    "edit",
    [
        lambda folder: (folder / "a.txt").write_text("another"),
        lambda folder: (folder / "a.txt").rename(folder / "b.txt"),
        lambda folder: (folder / "more.txt").write_text(""),
        lambda folder: (folder / "a.txt").unlink(),
    ],
)
def test_hash_of_a_folder_changes_when_a_file_in_it_does(root: Path, edit: Callable[[Path], object]) -> None:
    (root / "d").mkdir()
    (root / "d" / "a.txt").write_text("one")
    index = FileIndex(root, root / "index")
    before = hash_out(root, "d", index)
    edit(root / "d")
    index.forget()
    assert hash_out(root, "d", index) != before


# Objects


def test_object_is_kept_below_the_first_two_letters_of_its_hash(root: Path) -> None:
    assert DvcCache(root).object_path("abcdef.dir") == root / ".dvc" / "cache" / "files" / "md5" / "ab" / "cdef.dir"


def test_folder_is_in_the_cache_only_when_all_of_its_files_are(root: Path) -> None:
    cache = DvcCache(root)
    folder, members = store_folder(cache, b"one", b"two")
    assert cache.has(folder)
    cache.object_path(members[1]).unlink()
    assert not cache.has(folder)
    assert cache.has(members[0])


@pytest.mark.parametrize("text", ["", "[", '[{"mf5": "x", "relpath": "y"}]', '["x"]', "[1]", "1"])
def test_folder_is_not_in_the_cache_when_its_list_is_damaged(root: Path, text: str) -> None:
    cache = DvcCache(root)
    folder, _ = store_folder(cache, b"one")
    cache.object_path(folder).write_text(text)
    assert not cache.has(folder)


def test_no_damage_is_found_when_every_object_is_whole(root: Path) -> None:
    cache = DvcCache(root)
    folder, members = store_folder(cache, b"one", b"")
    assert [cache.find_damage(md5) for md5 in (folder, *members)] == [[], [], []]


def test_absent_objects_are_not_damaged_when_they_are_asked_for(root: Path) -> None:
    cache = DvcCache(root)
    folder, members = store_folder(cache, b"one", b"two")
    cache.object_path(members[0]).unlink()
    assert cache.find_damage(folder) == []
    assert cache.find_damage("0" * 32) == []
    assert cache.find_damage("0" * 32 + ".dir") == []


@pytest.mark.parametrize("data", [b"", b"on", b"One", b"one more"])
def test_damage_is_found_when_the_bytes_of_a_file_differ(root: Path, data: bytes) -> None:
    cache = DvcCache(root)
    md5 = store(cache, b"one")
    cache.object_path(md5).write_bytes(data)
    assert cache.find_damage(md5) == [Damage(md5, cache.object_path(md5))]


def test_damage_is_found_when_the_list_of_a_folder_is_truncated(root: Path) -> None:
    cache = DvcCache(root)
    folder, _ = store_folder(cache, b"one")
    path = cache.object_path(folder)
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.find_damage(folder) == [Damage(folder, path)]


def test_every_damaged_member_is_named_when_a_folder_is_checked(root: Path) -> None:
    cache = DvcCache(root)
    folder, members = store_folder(cache, b"one", b"two", b"three")
    for md5 in members[1:]:
        cache.object_path(md5).write_bytes(b"another")
    assert cache.find_damage(folder) == [Damage(md5, cache.object_path(md5)) for md5 in members[1:]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with two experiments, and everything that they leave in its cache."""
    return generate(tmp_path_factory.mktemp("recorded") / "checkout", 2)


def corrupt(data: bytes, way: str, chance: random.Random) -> bytes:
    """Return other bytes: one flipped, some cut off, or some added."""
    place = chance.randrange(len(data))
    if way == "flip":
        return data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :]
    return data[:place] if way == "truncate" else data + chance.randbytes(1 + place)


def test_doctor_names_the_object_when_one_of_fifty_random_corruptions_strikes(
    recorded: Path, force: Callable[..., Ended]
) -> None:
    chance = random.Random(20)
    objects = sorted(path for path in DvcCache(recorded).folder.rglob("*") if path.is_file())
    lists = [path for path in objects if path.suffix == ".dir"]
    assert lists
    assert len(objects) > len(lists)
    num_found = 0
    for number in range(NUM_CORRUPTIONS):
        path = chance.choice(lists if number % 4 == 0 else objects)
        whole = path.read_bytes()
        path.write_bytes(corrupt(whole, ("flip", "truncate", "append")[number % 3], chance))
        ended = force("doctor", "--json", at=str(recorded))
        path.write_bytes(whole)
        faults = [f["text"] for f in json.loads(ended.out) if f["check"] == "DVC cache" and not f["is_fine"]]
        num_found += ended.status == 5 and faults == [f"{path} is damaged"]
    assert num_found == NUM_CORRUPTIONS
    (finding,) = (f for f in json.loads(force("doctor", "--json", at=str(recorded)).out) if f["check"] == "DVC cache")
    assert finding["is_fine"]


# Configuration


def test_cache_stands_below_dot_dvc_when_nothing_is_configured(root: Path) -> None:
    cache = DvcCache(root)
    assert cache.folder == root / ".dvc" / "cache"
    assert (cache.remote_url, cache.remote_folder, cache.may_fetch()) == ("", None, False)


@pytest.mark.parametrize(
    ("written", "folder"), [("../../common-cache", "common-cache"), ("/a/b c", "/a/b c"), ("own", ".dvc/own")]
)
def test_cache_stands_where_the_config_says_when_it_does(root: Path, written: str, folder: str) -> None:
    cache = configure(root, f"[cache]\n    dir = {written}\n")
    assert cache.folder == (root.parent / folder if folder == "common-cache" else root / folder)


def test_local_config_counts_when_both_name_a_cache(root: Path) -> None:
    configure(root, "[cache]\n    dir = theirs\n[core]\n    remote = storage\n")
    cache = configure(root, "[cache]\n    dir = mine\n['remote \"storage\"']\n    url = s3://bucket\n", "config.local")
    assert cache.folder == root / ".dvc" / "mine"
    assert cache.remote_url == "s3://bucket"


def test_values_are_unquoted_when_dvc_had_to_quote_them(root: Path) -> None:
    text = '[core]\n    remote = s\n[cache]\n    dir = "/data/c #1"\n[\'remote "s"\']\n    url = "/data/a, b"\n'
    cache = configure(root, text)
    assert cache.folder == Path("/data/c #1")
    assert cache.remote_folder == Path("/data/a, b")


def test_defaults_hold_when_the_config_cannot_be_read(root: Path) -> None:
    assert configure(root, "no section\n").folder == root / ".dvc" / "cache"


def test_a_folder_may_have_objects_only_when_it_exists(root: Path) -> None:
    cache = configure(root, "[core]\n    remote = s\n['remote \"s\"']\n    url = ../../storage\n")
    assert cache.remote_folder == root.parent / "storage"
    assert not cache.may_fetch()
    (root.parent / "storage").mkdir()
    assert cache.may_fetch()


def test_a_remote_elsewhere_may_have_objects_always(root: Path) -> None:
    cache = configure(root, "[core]\n    remote = s\n['remote \"s\"']\n    url = s3://bucket/path\n")
    assert cache.remote_folder is None
    assert cache.may_fetch()


def test_a_remote_counts_only_when_it_is_the_default(root: Path) -> None:
    assert not configure(root, "['remote \"s\"']\n    url = s3://bucket/path\n").may_fetch()


# Earlier runs


def test_run_key_is_dvcs_when_a_stage_has_deps_params_and_outs() -> None:
    deps = {"b.py": "0" * 32, "a.py": "1" * 32}
    params = {"../params.yaml": {"train.epochs": 20, "train.warm": True}}
    expected = "ad223d9ac3b3c8e746a4ae58c3e6e86beb2dfd47e8aec2b9c3c4de5c51da9be9"
    assert run_key("force stage train", deps, params, ["outputs/b", "outputs/a"]) == expected
    reordered = {"../params.yaml": {"train.warm": True, "train.epochs": 20}}
    assert run_key("force stage train", dict(sorted(deps.items())), reordered, ["outputs/a", "outputs/b"]) == expected


@pytest.mark.parametrize(
    ("cmd", "deps", "params", "outs"),
    [
        ("force stage evaluate", {"a.py": "1"}, {"p": {"k": 1}}, ["o"]),
        ("force stage train", {"a.py": "2"}, {"p": {"k": 1}}, ["o"]),
        ("force stage train", {"b.py": "1"}, {"p": {"k": 1}}, ["o"]),
        ("force stage train", {"a.py": "1"}, {"p": {"k": True}}, ["o"]),
        ("force stage train", {"a.py": "1"}, {"q": {"k": 1}}, ["o"]),
        ("force stage train", {"a.py": "1"}, {}, ["o"]),
        ("force stage train", {"a.py": "1"}, {"p": {"k": 1}}, ["o", "p"]),
    ],
)
def test_run_key_differs_when_an_input_does(
    cmd: str, deps: dict[str, str], params: dict[str, dict[str, object]], outs: list[str]
) -> None:
    assert run_key(cmd, deps, params, outs) != run_key("force stage train", {"a.py": "1"}, {"p": {"k": 1}}, ["o"])


def test_run_is_found_only_when_all_of_its_outs_are_in_the_cache(root: Path) -> None:
    cache = DvcCache(root)
    folder, members = store_folder(cache, b"one")
    log = store(cache, b"a log")
    outs = f"outs: [{{path: model, md5: {folder}}}, {{path: log, md5: {log}}}]\n"
    write_run(cache, "abcd", "1", outs)
    assert cache.find_run("abcd") == {"model": folder, "log": log}
    assert cache.find_run("ffff") is None
    cache.object_path(members[0]).unlink()
    assert cache.find_run("abcd") is None


def test_the_newest_run_is_found_when_there_are_several(root: Path) -> None:
    cache = DvcCache(root)
    old, new = store(cache, b"old"), store(cache, b"new")
    os.utime(write_run(cache, "abcd", "2", f"outs: [{{path: o, md5: {old}}}]\n"), (1, 1))
    os.utime(write_run(cache, "abcd", "1", f"outs: [{{path: o, md5: {new}}}]\n"), (2, 2))
    assert cache.find_run("abcd") == {"o": new}


@pytest.mark.parametrize("text", ["", "[", "outs: 1\n", "outs: [{path: o}]\n", "- 1\n"])
def test_no_run_is_found_when_its_record_cannot_be_read(root: Path, text: str) -> None:
    cache = DvcCache(root)
    write_run(cache, "abcd", "1", text)
    assert cache.find_run("abcd") is None


def test_no_run_is_found_when_dvc_was_killed_before_it_wrote_the_record(root: Path) -> None:
    cache = DvcCache(root)
    write_run(cache, "abcd", "1", "").unlink()
    assert cache.find_run("abcd") is None
