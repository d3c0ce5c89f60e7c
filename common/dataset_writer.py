"""Write samples, part by part, as a dataset: within the memory of one part, whatever the size of the whole."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

import orjson
import torch
from torch import Tensor

from common.dataset import SPLITS, Batch, Metadata, describe_dtype, hash_file, tensor_path, write_metadata
from common.moments import Moments
from common.samples import Affine, BadSourceError, Samples
from common.tensor_file import TensorFile, open_rows

_NUM_BYTES_AT_ONCE = 2**24  # of stored tensors that are looked at or changed
_MAX_NAMED = 5


class BadTargetError(ValueError):
    """A target is none of the classes."""


class DatasetWriter:
    """The files of one dataset in `folder`, which must exist: `add` all samples, then `finish`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[tuple[str, str], TensorFile] = {}
        self._example: Batch | None = None  # of the first part, without samples
        self._labels: dict[str, int] | None = None  # in the order in which they came, where targets are labels
        self._classes: tuple[str, ...] = ()
        self._columns: tuple[str, ...] = ()
        self._moments = Moments()
        self._digest: Any = None  # of what samples were read from, where each had a file of its own
        self._names: dict[str, BinaryIO] = {}  # the texts that ids were, by split
        self._fingerprints: dict[str, list[Tensor]] = {name: [] for name in SPLITS}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
        for names in self._names.values():
            names.close()

    def add(self, samples: Samples, keys: Tensor, splits: Tensor) -> None:
        """Write samples, each into its split.

        `keys` are (samples,) int64 that stand for the ids, `splits` (samples,) places in `SPLITS`.

        Raises BadSourceError where samples do not fit each other, or those before, and BadTargetError for a label that
        is none of the classes.
        """
        if not len(samples.ids):
            return
        batch = self._read_batch(samples, keys)
        self._open(batch, samples.ids)
        for index, name in enumerate(SPLITS):
            rows = (splits == index).nonzero().flatten()
            chosen = batch.select(rows) if len(rows) < len(splits) else batch
            for field, tensor in zip(Batch._fields, chosen, strict=True):
                self._files[name, field].append(tensor)
            if self._names:
                self._names[name].writelines(orjson.dumps(samples.ids[row]) + b"\n" for row in rows.tolist())
            if samples.fingerprints is not None:
                self._fingerprints[name].append(samples.fingerprints[rows])
            if name == "train" and has_statistics(batch.inputs.dtype):
                self._moments.add(chosen.inputs)

    def finish(
        self,
        name: str,
        prepared_by: str,
        describe: Callable[[], Sequence[Mapping[str, Any]]],
        fit: Callable[[Mapping[str, Tensor]], Affine] | None = None,
    ) -> Metadata:
        """Write what is known last, and return the metadata.

        `describe` says what was read, as a whole. `fit` makes of mean and std of the train inputs by channel what is
        done to all inputs. Raises BadSourceError where there are no samples, or an id comes twice, and BadTargetError
        where a target is none of the classes.
        """
        if self._example is None:
            raise BadSourceError("the source has no samples")
        for file in self._files.values():
            file.finish()
        for names in self._names.values():
            names.close()
        self._check_ids()
        self._settle_targets()
        if fit:
            self._apply(fit(self._moments.by_channel()))
        is_image = self._example.inputs.dtype == torch.uint8  # whole numbers that become some from 0 to 1
        metadata = Metadata(
            name=name,
            input_shape=tuple(self._example.inputs.shape[1:]),
            input_dtype="float32" if is_image else describe_dtype(self._example.inputs.dtype),
            stored_dtype="uint8" if is_image else "",
            target_shape=tuple(self._example.targets.shape[1:]),
            target_dtype=describe_dtype(self._example.targets.dtype),
            classes=self._classes,
            columns=self._columns,
            num_samples={split: self._files[split, "ids"].num_rows for split in SPLITS},
            statistics=self._moments.total(1 / 255 if is_image else 1),
            sources=(*describe(), *self._describe_digest()),
            prepared_by=prepared_by,
            files={path: hash_file(self._folder / path) for path in sorted(self._list_files())},
        )
        write_metadata(metadata, self._folder)
        return metadata

    def find_duplicates(self) -> list[tuple[str, str]]:
        """Return up to five pairs of samples of different splits that have the same inputs, by name and split."""
        prints = torch.cat([part for name in SPLITS for part in self._fingerprints[name]])
        order = prints.argsort(stable=True)
        same = (prints[order].diff() == 0).nonzero().flatten()
        sizes = [sum(map(len, self._fingerprints[name])) for name in SPLITS]
        split_of = torch.repeat_interleave(torch.arange(len(SPLITS)), torch.tensor(sizes))
        first, second = order[same], order[same + 1]
        crossing = (split_of[first] != split_of[second]).nonzero().flatten()[:_MAX_NAMED]
        names = [self._name_row(int(row)) for row in torch.cat([first[crossing], second[crossing]])]
        return list(zip(names[: len(crossing)], names[len(crossing) :], strict=True))

    def _read_batch(self, samples: Samples, keys: Tensor) -> Batch:
        inputs, targets, ids = samples.inputs, samples.targets, samples.ids
        lengths = {"inputs": len(inputs), "targets": len(targets), "ids": len(ids)}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{count} {field}" for field, count in lengths.items())
            raise BadSourceError(f"the source gives {counts}: wanted one of each for every sample")
        if not isinstance(inputs, Tensor):
            raise BadSourceError(
                "the inputs are texts: data.transforms has to make numbers of them, as `tokenise` does"
            )
        self._classes = self._classes or samples.classes
        self._columns = samples.columns
        if samples.digests is not None:
            self._digest = self._digest or hashlib.sha256()
            for name, digest in zip(ids, samples.digests, strict=True):
                self._digest.update(f"{name} {digest}\n".encode())
        return Batch(inputs, targets if isinstance(targets, Tensor) else self._index(targets, ids), keys)

    def _index(self, labels: Sequence[str], ids: Any) -> Tensor:
        """Return the index of each label: of the classes, or where these are not known, in the order of coming."""
        if self._labels is None:
            self._labels = {label: index for index, label in enumerate(self._classes)}
        if not self._classes:
            for label in labels:
                self._labels.setdefault(label, len(self._labels))
        for label, name in zip(labels, ids, strict=True):
            if label not in self._labels:
                known = ", ".join(self._classes[:_MAX_NAMED]) + (" …" if len(self._classes) > _MAX_NAMED else "")
                raise BadTargetError(f"sample {name} has the label '{label}', none of the classes: {known}")
        return torch.tensor([self._labels[label] for label in labels], dtype=torch.long)

    def _open(self, batch: Batch, ids: Any) -> None:
        """Open the files for tensors as these. Raises BadSourceError where they are not as those before."""
        example = batch.select(torch.arange(0))
        if self._example is not None:
            for field, tensor, before in zip(Batch._fields, example, self._example, strict=True):
                if (tensor.shape, tensor.dtype) != (before.shape, before.dtype):
                    found, wanted = (f"{tuple(t.shape[1:])} {describe_dtype(t.dtype)}" for t in (tensor, before))
                    raise BadSourceError(
                        f"samples differ: {field} are {found} from sample {ids[0]} on, {wanted} before"
                    )
            return
        self._example = example
        for name in SPLITS:
            (self._folder / name).mkdir()
            for field, tensor in zip(Batch._fields, example, strict=True):
                path = self._folder / tensor_path(name, field)
                self._files[name, field] = TensorFile(path, field, tuple(tensor.shape[1:]), tensor.dtype)
            if not isinstance(ids, Tensor):
                self._names[name] = (self._folder / name / "names.jsonl").open("wb")

    def _list_files(self) -> Iterator[str]:
        for name in SPLITS:
            yield from (tensor_path(name, field) for field in Batch._fields)
            if self._names:
                yield f"{name}/names.jsonl"

    def _describe_digest(self) -> list[dict[str, str]]:
        return [{"name": "the samples' files", "sha256": self._digest.hexdigest()}] if self._digest else []

    def _rows(self, split: str, field: str) -> Tensor:
        """Return what is stored of a field, to be changed in place."""
        assert self._example is not None
        example: Tensor = getattr(self._example, field)
        return open_rows(self._folder / tensor_path(split, field), tuple(example.shape[1:]), example.dtype)

    def _name_row(self, row: int) -> str:
        """Return what to call a sample, by its place in all splits together."""
        for split in SPLITS:
            count = self._files[split, "ids"].num_rows
            if row < count:
                return f"{self._find_name(split, row)} ({split})"
            row -= count
        raise IndexError(row)

    def _find_name(self, split: str, row: int) -> str:
        if not self._names:
            return str(self._rows(split, "ids")[row].item())
        with (self._folder / split / "names.jsonl").open("rb") as lines:
            return str(orjson.loads(next(line for place, line in enumerate(lines) if place == row)))

    def _check_ids(self) -> None:
        ids = torch.cat([self._rows(name, "ids") for name in SPLITS])
        order = ids.argsort(stable=True)
        again = (ids[order].diff() == 0).nonzero().flatten()
        if len(again):
            pair = [self._name_row(int(order[again[0] + place])) for place in (0, 1)]
            raise BadSourceError(f"{len(again)} ids come twice; the first: {pair[0]} and {pair[1]}")

    def _settle_targets(self) -> None:
        """Put classes that were found into alphabetical order; check that every target is one of them."""
        if self._labels is not None and not self._classes:
            self._classes = tuple(sorted(self._labels, key=_read_label))
            place = {label: index for index, label in enumerate(self._classes)}
            settled = torch.tensor([place[label] for label in self._labels], dtype=torch.long)
            for name in SPLITS:
                targets = self._rows(name, "targets")
                targets.copy_(settled[targets])
        for name in SPLITS:
            check_targets(name, self._rows(name, "targets"), len(self._classes), self._find_name)

    def _apply(self, affine: Affine) -> None:
        """Change all stored inputs, and the moments with them."""
        self._moments = Moments()
        for name in SPLITS:
            inputs = self._rows(name, "inputs")
            shape = [1, -1, *[1] * (inputs.ndim - 2)] if inputs.ndim > 1 else [-1]
            scale, shift = (part.to(inputs.dtype).view(shape) for part in affine)
            for rows in torch.split(inputs, max(1, _NUM_BYTES_AT_ONCE // max(1, inputs[:1].nbytes))):
                rows.mul_(scale).add_(shift)
                if name == "train":
                    self._moments.add(rows)


def check_targets(split: str, targets: Tensor, num_classes: int, find_name: Callable[[str, int], str]) -> None:
    """Check class indices; without classes, or where a sample may have several, there are none.

    Raises BadTargetError, naming the sample by what `find_name` makes of its split and row.
    """
    if not num_classes or targets.ndim != 1 or targets.is_floating_point():
        return
    outside = ((targets < 0) | (targets >= num_classes)).nonzero()
    if len(outside):
        row = int(outside[0])
        raise BadTargetError(
            f"{len(outside)} samples of the {split} split have no class: sample {find_name(split, row)} has the target "
            f"{int(targets[row])}, and there are {num_classes} classes, 0 … {num_classes - 1}"
        )


def has_statistics(dtype: torch.dtype) -> bool:
    """Say whether inputs of this dtype are quantities, and not tokens."""
    return dtype.is_floating_point or dtype == torch.uint8


def _read_label(label: str) -> tuple[float, str]:
    """Return what labels are sorted by: numbers come first, in their order."""
    try:
        return float(label), label
    except ValueError:
        return math.inf, label
