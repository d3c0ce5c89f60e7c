"""How far the data of one data set are from those of another, its reference: a statement of fact, no judgement.

A distribution is compared by its population stability index, PSI = Σ (p - q) ln(p / q) over bins: deciles of the
reference, or classes. The words follow the rule of credit scoring (Siddiqi, Credit Risk Scorecards, 2006): below 0.1
the same, to 0.25 some drift, from there on strong. Of few samples a PSI is large by chance: it is taken for drift only
where it is beyond what chance gives in one of a thousand comparisons; (1/n + 1/m) χ² of bins - 1 degrees of freedom is
its distribution then (Yurdakul and Naranjo, Statistical properties of the population stability index, 2020).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import chi2

from common.dataset import SPLITS, Dataset, Metadata
from common.excerpts import take_numbers
from common.measures import name_channels
from common.summary import Summary, find_target_kind, name_targets

SOME, STRONG = 0.1, 0.25
_BY_CHANCE = 0.001


def compare(data: Dataset, reference: Dataset, summary: Summary, reference_summary: Summary) -> dict[str, Any]:
    """Return how `data` differ from `reference`, as JSON values: facts, ids, class shares and distributions.

    Of distributions, evenly spaced train samples are compared.
    """
    form = compare_forms(data.metadata, reference.metadata)
    differences = [*form, *compare_names(data.metadata, reference.metadata)]
    found: dict[str, Any] = {"form": form, "differences": differences, "samples": compare_ids(data, reference)}
    found["classes"] = _compare_classes(summary, reference_summary)
    names = name_channels(data.metadata)
    if names != name_channels(reference.metadata):
        names = [f"channel {place}" for place in range(len(names))]
    found["inputs"] = _compare_field(data, reference, "inputs", names)
    kinds = {find_target_kind(dataset.metadata) for dataset in (data, reference)}
    num_targets = data.train.tensors[1][:1].numel() if data.train.tensors[1].ndim <= 2 else 1
    is_quantity = kinds == {"quantities"}
    found["targets"] = (
        _compare_field(data, reference, "targets", name_targets(max(1, num_targets))) if is_quantity else []
    )
    return found


def compare_forms(metadata: Metadata, reference: Metadata) -> list[str]:
    """Return how samples have another shape or dtype, a line each."""
    fields = ("input_shape", "input_dtype", "target_shape", "target_dtype")
    pairs = [(field, getattr(metadata, field), getattr(reference, field)) for field in fields]
    return [f"{field} is {_show(mine)}, not {_show(theirs)}" for field, mine, theirs in pairs if mine != theirs]


def compare_names(metadata: Metadata, reference: Metadata) -> list[str]:
    """Return how classes and columns have other names, a line each."""
    lines = []
    for field, called in (("classes", "classes"), ("input_names", "columns")):
        mine, theirs = getattr(metadata, field), getattr(reference, field)
        if new := [name for name in mine if name not in set(theirs)]:
            lines.append(f"new {called}: {_list(new)}")
        if gone := [name for name in theirs if name not in set(mine)]:
            lines.append(f"{called} that are gone: {_list(gone)}")
        if mine != theirs and set(mine) == set(theirs):
            lines.append(f"the same {called} in another order")
    return lines


def compare_ids(data: Dataset, reference: Dataset) -> dict[str, int]:
    """Return how many ids both have, have in another split, and only one of them has."""
    (mine, my_splits), (theirs, their_splits) = (_collect_ids(dataset) for dataset in (data, reference))
    both, my_rows, their_rows = np.intersect1d(mine, theirs, assume_unique=True, return_indices=True)
    return {
        "same": len(both),
        "moved": int((my_splits[my_rows] != their_splits[their_rows]).sum()),
        "new": len(mine) - len(both),
        "gone": len(theirs) - len(both),
    }


def _collect_ids(dataset: Dataset) -> tuple[Any, Any]:
    """Return all ids, and the place of the split that each is in."""
    ids = [dataset.split(name).tensors[2].numpy() for name in SPLITS]
    return np.concatenate(ids), np.repeat(np.arange(len(SPLITS), dtype=np.int8), list(map(len, ids)))


def _compare_classes(summary: Summary, reference: Summary) -> dict[str, Any] | None:
    """Return total variation distance and PSI of the class shares of train, None where one has no classes."""
    counts = [_count_by_name(part) for part in (summary, reference)]
    names = sorted({*counts[0], *counts[1]})
    mine, theirs = (np.array([count.get(name, 0) for name in names], dtype=np.float64) for count in counts)
    if not (mine.sum() and theirs.sum()):
        return None
    num, reference_num = (part.splits["train"].num_samples for part in (summary, reference))
    psi, word = judge(mine, theirs, num, reference_num)
    distance = 0.5 * np.abs(mine / mine.sum() - theirs / theirs.sum()).sum()
    return {"total_variation": _round(distance), "psi": psi, "drift": word}


def _count_by_name(summary: Summary) -> dict[str, int]:
    return dict(zip(summary.metadata.classes, summary.splits["train"].class_counts.tolist(), strict=True))


def _compare_field(data: Dataset, reference: Dataset, field: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the drift of each channel, nothing where there are no samples, or channels are others."""
    (mine, num), (theirs, reference_num) = (take_numbers(dataset, field) for dataset in (data, reference))
    if len(mine) != len(theirs) or len(mine) != len(names) or not (num and reference_num):
        return []
    found = []
    for name, values, others in zip(names, mine, theirs, strict=True):
        values, others = values[np.isfinite(values)], others[np.isfinite(others)]
        if not (len(values) and len(others)):
            continue
        psi, word = judge(*count_in_bins(values, others), num, reference_num, num_tests=len(names))
        difference, std = values.mean() - others.mean(), others.std()
        shift = _round(difference / std) if std else None
        found.append({"name": name, "psi": psi, "mean_shift_in_std": shift, "drift": word})
    return found


def count_in_bins(values: Any, reference: Any) -> tuple[Any, Any]:
    """Return how many of each, both (numbers,), are between the deciles of the reference.

    A number that takes up a decile by itself, such as the black of an image, has a bin of its own.
    """
    deciles = np.quantile(reference, np.linspace(0.1, 0.9, 9), method="lower")
    distinct, counts = np.unique(deciles, return_counts=True)
    edges = np.unique(np.concatenate([distinct, np.nextafter(distinct[counts > 1], -np.inf)]))
    return tuple(  # type: ignore[return-value]
        np.bincount(np.searchsorted(edges, numbers), minlength=len(edges) + 1).astype(np.float64)
        for numbers in (values, reference)
    )


def judge(counts: Any, reference: Any, num: int, reference_num: int, *, num_tests: int = 1) -> tuple[float, str]:
    """Return the PSI of two counts by bin, and the word for it: none, some or strong.

    `num` and `reference_num` are independent samples behind the counts, `num_tests` how many comparisons are made.
    """
    is_used = counts + reference > 0
    counts, reference = counts[is_used], reference[is_used]
    num_bins = len(counts)
    p, q = ((part + 0.5) / (part.sum() + 0.5 * num_bins) for part in (counts, reference))
    psi = float(((p - q) * np.log(p / q)).sum())
    if num_bins < 2 or not (num and reference_num):
        return _round(psi), "none"
    by_chance = (1 / num + 1 / reference_num) * float(chi2.isf(_BY_CHANCE / num_tests, num_bins - 1))
    word = "none" if psi < max(SOME, by_chance) else "some" if psi < STRONG else "strong"
    return _round(psi), word


def _round(number: float) -> float:
    return float(f"{number:.6g}")


def _show(value: Any) -> str:
    return value if isinstance(value, str) else str(tuple(value))


def _list(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more
