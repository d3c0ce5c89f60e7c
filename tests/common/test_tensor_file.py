"""Files of one tensor, written row by row."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from common.tensor_file import TensorFile, open_rows

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]


def write(path: Path, parts: list[torch.Tensor]) -> None:
    """Write parts into a file."""
    file = TensorFile(path, "rows", tuple(parts[0].shape[1:]), parts[0].dtype)
    for part in parts:
        file.append(part)
    file.finish()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row_shape", [(), (3,), (2, 5)])
def test_rows_come_back_as_they_were_appended(tmp_path: Path, dtype: torch.dtype, row_shape: tuple[int, ...]) -> None:
    rows = (torch.randn(7, *row_shape) * 3).to(dtype)
    write(tmp_path / "rows", [rows[:3], rows[3:3], rows[3:]])
    found = load_file(tmp_path / "rows")
    assert list(found) == ["rows"]
    assert (found["rows"].dtype, torch.equal(found["rows"], rows)) == (dtype, True)


def test_file_has_no_rows_when_none_are_appended(tmp_path: Path) -> None:
    write(tmp_path / "rows", [torch.empty(0, 2)])
    assert load_file(tmp_path / "rows")["rows"].shape == (0, 2)
    assert open_rows(tmp_path / "rows", (2,), torch.float32).shape == (0, 2)


@pytest.mark.parametrize("rows", [torch.zeros(2, 3), torch.zeros(2, 2, dtype=torch.float64)])
def test_rows_are_refused_when_they_are_not_as_those_before(tmp_path: Path, rows: torch.Tensor) -> None:
    file = TensorFile(tmp_path / "rows", "rows", (2,), torch.float32)
    with pytest.raises(ValueError, match=r"rows of shape \(\d,\) and torch\.float\d\d after \(2,\) and torch.float32"):
        file.append(rows)
    file.close()


def test_file_is_none_when_it_was_not_finished(tmp_path: Path) -> None:
    file = TensorFile(tmp_path / "rows", "rows", (2,), torch.float32)
    file.append(torch.ones(5, 2))
    file.close()
    with pytest.raises(Exception, match="header"):
        load_file(tmp_path / "rows")


def test_what_is_changed_in_opened_rows_is_on_disk(tmp_path: Path) -> None:
    write(tmp_path / "rows", [torch.ones(5, 2)])
    open_rows(tmp_path / "rows", (2,), torch.float32)[3].fill_(7)
    assert load_file(tmp_path / "rows")["rows"].tolist() == [[1, 1], [1, 1], [1, 1], [7, 7], [1, 1]]


def test_numbers_begin_on_a_page_of_memory(tmp_path: Path) -> None:
    write(tmp_path / "rows", [torch.arange(3)])
    assert (tmp_path / "rows").read_bytes()[4096:] == torch.arange(3).numpy().tobytes()
