"""Data that params name: dependencies of stages."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.planning import State
from pipeline.rawdata import find_fault, hash_data
from tests.checkouts import Checkout
from tests.recorded import plan, record, resolve, stage_of

FLOWERS = """\
params:
  data:
    source: {name: table, path: data/flowers.csv, target: kind}
    transforms: [{name: normalise}]
"""


@pytest.fixture
def flowers(checkout: Checkout) -> Checkout:
    """A checkout with an experiment that reads a table."""
    checkout.write("data/flowers.csv", "length,kind\n1,rose\n2,iris\n")
    checkout.experiment("flowers", FLOWERS)
    return checkout


def find_problems(checkout: Checkout, text: str) -> list[tuple[int, str]]:
    """Return (line, message) of the faults of an experiment with this experiment.yaml."""
    checkout.experiment("x", text)
    with pytest.raises(ConfigError) as caught:
        checkout.project().experiments.get("x")
    return [(problem.line, problem.message) for problem in caught.value.problems]


def test_stage_depends_on_the_data_and_on_the_code_that_reads_it(flowers: Checkout) -> None:
    stage = stage_of(flowers, "flowers", "prepare")
    assert stage.data == ("data/flowers.csv",)
    assert {"common/sources/table.py", "common/transforms/normalise.py"} <= set(stage.files)
    assert "common/sources/digits.py" not in stage.files
    assert stage_of(flowers, "flowers", "train").data == ()
    assert not [path for path in stage_of(flowers, "flowers", "train").files if "/sources/" in path]
    record(flowers)
    text = (flowers.root / "experiments/flowers/dvc.yaml").read_text()
    assert "- ../../data/flowers.csv\n" in text
    assert "- ../../common/sources/table.py\n" in text


def test_heir_reads_what_its_parent_does_but_for_what_it_sets(flowers: Checkout) -> None:
    flowers.write("data/other.csv", "length,kind\n1,rose\n")
    flowers.experiment("heir", "inherits: flowers\nparams: {data: {source: {path: data/other.csv}}}\n")
    flowers.experiment("plain", "inherits: flowers\nparams: {data: {split_seed: 1}}\n")
    flowers.experiment("digits", "inherits: flowers\nparams: {data: {source: {name: digits}}}\n")
    assert stage_of(flowers, "heir", "prepare").data == ("data/other.csv",)
    assert stage_of(flowers, "plain", "prepare").data == ("data/flowers.csv",)
    digits = stage_of(flowers, "digits", "prepare")
    assert digits.data == ()
    assert ("common/sources/digits.py" in digits.files, "common/sources/table.py" in digits.files) == (True, False)


def test_preparation_runs_when_the_data_changed(flowers: Checkout) -> None:
    record(flowers)
    assert plan(flowers, "flowers")["prepare"].state is State.UP_TO_DATE
    flowers.write("data/flowers.csv", "length,kind\n1,rose\n3,iris\n")
    planned = plan(flowers, "flowers")["prepare"]
    assert (planned.state, planned.why) == (State.RUN, "data/flowers.csv changed")


def test_folder_of_data_is_hashed_as_dvc_does(flowers: Checkout) -> None:
    for name in ("a.csv", "deep/b.csv"):
        flowers.write(f"data/tables/{name}", "length,kind\n1,rose\n")
    flowers.experiment("flowers", FLOWERS.replace("flowers.csv", "tables"))
    record(flowers)
    assert plan(flowers, "flowers")["prepare"].state is State.UP_TO_DATE
    flowers.write("data/tables/deep/b.csv", "length,kind\n2,rose\n")
    assert plan(flowers, "flowers")["prepare"].why == "data/tables changed"


def test_data_that_are_not_here_are_what_their_dvc_file_says(flowers: Checkout) -> None:
    record(flowers)
    project, _ = resolve(flowers)
    md5 = project.index.md5("data/flowers.csv")
    flowers.write("data/flowers.csv.dvc", f"outs:\n- md5: {md5}\n  size: 27\n  hash: md5\n  path: flowers.csv\n")
    (flowers.root / "data/flowers.csv").unlink()
    assert plan(flowers, "flowers")["prepare"].state is State.UP_TO_DATE
    flowers.write("data/flowers.csv.dvc", f"outs:\n- md5: {'0' * 32}\n  size: 27\n  hash: md5\n  path: flowers.csv\n")
    assert plan(flowers, "flowers")["prepare"].why == "data/flowers.csv changed"


@pytest.mark.parametrize("text", ["outs: 3\n", "outs: []\n", "{", "outs:\n- path: other.csv\n  md5: a\n"])
def test_dvc_file_that_says_nothing_gives_no_hash(flowers: Checkout, text: str) -> None:
    (flowers.root / "data/flowers.csv").unlink()
    flowers.write("data/flowers.csv.dvc", text)
    project, _ = resolve(flowers)
    assert hash_data(flowers.root, "data/flowers.csv", project.index) is None


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("/etc/passwd", "'/etc/passwd' is no plain path inside the checkout, relative to its root"),
        ("../flowers.csv", "'../flowers.csv' is no plain path"),
        ("data/../../x", "'data/../../x' is no plain path"),
        ("data//flowers.csv", "'data//flowers.csv' is no plain path"),
        ("./data/flowers.csv", "'./data/flowers.csv' is no plain path"),
        (".", "'.' is no folder of data"),
        (".git/config", "'.git/config' is no folder of data"),
        ("data/roses.csv", "there is no 'data/roses.csv', and no 'data/roses.csv.dvc'"),
        ("", "'' is no plain path"),
    ],
)
def test_path_is_refused_when_it_cannot_be_a_dependency(flowers: Checkout, path: str, fault: str) -> None:
    project, _ = resolve(flowers)
    assert find_fault(path, project.index).startswith(fault)


PIN = f"#sha256={'0a' * 32}"


@pytest.mark.parametrize("place", ["https://host/x.csv", "s3://bucket/deep/x.csv", f"https://host/x.zip?id=3{PIN}"])
def test_url_is_no_dependency(flowers: Checkout, place: str) -> None:
    flowers.experiment("flowers", FLOWERS.replace("data/flowers.csv", f"'{place}'"))
    assert stage_of(flowers, "flowers", "prepare").data == ()
    record(flowers)
    assert "://" not in (flowers.root / "experiments/flowers/dvc.yaml").read_text()
    assert plan(flowers, "flowers")["prepare"].state is State.UP_TO_DATE


def test_file_with_a_sha256_is_a_dependency_and_another_sha256_runs_the_stage(flowers: Checkout) -> None:
    flowers.experiment("flowers", FLOWERS.replace("flowers.csv", f"flowers.csv{PIN}"))
    assert stage_of(flowers, "flowers", "prepare").data == ("data/flowers.csv",)
    record(flowers)
    flowers.experiment("flowers", FLOWERS.replace("flowers.csv", f"flowers.csv{PIN.replace('0a', '0b')}"))
    assert plan(flowers, "flowers")["prepare"].why.startswith("data.source.path: ")


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("https://user:secret@host/x.csv", "the URL holds a user or a secret"),
        ("s3://key:secret@bucket/x.csv", "the URL holds a user or a secret"),
        ("https://host/x.csv?a=1&X-Amz-Signature=secret", "the URL holds a user or a secret"),
        ("https://host/x.csv?access_token=secret", "the URL holds a user or a secret"),
        ("https://host/x.csv#sha256=12", "'#sha256=12' is no sha256 to expect"),
        ("https://host/x.csv#md5=00", "'#md5=00' is no sha256 to expect"),
        ("data/flowers.csv#sha256=", "'#sha256=' is no sha256 to expect"),
        (f"data/roses.csv{PIN}", "there is no 'data/roses.csv', and no 'data/roses.csv.dvc'"),
        ("file:///etc/passwd", "'file:///etc/passwd' is of this machine alone"),
        ("s3://bucket/x.zip::file:///etc/passwd", "'s3://bucket/x.zip::file:///etc/passwd' is a chain"),
        ("https://", "'https://' names no file"),
        ("https://[host/x.csv", "the URL is none: Invalid IPv6 URL"),
    ],
)
def test_place_of_data_is_refused_when_it_cannot_be_read(flowers: Checkout, place: str, fault: str) -> None:
    project, _ = resolve(flowers)
    found = find_fault(place, project.index)
    assert found.startswith(fault)
    assert "secret@" not in found
    assert "=secret" not in found


def test_faults_of_sources_and_transforms_have_their_place(flowers: Checkout) -> None:
    text = "params:\n  data:\n    source: {name: table, path: data/roses.csv}\n"
    fault = "'data.source.path': there is no 'data/roses.csv', and no 'data/roses.csv.dvc'; did you mean 'flowers.csv'?"
    assert find_problems(flowers, text) == [(3, fault)]
    text = "params:\n  data:\n    source: {name: tabel}\n    transforms:\n    - {name: normalize}\n"
    assert find_problems(flowers, text) == [
        (3, "'data.source' names \"tabel\", which is no source; did you mean 'table'?"),
        (5, "'data.transforms.0' names \"normalize\", which is no transform; did you mean 'normalise'?"),
    ]
    text = "params: {data: {source: {name: table, pat: 1, missing: never}}}\n"
    assert [message for _, message in find_problems(flowers, text)] == [
        "'table' needs 'path'",
        "'table' takes no 'pat'; did you mean 'path'?",
        '\'data.source.missing\' is "never", wanted one of "error", "drop", "keep" or a number',
    ]


def test_source_of_a_lab_is_chosen_once_its_file_is_there(flowers: Checkout) -> None:
    flowers.write(
        "common/sources/ours.py",
        """\
        from dataclasses import dataclass

        from common.config import DataPath, PositiveInt
        from common.samples import Source


        @dataclass(frozen=True)
        class Ours(Source):
            folders: tuple[DataPath, ...] = ()
            num: PositiveInt = 1
        """,
    )
    flowers.experiment("x", "params: {data: {source: {name: ours, num: 3, folders: [data]}}}\n")
    stage = stage_of(flowers, "x", "prepare")
    assert (stage.data, "common/sources/ours.py" in stage.files) == (("data",), True)
    assert [m for _, m in find_problems(flowers, "params: {data: {source: {name: ours, num: 0}}}\n")] == [
        "'data.source.num' is 0, wanted a whole number of at least 1"
    ]


@pytest.mark.parametrize(
    ("num", "source"), [(0, "x = 1\nclass Other: pass\n"), (2, "from common.samples import Source\n")]
)
def test_module_of_sources_is_refused_when_it_has_not_one(flowers: Checkout, num: int, source: str) -> None:
    classes = "".join(f"class Source{place}(Source): pass\n" for place in range(num))
    flowers.write("common/sources/ours.py", source + classes)
    with pytest.raises(ConfigError, match=f"defines {num} subclasses of Source, wanted exactly one"):
        checkout_experiments(flowers)


def checkout_experiments(checkout: Checkout) -> Path:
    """Load what there is."""
    checkout.project().experiments.get("flowers")
    return checkout.root
