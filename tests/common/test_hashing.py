"""Hashes of many samples at once."""

import pytest
import torch

from common import hashing
from common.hashing import find_equal, hash_names, hash_rows, place

PLACES = [0.7905276399917087, 0.9006615390394674, 0.4722581799529386]


def test_keys_are_spread_evenly() -> None:
    positions = place(torch.arange(100_000), seed=0)
    assert (positions.min() >= 0, positions.max() < 1) == (True, True)
    counts = torch.histc(positions, bins=10, min=0, max=1)
    assert counts.tolist() == pytest.approx([10_000] * 10, rel=0.05)


def test_place_of_a_key_depends_on_the_seed_and_on_nothing_else() -> None:
    keys = torch.arange(-50, 50)
    together = place(keys, seed=3)
    assert [place(key[None], seed=3).item() for key in keys] == together.tolist()
    assert torch.equal(place(keys.flip(0), seed=3), together.flip(0))
    assert (place(keys, seed=4) != together).all()


def test_places_are_the_same_on_every_machine() -> None:
    assert place(torch.tensor([0, 1, 2**62]), seed=0).tolist() == PLACES


def test_names_have_keys_of_their_own() -> None:
    keys = hash_names(["a", "b", "ä", "", "a"])
    assert keys[0] == keys[4]
    assert len(set(keys.tolist())) == 4
    assert (keys >= 0).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.int64, torch.bool, torch.bfloat16])
@pytest.mark.parametrize("row_shape", [(), (1,), (3,), (8,), (3, 5, 7)])
def test_rows_have_the_same_hash_when_their_bytes_are(dtype: torch.dtype, row_shape: tuple[int, ...]) -> None:
    rows = (torch.rand(6, *row_shape) * 200).to(dtype)
    rows[4] = rows[1]
    found = hash_rows(rows)
    assert found.shape == (6,)
    assert found[4] == found[1]
    assert torch.equal(hash_rows(rows[2:5]), found[2:5])


def test_rows_differ_in_their_hash_when_one_bit_does() -> None:
    rows = torch.zeros(800, 100, dtype=torch.uint8)
    for bit in range(800):
        rows[bit, bit // 8] = 1 << bit % 8
    assert len(set(hash_rows(rows).tolist())) == 800


def test_rows_differ_in_their_hash_when_parts_change_places() -> None:
    rows = torch.stack([torch.arange(32), torch.arange(32).roll(16), torch.arange(32).flip(0)])
    assert len(set(hash_rows(rows).tolist())) == 3


def test_there_are_no_hashes_without_rows() -> None:
    assert hash_rows(torch.zeros(0, 3)).shape == (0,)


def test_hashes_are_the_same_whatever_is_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.arange(700).reshape(100, 7).float()
    together = hash_rows(rows)
    monkeypatch.setattr(hashing, "_BLOCK_BYTES", 100)
    assert torch.equal(hash_rows(rows), together)


def test_equal_values_are_paired_with_the_next_one() -> None:
    assert find_equal(torch.tensor([5, -1, 5, 3, -1, 5])).tolist() == [[1, 4], [0, 2], [2, 5]]
    assert find_equal(torch.tensor([2, 1, 3])).shape == find_equal(torch.zeros(0, dtype=torch.int64)).shape == (0, 2)
