"""Moments of numbers that are added part by part."""

import pytest
import torch

from common.moments import Moments


def add(*parts: torch.Tensor) -> Moments:
    """Return the moments of parts."""
    moments = Moments()
    for part in parts:
        moments.add(part)
    return moments


@pytest.mark.parametrize("shape", [(1000,), (1000, 3), (500, 3, 8, 8), (200, 4, 700)])
def test_moments_are_those_of_all_numbers_together(shape: tuple[int, ...]) -> None:
    rows = torch.randn(shape) * 3 + 1e4  # a mean far from 0, where a sum of squares would lose all digits
    moments = add(rows[:1], rows[1:1], rows[1:77], rows[77:])
    exact = rows.double()
    assert moments.total() == {
        "mean": pytest.approx(exact.mean().item(), rel=1e-8),
        "std": pytest.approx(exact.std().item(), rel=1e-6),
    }
    if rows.ndim > 1:
        channels = exact.movedim(1, 0).flatten(1)
        assert torch.allclose(moments.by_channel()["mean"], channels.mean(dim=1), rtol=1e-9)
        assert torch.allclose(moments.by_channel()["std"], channels.std(dim=1), rtol=1e-6)


def test_whole_numbers_are_counted_in_units() -> None:
    moments = add(torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8))
    assert moments.total(1 / 255) == {"mean": 0.5, "std": pytest.approx(0.577350269)}


@pytest.mark.parametrize("places", [33_025, 33_026])
def test_sums_of_large_bytes_stay_exact(places: int) -> None:
    rows = torch.full((3, 2, places), 255, dtype=torch.uint8)
    rows[1, :, 0] = 254
    exact = rows.double()
    assert add(rows).total() == {
        "mean": float(f"{exact.mean():.9g}"),
        "std": pytest.approx(exact.std().item(), rel=1e-6),
    }


def test_there_are_no_moments_without_numbers() -> None:
    assert add().total() == {}
    assert add(torch.zeros(0, 3)).total() == {}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.uint8])
def test_numbers_stay_what_they_are(dtype: torch.dtype) -> None:
    rows = torch.arange(24).view(4, 3, 2).to(dtype)
    add(rows)
    assert torch.equal(rows, torch.arange(24).view(4, 3, 2).to(dtype))
