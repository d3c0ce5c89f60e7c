"""Tables as sources."""

import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from pyarrow import csv, feather, parquet

from common import csv_files
from common.samples import BadSourceError, Samples
from common.sources import table as module
from common.sources.table import Table

FLOWERS = pa.table(
    {"length": [5.1, 4.9, 6.3, 5.8], "petals": [3, 3, 4, 5], "species": ["rose", "iris", "rose", "lily"]}
)
SPECIES = ["rose", "iris", "rose", "lily"]


def read(source: Table) -> Samples:
    """Return all samples of a source as one part."""
    parts = [source.load(part) for part in source.parts()]
    ids = [part.ids for part in parts]
    return parts[0]._replace(
        inputs=torch.cat([part.inputs for part in parts]),
        targets=[label for part in parts for label in part.targets],
        ids=torch.cat(ids) if isinstance(ids[0], torch.Tensor) else [name for part in ids for name in part],
    )


def write(path: Path, table: pa.Table = FLOWERS) -> str:
    """Write a table as the ending says; return its path."""
    if path.suffix in (".csv", ".tsv"):
        csv.write_csv(table, path, csv.WriteOptions(delimiter="\t" if path.suffix == ".tsv" else ","))
    elif path.suffix == ".parquet":
        parquet.write_table(table, path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in table.to_pylist()))
    else:
        feather.write_feather(table, path)
    return str(path)


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "feather", "jsonl"])
def test_rows_of_every_kind_of_file_are_samples(tmp_path: Path, ending: str) -> None:
    samples = read(Table(write(tmp_path / f"flowers.{ending}"), target="species"))
    assert torch.equal(samples.inputs, torch.tensor([[5.1, 3], [4.9, 3], [6.3, 4], [5.8, 5]]))
    assert samples.inputs.dtype == torch.float32
    assert samples.targets == SPECIES
    assert samples.ids.tolist() == [0, 1, 2, 3]
    assert samples.input_names == ("length", "petals")


def test_files_of_a_folder_are_one_table(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "_SUCCESS"):
        write(tmp_path / name) if name.endswith("csv") else (tmp_path / name).touch()
    samples = read(Table(str(tmp_path), target="species"))
    assert samples.ids.tolist() == list(range(8))
    sources = Table(str(tmp_path)).describe()
    assert [Path(source["name"]).name for source in sources] == ["a.csv", "b.csv"]


def test_rows_are_counted_in_their_file_where_one_is_at_fault(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n" + "1,2\n" * 5)
    for line in ("z,2", ",2", "1,2,3"):
        (tmp_path / "b.csv").write_text(f"x,y\n1,2\n{line}\n")
        with pytest.raises(BadSourceError, match=r"b\.csv.* row 1 \(from 0\)"):
            read(Table(str(tmp_path)))


def test_large_file_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "_BLOCK_BYTES", 200)
    monkeypatch.setattr(csv_files, "_PROBE_BYTES", 200)
    monkeypatch.setattr(module, "_NUM_ROWS", 7)
    numbers = pa.table({"x": list(range(100)), "y": [str(n % 3) for n in range(100)]})
    for ending in ("csv", "parquet"):
        source = Table(write(tmp_path / f"numbers.{ending}", numbers), target="y", task="classification")
        assert len(list(source.parts())) > 3
        samples = read(source)
        assert samples.inputs.flatten().tolist() == samples.ids.tolist() == list(range(100))


def test_whole_numbers_may_turn_into_others_after_the_first_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "_BLOCK_BYTES", 30)
    path = tmp_path / "numbers.csv"
    path.write_text("x,y\n" + "1,a\n" * 20 + "1.5,a\n")
    assert read(Table(str(path), target="y")).inputs[-1].item() == 1.5


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [16, 23, 1000])
def test_lines_of_every_end_are_read_wherever_a_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, size: int
) -> None:
    monkeypatch.setattr(csv_files, "_BLOCK_BYTES", size)
    path = tmp_path / "numbers.csv"
    path.write_bytes("".join(f"{line}{end}" for line in ["x,y", *["1,a", "", "22,b"] * 9, "", "", "4,c"]).encode())
    for again in ("with an end of its last line", "without"):
        assert read(Table(str(path), target="y")).inputs.flatten().tolist() == [1, 22] * 9 + [4], again
        path.write_bytes(path.read_bytes().rstrip())


@pytest.mark.parametrize("size", [60, 100, 250, 4000])
def test_values_in_quotes_may_have_several_lines_wherever_a_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(csv_files, "_BLOCK_BYTES", size)
    path = tmp_path / "notes.csv"
    plain, quoted = "12,plain\n" * 20, '"3","one\r\ntwo, ""three"""\n' * 20
    path.write_text(f'x,note\n{plain}{quoted}4,5" pipe\n7,last', newline="")
    samples = read(Table(str(path), target="note"))
    assert samples.inputs.flatten().tolist() == [12] * 20 + [3] * 20 + [4, 7]
    assert samples.targets == ["plain"] * 20 + ['one\r\ntwo, "three"'] * 20 + ['5" pipe', "last"]


@pytest.mark.parametrize("end", ["", "\n"])
def test_last_row_of_nothing_but_delimiters_is_a_row(tmp_path: Path, end: str) -> None:
    path = tmp_path / "numbers.tsv"
    path.write_text(f"x\ty\n1\t2\n\t{end}")
    assert read(Table(str(path), missing=0.0)).inputs.tolist() == [[1, 2], [0, 0]]


def test_line_is_refused_when_it_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "_BLOCK_BYTES", 100)
    path = tmp_path / "numbers.csv"
    path.write_text("x,y\n" + f"1,{'a' * 1000}\n")
    with pytest.raises(BadSourceError, match=r"numbers\.csv cannot be read: a line has more than 100 bytes$"):
        read(Table(str(path), target="y"))


def test_names_in_quotes_may_have_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    path.write_text('"the\nfirst","y"\n1,a\n2,b\n')
    samples = read(Table(str(path), target="y"))
    assert (samples.inputs.flatten().tolist(), samples.targets) == ([1, 2], ["a", "b"])
    assert samples.input_names == ("the\nfirst",)


def test_file_that_was_read_to_its_end_is_hashed_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "_BLOCK_BYTES", 50)
    for text in ("x,y\n" + "1,2\n" * 99, "x,y\n" + "1,2\n" * 50 + '"1",2\n' * 9, "x,y\n1,2"):
        (path := tmp_path / "numbers.csv").write_text(text)
        source = Table(str(path))
        read(source)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        assert source._hashes == ({} if '"' in text else {path: sha256})
        assert source.describe() == ({"name": str(path), "sha256": sha256},)


def test_delimiter_of_several_characters_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv")
    with pytest.raises(BadSourceError, match=r"a\.csv cannot be read with the delimiter ';;': "):
        read(Table(path, delimiter=";;"))


def test_targets_are_quantities_from_the_first_row_when_params_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "_PROBE_BYTES", 40)
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + "1,2\n" * 20 + "1,2.5\n")
    assert read(Table(str(path), target="y", task="regression")).targets[-1] == 2.5


@pytest.mark.parametrize(
    ("options", "targets"),
    [
        ({"target": "petals", "inputs": ("length",)}, ["3", "3", "4", "5"]),
        ({"target": "petals", "inputs": ("length",), "task": "regression"}, [3, 3, 4, 5]),
        ({"target": "length", "inputs": ("petals",)}, pytest.approx([5.1, 4.9, 6.3, 5.8])),
    ],
)
def test_targets_are_labels_or_quantities(tmp_path: Path, options: dict[str, Any], targets: Any) -> None:
    source = Table(write(tmp_path / "flowers.csv"), **options)
    found = source.load(next(source.parts())).targets
    assert (found.tolist() if isinstance(found, torch.Tensor) else found) == targets


def test_several_targets_are_a_row_of_quantities(tmp_path: Path) -> None:
    source = Table(
        write(tmp_path / "a.csv", FLOWERS.drop(["species"])), target=("petals", "length"), inputs=("petals",)
    )
    assert source.load(next(source.parts())).targets.tolist() == [pytest.approx(row) for row in TARGETS]


TARGETS = [[3, 5.1], [3, 4.9], [4, 6.3], [5, 5.8]]


def test_there_is_nothing_to_predict_without_a_target(tmp_path: Path) -> None:
    source = Table(write(tmp_path / "a.csv", FLOWERS.drop(["species"])))
    assert source.load(next(source.parts())).targets.shape == (4, 0)


def test_columns_say_id_group_split_and_time(tmp_path: Path) -> None:
    extended = FLOWERS.append_column("key", pa.array([7, 8, 9, 10])).append_column("field", pa.array(list("abab")))
    extended = extended.append_column("part", pa.array(["train", "test", "train", "train"]))
    days = [datetime.date(2020, month, 1) for month in (1, 2, 3, 4)]
    extended = extended.append_column("day", pa.array(days))
    for ending in ("csv", "parquet"):
        path = write(tmp_path / f"flowers.{ending}", extended)
        source = Table(path, target="species", id="key", group="field", split="part", time="day")
        samples = source.load(next(source.parts()))
        assert (samples.ids, samples.groups) == (["7", "8", "9", "10"], list("abab"))
        assert samples.splits == ["train", "test", "train", "train"]
        assert samples.times == ["2020-01-01", "2020-02-01", "2020-03-01", "2020-04-01"]
        assert samples.inputs.shape == (4, 2)


def test_one_column_of_text_stays_text(tmp_path: Path) -> None:
    source = Table(write(tmp_path / "flowers.csv"), target="petals", inputs=("species",))
    assert source.load(next(source.parts())).inputs == SPECIES


def test_bools_are_0_and_1(tmp_path: Path) -> None:
    table = pa.table({"wet": [True, False], "warm": [False, True]})
    source = Table(write(tmp_path / "a.parquet", table), target="warm")
    samples = source.load(next(source.parts()))
    assert (samples.inputs.tolist(), samples.targets) == ([[1], [0]], ["false", "true"])


# Missing values

HOLES = pa.table({"a": [1.0, None, 3.0, float("nan")], "b": [1, 2, 3, None], "c": ["x", "y", None, "z"]})


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_rows_without_a_value_are_left_out_when_params_say_so(tmp_path: Path, ending: str) -> None:
    samples = read(Table(write(tmp_path / f"holes.{ending}", HOLES), target="c", inputs=("a", "b"), missing="drop"))
    assert samples.ids.tolist() == [0]


def test_a_number_stands_for_a_missing_input_when_params_say_so(tmp_path: Path) -> None:
    samples = read(Table(write(tmp_path / "holes.csv", HOLES), inputs=("a", "b"), missing=-1))
    assert samples.inputs.tolist() == [[1, 1], [-1, 2], [3, 3], [-1, -1]]


def test_missing_inputs_stay_not_a_number_when_params_say_so(tmp_path: Path) -> None:
    for ending in ("csv", "parquet"):
        path = write(tmp_path / f"holes.{ending}", HOLES)
        samples = read(Table(path, inputs=("a", "b"), missing="keep"))
        assert samples.inputs.isnan().tolist() == [[False, False], [True, False], [False, False], [True, True]]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_missing_target_is_an_error_although_inputs_may_be_missing(tmp_path: Path, ending: str) -> None:
    with pytest.raises(BadSourceError, match="no value in column 'c' of row 2"):
        read(Table(write(tmp_path / f"holes.{ending}", HOLES), target="c", inputs=("a", "b"), missing="keep"))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_numbers_that_are_infinite_are_errors_as_missing_ones(tmp_path: Path, ending: str) -> None:
    numbers = pa.table({"a": [1.0, 2.0, float("-inf")], "b": ["x", "y", "z"]})
    path = write(tmp_path / f"numbers.{ending}", numbers)
    with pytest.raises(BadSourceError, match=r"has -inf in column 'a' of row 2 \(from 0\); data.source.missing: "):
        read(Table(path, target="b"))
    assert read(Table(path, target="b", missing="drop")).ids.tolist() == [0, 1]
    assert read(Table(path, target="b", missing=0)).inputs.flatten().tolist() == [1, 2, 0]
    assert read(Table(path, target="b", missing="keep")).inputs.isinf().sum() == 1


def test_text_of_another_encoding_is_refused_with_its_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("x,y\n1,grün\n".encode("latin-1"))
    with pytest.raises(BadSourceError, match=r"a\.csv cannot be read: column 'y' holds what is no UTF-8$"):
        read(Table(str(path), target="y"))


def test_a_delimiter_that_nobody_named_is_suggested(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x;y\n1;2\n")
    message = r"has no column 'y': there are x;y; data\.source\.delimiter says what parts them: ';'\?$"
    with pytest.raises(BadSourceError, match=message):
        read(Table(str(path), target="y"))


def test_text_that_is_missing_is_an_error_although_numbers_may_be(tmp_path: Path) -> None:
    path = write(tmp_path / "holes.parquet", HOLES)
    for missing in ("keep", 3.0):
        with pytest.raises(BadSourceError, match="no value in column 'c' of row 2"):
            read(Table(path, inputs=("c",), missing=missing))  # type: ignore[arg-type]


# Columns of few values


RIDES = pa.table({"age": [3.0, 4.0, 5.0], "class": [3, 1, 3], "sex": ["f", "m", None]})


def test_columns_of_few_values_become_indicators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NUM_ROWS", 1)
    samples = read(Table(write(tmp_path / "rides.parquet", RIDES), one_hot=("sex", "class"), missing="keep"))
    assert samples.inputs.tolist() == [[3, 0, 1, 1, 0], [4, 1, 0, 0, 1], [5, 0, 1, 0, 0]]


def test_empty_text_is_a_value(tmp_path: Path) -> None:
    samples = read(Table(write(tmp_path / "rides.csv", RIDES), inputs=("sex",), one_hot=("sex",)))
    assert samples.inputs.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_column_of_many_values_becomes_no_indicators(tmp_path: Path) -> None:
    path = write(tmp_path / "many.csv", pa.table({"name": [f"name {place}" for place in range(1001)]}))
    with pytest.raises(BadSourceError, match="column 'name' has more than 1000 values"):
        read(Table(path, one_hot=("name",)))


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "speices"}, "{path} has no column 'speices': there are length, petals, species"),
        ({"inputs": ("size",)}, "{path} has no column 'size'"),
        ({"id": "key"}, "{path} has no column 'key'"),
        ({"one_hot": ("colour",)}, "{path} has no column 'colour'"),
        ({}, "{path}: column 'species' holds string, no numbers, as 'rose' in row 0 (from 0); data.source.inputs"),
        ({"target": ("length", "petals", "species")}, "{path} has no column that is left for inputs"),
        ({"target": "species", "task": "regression"}, "{path}: column 'species' holds string, no numbers"),
    ],
)
def test_columns_are_refused_when(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    for ending in ("csv", "parquet"):
        path = write(tmp_path / f"flowers.{ending}")
        with pytest.raises(BadSourceError) as caught:
            read(Table(path, **options))
        assert str(caught.value).startswith(message.format(path=path))


def test_missing_value_is_an_error_that_names_its_place(tmp_path: Path) -> None:
    path = write(tmp_path / "holes.csv", HOLES)
    with pytest.raises(BadSourceError) as caught:
        read(Table(path, target="c"))
    hint = "data.source.missing: drop leaves such rows out"
    assert str(caught.value) == f"{path} has no value in column 'a' of row 1 (from 0); {hint}"


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "feather", "jsonl"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00broken", b"\x00" * 100, b"PAR1" + b"\x01" * 50, b'{"a": 1}\n{"a": '],
)
def test_file_is_refused_in_one_line_when_it_is_damaged(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"broken.{ending}"
    path.write_bytes(content)
    with pytest.raises(BadSourceError) as caught:
        read(Table(str(path), target="b"))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["csv", "parquet", "feather", "jsonl"])
def test_file_is_refused_or_shorter_when_it_is_truncated(tmp_path: Path, ending: str) -> None:
    path = Path(write(tmp_path / f"flowers.{ending}"))
    content = path.read_bytes()
    for size in range(0, len(content), 13):
        path.write_bytes(content[:size])
        try:
            samples = read(Table(str(path), target="species"))
        except BadSourceError:
            continue
        assert ending in ("csv", "jsonl")  # text may end after any row
        assert len(samples.ids) <= 4


@pytest.mark.parametrize(
    ("first", "line", "message"),
    [
        ("x,y", "1,2,3", "row 90 (from 0): Expected 2 columns, got 3: 1,2,3"),
        ('"x","y"', "1", "row 90 (from 0): Expected 2 columns, got 1: 1"),
        ("x,y", "1,two", "row 90 (from 0), column 'y': no float: invalid value 'two'"),
        ("x,y", '1,"two"', "row 90 (from 0), column 'y': no float: invalid value 'two'"),
        ('"a\nname",y', "1,two", "row 90 (from 0), column 'y': no float: invalid value 'two'"),
    ],
)
def test_line_that_is_not_as_those_before_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, line: str, message: str
) -> None:
    monkeypatch.setattr(csv_files, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(csv_files, "_PROBE_BYTES", 100)
    path = tmp_path / "a.csv"
    path.write_text("\n".join([first, *["1,2"] * 90, line, *["1,2"] * 90]))
    with pytest.raises(BadSourceError) as caught:
        read(Table(str(path)))
    assert str(caught.value) == f"{path} cannot be read: {message}"


@pytest.mark.parametrize("num", [0, 90])
def test_rows_are_refused_when_they_have_other_columns(tmp_path: Path, num: int) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "1,2\n" * num + "1,2,3\n")
    with pytest.raises(BadSourceError) as caught:
        read(Table(str(path)))
    assert str(caught.value) == f"{path} cannot be read: row {num} (from 0): Expected 2 columns, got 3: 1,2,3"


def test_text_among_numbers_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for text in ("many", '"1,5"', "12abc", "1.2.3"):
        path.write_text(f"a,b\ninf,2\nNULL,2\n{text},2\n")
        with pytest.raises(BadSourceError) as caught:
            read(Table(str(path)))
        shown = text.strip('"')
        found = f"column 'a' holds string, no numbers, as '{shown}' in row 2 (from 0); data.source.inputs names "
        assert str(caught.value).startswith(f"{path}: {found}")


def test_columns_are_refused_when_two_have_one_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,a\n1,2\n")
    with pytest.raises(BadSourceError, match=r"a\.csv has several columns 'a'"):
        read(Table(str(path)))


def test_path_is_refused_when_it_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for path, message in ((tmp_path / "none", "there is no"), (tmp_path, "'.*notes.txt' is a table: wanted files")):
        with pytest.raises(BadSourceError, match=message):
            list(Table(str(path)).parts())


def test_a_number_that_is_too_great_for_an_input_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "numbers.parquet", pa.table({"a": [1.0, 1e300], "b": ["x", "y"]}))
    with pytest.raises(BadSourceError, match=r"has 1e\+300 in column 'a' of row 1"):
        read(Table(path, target="b"))


def test_an_empty_label_is_missing_in_a_dictionary_too(tmp_path: Path) -> None:
    labels = pa.array(["x", "", "z"]).dictionary_encode()
    path = write(tmp_path / "labels.parquet", pa.table({"a": [1.0, 2.0, 3.0], "b": labels}))
    with pytest.raises(BadSourceError, match="has no value in column 'b' of row 1"):
        read(Table(path, target="b"))


def test_hash_of_an_earlier_pass_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,2\n")
    source = Table(str(path))
    read(source)
    path.write_text('x,y\n1,"2"\n')
    read(source)
    assert source.describe()[0]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
