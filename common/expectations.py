"""What a project expects of its prepared data, and which of it they break: so that no training starts on bad data."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.config import Fraction, NonNegativeInt
from common.dataset import Dataset, map_dataset, read_names
from common.measures import Measures, find_channel_axis, name_channels, spread
from common.samples import BadSourceError
from common.summary import Summary, find_target_kind, name_targets, summarise

_MAX_NAMED = 5
_MAX_BROKEN = 10
_Bounds = tuple[float | None, float | None]  # the least and the most, None for no bound


@dataclass(frozen=True)
class NumSamples:
    """How many samples each split has at least."""

    train: NonNegativeInt = 0
    valid: NonNegativeInt = 0
    test: NonNegativeInt = 0


@dataclass(frozen=True)
class Expectations:
    """The params `data.expect`: what is stored, after all transforms, as the model gets it. None asks nothing."""

    finite: bool = True  # no nan and no infinity, in inputs and targets
    minimum: float | None = None  # of inputs
    maximum: float | None = None
    columns: Mapping[str, tuple[float | None, float | None] | None] | None = None  # minimum and maximum by column
    min_samples: NumSamples | None = None
    min_class_fraction: Fraction | None = None  # of the train samples, for every class
    classes: tuple[str, ...] | None = None  # exactly these, in any order
    same_classes_in_splits: bool = False  # a class with samples in one split has some in each that is not empty


def check_expectations(folder: Path, expect: Expectations) -> None:
    """Raise BadSourceError with all that the dataset in `folder`, which was just written, breaks."""
    dataset = map_dataset(folder)
    if broken := Judge(folder, dataset, summarise(dataset)).find_broken(expect):
        more = [f"and {len(broken) - _MAX_BROKEN} more"] if len(broken) > _MAX_BROKEN else []
        raise BadSourceError("; ".join([*broken[:_MAX_BROKEN], *more]))


class Judge:
    """Says what is wrong with the dataset in `folder`, of which `summary` was made. Each fault is one line."""

    def __init__(self, folder: Path, dataset: Dataset, summary: Summary) -> None:
        self._folder, self._dataset, self._summary = folder, dataset, summary
        self._metadata = summary.metadata
        self._channels = name_channels(self._metadata)

    def find_broken(self, expect: Expectations) -> list[str]:
        """Return a line for each expectation that is broken in a split."""
        found = [*self._find_short(expect.min_samples or NumSamples())]
        if expect.finite:
            found += self.find_strange()
        bounds = [(expect.minimum, expect.maximum)] * len(self._channels)
        found += self._find_outside(bounds, "data.expect")
        found += self._find_outside_columns(expect.columns or {})
        if expect.classes is not None:
            found += self._compare_classes(expect.classes)
        if expect.min_class_fraction:
            found += self._find_rare(expect.min_class_fraction)
        if expect.same_classes_in_splits:
            found += self._find_missing_classes()
        return found

    def find_strange(self) -> Iterator[str]:
        """Yield a line for each split with numbers that are nan or infinite."""
        for split, summary in self._summary.splits.items():
            inputs, targets, _ = self._dataset.split(split).tensors
            axis = find_channel_axis(self._metadata)
            yield from self._describe_strange(split, summary.inputs, inputs, axis, self._channels)
            if summary.targets:
                names = name_targets(len(summary.targets.num))
                axis = 1 if targets.ndim == 2 else None
                yield from self._describe_strange(split, summary.targets, targets, axis, names)

    def find_constant(self) -> list[str]:
        """Return a line where channels are the same number in all samples, and so tell a model nothing."""
        inputs = self._summary.inputs
        if int(inputs.num.max()) < 2:
            return []
        same = (inputs.low == inputs.high).nonzero().flatten().tolist()
        if not same:
            return []
        named = [f"{self._channels[place]} is {inputs.low[place]:.6g}" for place in same[:_MAX_NAMED]]
        more = f", and {len(same) - _MAX_NAMED} more never change" if len(same) > _MAX_NAMED else ""
        return [f"inputs tell nothing: {', '.join(named)} in all samples{more}"]

    def _describe_strange(
        self, split: str, measures: Measures, rows: Tensor, axis: int | None, names: Sequence[str]
    ) -> Iterator[str]:
        places = measures.num_strange.nonzero().flatten().tolist()
        if not places:
            return
        place = min(places, key=lambda place: int(measures.strange_row[place]))
        row = int(measures.strange_row[place])
        numbers = spread(rows[row : row + 1], axis)[0, place]
        value = float(numbers[~numbers.isfinite()][0])
        count = int(measures.num_strange.sum())
        where = f" in {names[place]}" if names[place] != "inputs" else ""
        yield f"{split}: sample {self._name(split, row)} has {value}{where}; {count:,} such numbers in all"

    def _find_short(self, wanted: NumSamples) -> Iterator[str]:
        for split, summary in self._summary.splits.items():
            minimum = getattr(wanted, split)
            if summary.num_samples < minimum:
                yield (
                    f"{split}: {summary.num_samples} samples, fewer than data.expect.min_samples.{split} = {minimum}"
                )

    def _find_outside(self, bounds: Sequence[_Bounds], key: str) -> Iterator[str]:
        """Yield a line for each split and bound that inputs are beyond, with the number that is farthest."""
        low, high = (_fill(bounds, side) for side in (0, 1))
        for split, summary in self._summary.splits.items():
            inputs = summary.inputs
            below, above = low - inputs.low, inputs.high - high
            for beyond, values, rows, limits, side in (
                (below, inputs.low, inputs.low_row, low, "minimum"),
                (above, inputs.high, inputs.high_row, high, "maximum"),
            ):
                if not (num := int((beyond > 0).sum())):
                    continue
                place = int(beyond.argmax())
                value, limit = float(values[place]), float(limits[place])
                word = "below" if side == "minimum" else "above"
                more = f"; so in {num} of {len(beyond)} channels or columns" if num > 1 else ""
                where = self._channels[place] if self._channels[place] != "inputs" else "its inputs"
                yield (
                    f"{split}: sample {self._name(split, int(rows[place]))} has {value:.6g} in {where}, {word} the "
                    f"{side} {limit:.6g} of {key}{more}"
                )

    def _find_outside_columns(self, columns: Mapping[str, _Bounds | None]) -> Iterator[str]:
        known = {name: place for place, name in enumerate(self._metadata.input_names)}
        for name, bound in columns.items():
            if bound is None:  # which takes back what a parent expects
                continue
            if name not in known or len(known) != len(self._channels):
                have = f"there are {_name_some(known)}" if known else "these inputs have no named columns"
                yield f"no column '{name}', which data.expect.columns names: {have}"
                continue
            bounds: list[_Bounds] = [(None, None)] * len(self._channels)
            bounds[known[name]] = bound
            yield from self._find_outside(bounds, "data.expect.columns")

    def _compare_classes(self, wanted: Sequence[str]) -> Iterator[str]:
        found = self._metadata.classes
        if strange := [name for name in found if name not in set(wanted)]:
            yield f"{_name_some(strange)}: none of data.expect.classes"
        if missing := [name for name in wanted if name not in set(found)]:
            yield f"no class {_name_some(missing)}, which data.expect.classes names"

    def _find_rare(self, fraction: float) -> Iterator[str]:
        if find_target_kind(self._metadata) == "quantities" or not self._metadata.classes:
            yield "data.expect.min_class_fraction: these targets are no classes"
            return
        train = self._summary.splits["train"]
        counts, is_map = train.class_counts, find_target_kind(self._metadata) == "class maps"
        shares = counts / max(1, int(counts.sum()) if is_map else train.num_samples)
        if rare := (shares < fraction).nonzero().flatten().tolist():
            place = min(rare, key=lambda place: int(counts[place]))
            more = f"; so {len(rare)} of {len(counts)} classes" if len(rare) > 1 else ""
            yield (
                f"train: class '{self._metadata.classes[place]}' has a share of {float(shares[place]):.3g} "
                f"({int(counts[place]):,} of them), less than data.expect.min_class_fraction = {fraction}{more}"
            )

    def _find_missing_classes(self) -> Iterator[str]:
        splits = {name: split for name, split in self._summary.splits.items() if split.num_samples}
        if not splits or not self._metadata.classes:
            return
        is_there = torch.stack([split.class_counts > 0 for split in splits.values()])
        for split, there in zip(splits, is_there, strict=True):
            if missing := (is_there.any(0) & ~there).nonzero().flatten().tolist():
                names = _name_some([self._metadata.classes[place] for place in missing])
                yield f"{split}: no samples of {names} (data.expect.same_classes_in_splits)"

    def _name(self, split: str, row: int) -> str:
        return read_names(self._folder, split, [row])[0]


def _fill(bounds: Sequence[_Bounds], side: int) -> Tensor:
    nothing = (-torch.inf, torch.inf)[side]
    limits = [bound[side] for bound in bounds]
    return torch.tensor([nothing if limit is None else limit for limit in limits], dtype=torch.float64)


def _name_some(names: Iterable[str]) -> str:
    """Return the first of some names, in quotes, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _MAX_NAMED:,} more" if len(listed) > _MAX_NAMED else ""
    return ", ".join(f"'{name}'" for name in listed[:_MAX_NAMED]) + more
