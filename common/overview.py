"""What `common.summary` found, as JSON values for people and programs, and what tokens are."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from common.dataset import Dataset, Metadata
from common.measures import Measures, is_tokens, iterate_blocks, name_channels
from common.summary import Split, Summary, find_target_kind, name_targets

_NUM_TOKENS = 10
_NUM_ROWS_OF_TOKENS = 3
_LONGEST_ROW = 64  # tokens of a row that are shown


def describe_summary(summary: Summary) -> dict[str, Any]:
    """Return a summary as JSON values; numbers have nine digits, as the last bits depend on the machine."""
    metadata = summary.metadata
    return {
        "name": metadata.name,
        "prepared_by": metadata.prepared_by,
        "sources": [dict(source) for source in metadata.sources],
        "inputs": {
            "shape": list(metadata.input_shape),
            "dtype": metadata.input_dtype,
            "stored_dtype": metadata.stored_dtype or metadata.input_dtype,
            "measures": describe_measures(summary.inputs, name_channels(metadata)),
        },
        "targets": {
            "kind": find_target_kind(metadata),
            "shape": list(metadata.target_shape),
            "dtype": metadata.target_dtype,
            "num_classes": len(metadata.classes),
        },
        "splits": {name: _describe_split(split, metadata) for name, split in summary.splits.items()},
    }


def _describe_split(split: Split, metadata: Metadata) -> dict[str, Any]:
    described: dict[str, Any] = {"num_samples": split.num_samples}
    if metadata.classes:
        described["classes"] = dict(zip(metadata.classes, split.class_counts.tolist(), strict=True))
    if split.targets:
        described["targets"] = describe_measures(split.targets, name_targets(len(split.targets.num)))
    return described


def describe_measures(measures: Measures, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the measures of each channel as JSON values; None where there are no numbers."""
    columns = zip(
        names,
        *(tensor.tolist() for tensor in (measures.num, measures.low, measures.high, measures.mean, measures.std)),
        measures.num_nan.tolist(),
        measures.num_infinite.tolist(),
        strict=True,
    )
    return [
        {
            "name": name,
            **{
                key: float(f"{value:.9g}") if num else None
                for key, value in (("min", low), ("max", high), ("mean", mean), ("std", std))
            },
            "num_nan": num_nan,
            "num_infinite": num_infinite,
        }
        for name, num, low, high, mean, std, num_nan, num_infinite in columns
    ]


def describe_tokens(dataset: Dataset) -> dict[str, Any] | None:
    """Return the most frequent tokens and the first rows of train; None where inputs are no tokens.

    0 fills up, and is not counted. Where all tokens are as `tokenise` makes them of bytes, rows are decoded, too.
    """
    if not is_tokens(dataset.metadata) or not dataset.metadata.input_shape:
        return None
    rows = dataset.train.tensors[0]
    counts = _count_tokens(block for _, block in iterate_blocks(rows))
    first = [row.flatten()[:_LONGEST_ROW].tolist() for row in rows[:_NUM_ROWS_OF_TOKENS]]
    are_bytes = all(0 <= token <= 256 for token in counts)
    return {
        "num_different": len(counts),
        "most_frequent": [list(pair) for pair in counts.most_common(_NUM_TOKENS)],
        "first_rows": first,
        "as_bytes": [_decode(row) for row in first] if are_bytes and counts else [],
    }


def _count_tokens(blocks: Iterable[Tensor]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for block in blocks:
        tokens, nums = np.unique(block.numpy(), return_counts=True)
        counts.update(dict(zip(tokens.tolist(), nums.tolist(), strict=True)))
    del counts[0]
    return counts


def _decode(row: Sequence[int]) -> str:
    return bytes(token - 1 for token in row if token > 0).decode(errors="replace")
