"""Hashes of many samples at once: where a sample belongs, and which have the same inputs. None of them are secrets.

Everything is arithmetic of whole numbers modulo 2⁶⁴, and the same on every machine.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

_BLOCK_BYTES = 2**19
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hash_names(names: Iterable[str]) -> Tensor:
    """Return (names,) int64 that stand for texts: 63 bits of their sha256, so that two of 10⁶ agree by 10⁻⁷."""
    digests = [hashlib.sha256(name.encode()).digest()[:8] for name in names]
    return torch.tensor([int.from_bytes(digest, "big") >> 1 for digest in digests], dtype=torch.int64)


def find_keys(ids: Tensor | Sequence[str]) -> Tensor:
    """Return (samples,) int64 that stand for ids: themselves, where they are numbers."""
    return ids if isinstance(ids, Tensor) else hash_names(ids)


def place(keys: Tensor, seed: int) -> Tensor:
    """Return where in [0, 1) each key, (keys,) int64, stands: (keys,) float64, evenly spread."""
    start = np.frombuffer(hashlib.sha256(str(seed).encode()).digest()[:8], dtype="<u8")
    mixed = _mix(keys.contiguous().numpy().view(np.uint64) ^ start)
    return torch.from_numpy((mixed >> np.uint64(11)).astype(np.float64) / 2**53)


def hash_rows(rows: Tensor) -> Tensor:
    """Return (rows,) int64 that are the same for rows of the same bytes, and else differ but for chance, by 2⁻⁶⁴."""
    if not rows.numel():
        return torch.zeros(len(rows), dtype=torch.int64)
    num_rows = max(1, _BLOCK_BYTES * len(rows) // rows.nbytes)  # whose numbers stay in the processor's cache
    return torch.cat([_hash_block(block) for block in torch.split(rows, num_rows)])


def find_equal(values: Tensor) -> Tensor:
    """Return (pairs, 2) places of equal values in (values,) int64, each with the next one that is equal, in order."""
    ordered = np.sort(values.numpy())  # several times as fast as to sort places: most often, nothing is equal
    if not (ordered[1:] == ordered[:-1]).any():
        return torch.zeros(0, 2, dtype=torch.int64)
    order = values.argsort(stable=True)
    same = (values[order].diff() == 0).nonzero().flatten()
    return torch.stack([order[same], order[same + 1]], dim=1)


def _hash_block(rows: Tensor) -> Tensor:
    content = rows.reshape(len(rows), -1).contiguous().view(torch.uint8).numpy()
    num_whole, num_left = divmod(content.shape[1], 8)
    level = np.zeros((num_whole + bool(num_left), len(content)), dtype=np.uint64)
    level[:num_whole] = content[:, : num_whole * 8].view(np.uint64).T
    if num_left:
        level[-1].view(np.uint8).reshape(-1, 8)[:, :num_left] = content[:, num_whole * 8 :]
    while len(level) > 1:
        half = -(-len(level) // 2)
        above = _mix(level[:half])
        above[: len(level) - half] += level[half:]
        level = above
    return torch.from_numpy(_mix(level)[0].view(np.int64))


def _mix(values: np.ndarray) -> np.ndarray:
    """Return numbers whose every bit depends on every bit: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    values = values + _GOLDEN
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values
