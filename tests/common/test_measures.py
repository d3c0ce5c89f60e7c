"""What numbers are like."""

import pytest
import torch

from common import measures
from common.dataset import Metadata
from common.measures import find_channel_axis, measure, merge, name_channels


def make_metadata(shape: tuple[int, ...], dtype: str = "float32", columns: tuple[str, ...] = ()) -> Metadata:
    """Return metadata of inputs of a shape."""
    return Metadata("a test", shape, dtype, (), {}, {}, (), input_names=columns)


@pytest.mark.parametrize(
    ("shape", "dtype", "axis"),
    [
        ((), "float32", None),
        ((784,), "float32", 1),
        ((3, 8, 8), "float32", 1),
        ((1, 16000), "float32", 1),
        ((48, 3), "float32", 2),
        ((100, 64, 64), "float32", None),
        ((64, 100), "float32", None),
        ((12,), "int64", None),
    ],
)
def test_channels_are_where_the_shape_has_few(shape: tuple[int, ...], dtype: str, axis: int | None) -> None:
    assert find_channel_axis(make_metadata(shape, dtype)) == axis


def test_columns_have_the_names_of_the_table_where_they_are_known() -> None:
    assert name_channels(make_metadata((2,), columns=("a", "b"))) == ["column 'a'", "column 'b'"]
    assert name_channels(make_metadata((2,), columns=("a",))) == ["column 0", "column 1"]
    assert name_channels(make_metadata((2, 4, 4))) == ["channel 0", "channel 1"]
    assert name_channels(make_metadata(())) == ["inputs"]


@pytest.mark.parametrize("size", [1, 7, 2**20])
def test_measures_are_those_of_all_rows_whatever_the_blocks(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "_NUM_AT_ONCE", size)
    rows = torch.randn(23, 3, 4, generator=torch.Generator().manual_seed(0))
    found = measure(rows, 1, unit=2.0)
    by_channel = 2 * rows.double().movedim(1, 0).flatten(1)
    torch.testing.assert_close(found.mean, by_channel.mean(1))
    torch.testing.assert_close(found.std, by_channel.std(1))
    assert torch.equal(found.low, by_channel.amin(1))
    assert torch.equal(found.high_row, by_channel.argmax(1) // 4)
    assert found.num.tolist() == [92, 92, 92]


@pytest.mark.parametrize("size", [1, 2**20])
def test_what_is_not_finite_is_counted_and_left_out(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "_NUM_AT_ONCE", size)
    rows = torch.tensor([[1.0, 5.0], [3.0, torch.nan], [torch.inf, torch.nan], [5.0, -torch.inf]])
    found = measure(rows, 1)
    assert (found.num.tolist(), found.num_nan.tolist(), found.num_infinite.tolist()) == ([3, 1], [0, 2], [1, 1])
    assert (found.mean.tolist(), found.low.tolist(), found.high.tolist()) == ([3.0, 5.0], [1.0, 5.0], [5.0, 5.0])
    assert (found.strange_row.tolist(), found.low_row.tolist()) == ([2, 1], [0, 0])
    assert found.std.tolist() == [2.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.bfloat16, torch.int64])
def test_numbers_of_every_dtype_are_measured(dtype: torch.dtype) -> None:
    assert measure(torch.tensor([[0, 1], [1, 1]]).to(dtype), 1).mean.tolist() == [0.5, 1.0]


def test_nothing_is_measured_of_no_rows() -> None:
    nothing = measure(torch.empty(0, 2), 1)
    assert (nothing.num.tolist(), nothing.low_row.tolist()) == ([0, 0], [-1, -1])
    some = measure(torch.tensor([[1.0, 2.0]]), 1)
    assert merge(nothing, some).mean.tolist() == merge(some, nothing).mean.tolist() == [1.0, 2.0]
    assert measure(torch.empty(3, 0), 1).num.tolist() == []
