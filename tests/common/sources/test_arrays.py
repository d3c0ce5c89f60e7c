"""Files of arrays as sources."""

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from common.samples import BadSourceError, Samples
from common.sources import arrays as module
from common.sources.arrays import Arrays

INPUTS = np.arange(24, dtype=np.float32).reshape(6, 4)
LABELS = np.array([0, 1, 10, 0, 1, 10])
ENDINGS = ["npy", "npz", "safetensors", "pt"]


def read(source: Arrays) -> Samples:
    """Return all samples of a source as one part."""
    parts = [source.load(part) for part in source.parts()]
    inputs, targets, ids = ([getattr(part, field) for part in parts] for field in ("inputs", "targets", "ids"))
    return parts[0]._replace(inputs=join(inputs), targets=join(targets), ids=join(ids))


def join(pieces: list[Any]) -> Any:
    """Return what parts hold, as one."""
    return torch.cat(pieces) if isinstance(pieces[0], torch.Tensor) else [item for piece in pieces for item in piece]


def write(path: Path, **arrays: np.ndarray) -> str:
    """Write arrays as the ending says; return the path."""
    if path.suffix == ".npy":
        (only,) = arrays.values()
        np.save(path, only)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    else:
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        torch.save(tensors, path) if path.suffix == ".pt" else save_file(tensors, path)
    return str(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_of_two_files_are_samples(tmp_path: Path, ending: str) -> None:
    files = write(tmp_path / f"x.{ending}", x=INPUTS), write(tmp_path / f"y.{ending}", y=LABELS)
    samples = read(Arrays(*files))
    assert torch.equal(samples.inputs, torch.from_numpy(INPUTS))
    assert Arrays(*files).count() == 6
    assert samples.targets == ["0", "1", "10", "0", "1", "10"]
    assert samples.ids.tolist() == [0, 1, 2, 3, 4, 5]  # type: ignore[union-attr]
    assert [source["name"] for source in Arrays(*files).describe()] == list(files)


@pytest.mark.parametrize("ending", ENDINGS[1:])
def test_arrays_of_one_file_are_told_apart_by_name(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"all.{ending}", x=INPUTS, y=LABELS, z=LABELS)
    samples = read(Arrays(path, input_name="x", target_name="z"))
    assert (samples.inputs.shape, samples.targets) == ((6, 4), [str(label) for label in LABELS])
    path = write(tmp_path / f"both.{ending}", x=INPUTS, y=LABELS)
    assert read(Arrays(path, target_name="y")).inputs.shape == (6, 4)
    assert len(Arrays(path, target_name="y").describe()) == 1


@pytest.mark.parametrize("ending", ENDINGS)
def test_large_file_is_read_in_parts(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 40)
    source = Arrays(write(tmp_path / f"x.{ending}", x=INPUTS), write(tmp_path / f"y.{ending}", y=LABELS))
    assert [len(part.rows) for part in source.parts()] == [2, 2, 2]
    samples = read(source)
    assert torch.equal(samples.inputs, torch.from_numpy(INPUTS))
    assert samples.ids.tolist() == [0, 1, 2, 3, 4, 5]  # type: ignore[union-attr]


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_order_of_columns_and_bytes_does_not_matter(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 40)
    odd = np.asfortranarray(INPUTS.astype(">f8"))
    answers = np.asfortranarray(np.stack([LABELS, LABELS], axis=1)).astype(">i2")
    samples = read(Arrays(write(tmp_path / f"x.{ending}", x=odd), write(tmp_path / f"y.{ending}", y=answers)))
    assert torch.equal(samples.inputs, torch.from_numpy(INPUTS))
    assert torch.equal(samples.targets, torch.from_numpy(np.stack([LABELS, LABELS], axis=1)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        *(("f2", torch.float32), ("f8", torch.float32), ("?", torch.float32), ("u1", torch.uint8)),
        *(("i1", torch.int64), ("u2", torch.int64), ("i4", torch.int64), ("u8", torch.int64)),
    ],
)
def test_numbers_become_what_models_take(tmp_path: Path, kind: str, wanted: torch.dtype) -> None:
    inputs = read(Arrays(write(tmp_path / "x.npy", x=np.array([[0, 1]], dtype=kind)))).inputs
    assert (inputs.dtype, inputs.tolist()) == (wanted, [[0, 1]])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_small_floats_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file({"x": torch.tensor([[1.5, 2]]).to(dtype)}, tmp_path / "x.safetensors")
    torch.save(torch.tensor([[1.5, 2]]).to(dtype), tmp_path / "x.pt")
    for ending in ("safetensors", "pt"):
        assert read(Arrays(str(tmp_path / f"x.{ending}"))).inputs.tolist() == [[1.5, 2]]


@pytest.mark.parametrize(
    ("targets", "options", "wanted"),
    [
        (LABELS, {"task": "regression"}, [0.0, 1, 10, 0, 1, 10]),
        (LABELS[:, None], {}, ["0", "1", "10", "0", "1", "10"]),
        (LABELS // 5, {"classes": ("a", "b", "c")}, [0, 0, 2, 0, 0, 2]),
        (LABELS / 4, {}, [0, 0.25, 2.5, 0, 0.25, 2.5]),
        (LABELS > 5, {}, ["false", "false", "true", "false", "false", "true"]),
        (np.array(["é", "b", "é", "b", "é", "b"]), {}, ["é", "b", "é", "b", "é", "b"]),
    ],
)
def test_targets_are_labels_indices_or_quantities(
    tmp_path: Path, targets: np.ndarray, options: dict[str, Any], wanted: list[Any]
) -> None:
    files = write(tmp_path / "x.npy", x=INPUTS), write(tmp_path / "y.npy", y=targets)
    found = read(Arrays(*files, **options)).targets
    assert (found.tolist() if isinstance(found, torch.Tensor) else found) == wanted


def test_targets_of_two_dimensions_are_numbers(tmp_path: Path) -> None:
    files = write(tmp_path / "x.npy", x=INPUTS), write(tmp_path / "y.npy", y=INPUTS > 5)
    assert read(Arrays(*files)).targets.dtype == torch.float32  # type: ignore[union-attr]


@pytest.mark.parametrize("ending", ENDINGS)
def test_test_samples_are_numbered_after_those_for_training(tmp_path: Path, ending: str) -> None:
    x, y, more, answers = (
        write(tmp_path / f"{name}.{ending}", a=array)
        for name, array in {"x": INPUTS, "y": LABELS, "x_test": INPUTS[:2] + 5, "y_test": LABELS[1:3]}.items()
    )
    source = Arrays(x, y, test_inputs=more, test_targets=answers)
    parts = [source.load(part) for part in source.parts()]
    assert [part.splits for part in parts] == [["train"] * 6, ["test"] * 2]
    assert [part.ids.tolist() for part in parts] == [[0, 1, 2, 3, 4, 5], [6, 7]]  # type: ignore[union-attr]
    assert torch.equal(parts[1].inputs, torch.from_numpy(INPUTS[:2] + 5))
    assert parts[1].targets == ["1", "10"]
    assert [source["name"] for source in source.describe()] == [x, y, more, answers]


def test_test_samples_may_be_in_the_same_file(tmp_path: Path) -> None:
    path = write(tmp_path / "mnist.npz", x_train=INPUTS, y_train=LABELS, x_test=INPUTS[:2], y_test=LABELS[1:3])
    names = {
        "input_name": "x_train",
        "target_name": "y_train",
        "test_input_name": "x_test",
        "test_target_name": "y_test",
    }
    source = Arrays(path, **names)
    parts = [source.load(part) for part in source.parts()]
    assert [part.splits for part in parts] == [["train"] * 6, ["test"] * 2]
    assert parts[1].targets == ["1", "10"]
    assert len(source.describe()) == 1


def test_there_is_nothing_to_predict_without_targets(tmp_path: Path) -> None:
    assert read(Arrays(write(tmp_path / "x.npy", x=INPUTS))).targets.shape == (6, 0)  # type: ignore[union-attr]


def test_tensors_in_a_tuple_are_known_by_their_places(tmp_path: Path) -> None:
    torch.save((torch.from_numpy(INPUTS), torch.from_numpy(LABELS)), tmp_path / "both.pt")
    assert read(Arrays(str(tmp_path / "both.pt"), target_name="1")).inputs.shape == (6, 4)


# What is refused


def refuse(source: Arrays) -> str:
    """Return what a source is refused for, which is one line."""
    with pytest.raises(BadSourceError) as caught:
        read(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", ENDINGS)
def test_file_is_refused_when_it_is_truncated(tmp_path: Path, ending: str) -> None:
    path = Path(write(tmp_path / f"x.{ending}", x=np.random.default_rng(0).random((20, 9))))
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        assert str(path) in refuse(Arrays(str(path)))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04" + bytes(40), b"\xff" * 64, b"{}"])
def test_file_is_refused_when_it_is_something_else(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"x.{ending}"
    path.write_bytes(content)
    assert str(path) in refuse(Arrays(str(path)))


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (99999999999999999999, 99999999999999999999)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 0)}",
        "{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",  # there are six
        "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '<c8', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': [('a', '<f4'), ('b', '<f4')], 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '<f4', 'shape': (6,)}",
        "{'descr': 'nonsense', 'fortran_order': False, 'shape': (6,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': '6'}",
        "(" * 5000,
        "__import__('os')",
    ],
)
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_header_is_refused_when_it_claims_nonsense(tmp_path: Path, ending: str, header: str) -> None:
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(24)
    path = tmp_path / f"x.{ending}"
    if ending == "npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.npy", content)
    else:
        path.write_bytes(content)
    assert str(path) in refuse(Arrays(str(path)))


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [10**12, 4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [10**12, 0], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 10**15]},
        {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
        {"dtype": "X9", "shape": [4], "data_offsets": [0, 16]},
    ],
)
def test_safetensors_are_refused_when_the_header_claims_nonsense(tmp_path: Path, entry: dict[str, Any]) -> None:
    header = json.dumps({"x": entry}).encode()
    size = min(entry["data_offsets"][1], 16)
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    assert "x.safetensors" in refuse(Arrays(str(tmp_path / "x.safetensors")))


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}, {}]), allow_pickle=True)
    assert "holds object" in refuse(Arrays(str(tmp_path / "x.npy")))
    torch.save(Path("x"), tmp_path / "x.pt")
    assert "holds more than tensors" in refuse(Arrays(str(tmp_path / "x.pt")))
    torch.save(torch.ones(3), tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    assert "is no archive" in refuse(Arrays(str(tmp_path / "x.pt")))


@pytest.mark.parametrize(
    "content",
    [
        {"x": "text"},
        3,
        {},
        {"x": torch.ones(2, 2).to_sparse()},
        {"x": torch.ones(3, device="meta")},
        {"x": torch.tensor(1)},
    ],
)
def test_torch_file_is_refused_when_it_holds_no_arrays(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.pt")
    assert "x.pt" in refuse(Arrays(str(tmp_path / "x.pt")))


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"x": INPUTS, "y": LABELS}, {}, "{path} has 2 arrays: data.source.input_name says which of x, y"),
        ({"x": INPUTS, "y": LABELS}, {"input_name": "a"}, "{path} has no array 'a': there are x, y"),
        ({"x": INPUTS, "y": LABELS[:4]}, {"target_name": "y"}, "{path} has 6 samples, and {path} 4 targets"),
        ({"x": INPUTS}, {"target_name": "y"}, "{path} has no array 'y': there are x"),
        (
            {"x": INPUTS, "y": INPUTS},
            {"input_name": "x", "target_name": "y", "task": "classification"},
            "{path} holds float32, wanted whole numbers or texts",
        ),
        ({"x": np.array([[1, 2], [3, np.nan]])}, {}, "{path} holds NaN, not a number, in row 1 (from 0)"),
        ({"x": np.array([2**63], dtype=np.uint64)}, {}, "{path} holds a number of 2⁶³ or more after row 0 (from 0)"),
        ({"x": np.float32(3)[None].reshape(())}, {}, "{path}: array 'x' has the shape (), wanted (samples, …)"),
        ({"x": INPUTS[:0]}, {}, "{path}: array 'x' has the shape (0, 4), wanted (samples, …)"),
    ],
)
def test_arrays_are_refused_when(
    tmp_path: Path, arrays: dict[str, np.ndarray], options: dict[str, Any], message: str
) -> None:
    for ending in ENDINGS[1:3]:
        path = write(tmp_path / f"all.{ending}", **arrays)
        assert refuse(Arrays(path, **options)) == message.format(path=path)


def test_row_of_a_fault_is_that_in_its_own_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.npy", x=INPUTS)
    test = write(tmp_path / "test.npy", x=np.where(INPUTS == 4, np.nan, INPUTS))
    assert refuse(Arrays(path, test_inputs=test)) == f"{test} holds NaN, not a number, in row 1 (from 0)"


def test_file_is_refused_when_it_is_not_there_or_of_no_kind_we_know(tmp_path: Path) -> None:
    assert "there is no file" in refuse(Arrays(str(tmp_path / "x.npy")))
    (tmp_path / "x.mat").touch()
    assert "is no file of arrays: wanted one that ends in .npy, " in refuse(Arrays(str(tmp_path / "x.mat")))


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_file_is_refused_or_has_samples(tmp_path: Path, ending: str, data: st.DataObject) -> None:
    path = Path(write(tmp_path / f"x.{ending}", x=np.ones((3, 2))))
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        found = f"{path}: {read(Arrays(str(path))).inputs.nbytes:5d} bytes"
    except BadSourceError as error:
        found = str(error)
    assert str(path) in found
    assert "\n" not in found
