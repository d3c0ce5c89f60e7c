"""Write samples, part by part, as a dataset: within the memory of one part, whatever the size of the whole."""

import hashlib
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import orjson
import torch
from torch import Tensor

from common.dataset import NO_CLASS, SPLITS, Batch, Metadata, describe_dtype, hash_file, tensor_path, write_metadata
from common.hashing import find_equal
from common.likeness import find_alike
from common.moments import Moments
from common.part_states import PartStates, UnusableStateError
from common.samples import Affine, BadSourceError, Samples
from common.tensor_file import TensorFile, open_cut, open_rows
from common.workers import count_cores

log = logging.getLogger("force")

_NUM_BYTES_AT_ONCE = 2**24  # of stored tensors that are looked at or changed
_MAX_NAMED = 5
_NAMES = "names"  # what is written beside the fields of a batch, and the hashes of samples that may be
_PRINTS, _LIKENESSES = _HASHES = ("fingerprints", "likenesses")
_LEAST_KEY = -(2**63)
_NEW = ".new"  # at the end of the name of a file that takes the place of another


class BadTargetError(ValueError):
    """A target is none of the classes."""


class DatasetWriter:
    """The files of one dataset in `folder`, which must exist: `add` all samples, then `finish`.

    With `states`, `resume` goes on where a writer was killed: what was recorded is only appended to, and what has to
    change is written anew, beside it.
    """

    def __init__(self, folder: Path, states: PartStates | None = None) -> None:
        self._folder = folder
        self._states = states
        self.num_parts = 0  # that are done
        self.num_read = 0  # samples of the source in them
        self.is_settled = False  # whether all samples are added, and in their last form
        self._files: dict[tuple[str, str], TensorFile] = {}
        self._example: Batch | None = None  # of the first part, without samples
        self._labels: dict[str, int] | None = None  # in the order in which they came, where targets are labels
        self._classes: tuple[str, ...] = ()
        self._input_names: tuple[str, ...] = ()
        self._transforms: list[Mapping[str, Any]] = []  # what was done, once that is settled
        self._last_key: int | None = _LEAST_KEY  # None where keys did not always rise: one may come twice then
        self._moments = Moments()
        self._digest = ""  # of the samples so far, where each has a digest
        self._names: dict[str, BinaryIO] = {}  # the texts that ids were, by split

    @classmethod
    def resume(cls, folder: Path, states: PartStates) -> Self:
        """Return a writer that goes on from the newest state, or where none is of use, begins in an empty folder."""
        writer = cls(folder, states)
        try:
            if state := states.read():
                writer._restore(state)
                return writer
        except (UnusableStateError, OSError, ValueError) as error:
            log.warning("what an earlier preparation left is not used: %s: preparation starts anew", error)
            writer._close()
        writer._clear(states)
        return cls(folder, states)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        with suppress(OSError) if error else nullcontext():  # a full disk has been told of already
            self._close()
        if self._states and error:
            self._cut_back(self._states)
        elif not self._states:
            self._remove_hashes()

    def add(self, samples: Samples, keys: Tensor, splits: Tensor) -> None:
        """Write samples, each into its split.

        `keys` are (samples,) int64 that stand for the ids, `splits` (samples,) places in `SPLITS`.

        Raises BadSourceError where samples do not fit each other, or those before, and BadTargetError for a label that
        is none of the classes.
        """
        if not len(samples.ids):
            return
        batch = self._read_batch(samples, keys)
        self._open(batch, samples)
        self._follow(keys)
        for index, name in enumerate(SPLITS):
            rows = torch.from_numpy(np.flatnonzero(splits.numpy() == index))  # twice as fast as of torch
            chosen = batch.select(rows) if len(rows) < len(splits) else batch
            for field, tensor in zip(Batch._fields, chosen, strict=True):
                self._files[name, field].append(tensor)
            if self._names:
                self._names[name].writelines(orjson.dumps(samples.ids[row]) + b"\n" for row in rows.tolist())
            for field, hashes in _list_hashes(samples):
                self._files[name, field].append(hashes[rows])
            if name == "train" and has_statistics(batch.inputs.dtype):
                self._moments.add(chosen.inputs)

    def end_part(self, num_read: int) -> None:
        """Count a part of so many samples of the source, all of which are added; keep the state where that is due."""
        self.num_parts += 1
        self.num_read += num_read
        if self._states and self._states.is_due():
            self._states.write(self._describe_state(), self._flush())

    def finish(
        self,
        name: str,
        prepared_by: str,
        describe: Callable[[], Sequence[Mapping[str, Any]]],
        describe_transforms: Callable[[], Sequence[Mapping[str, Any]]] = list,
        fit: Callable[[Mapping[str, Tensor]], Affine] | None = None,
        judge: Callable[["DatasetWriter"], None] = lambda _: None,
    ) -> Metadata:
        """Write what is known last, and return the metadata.

        `describe` says what was read, as a whole, `describe_transforms` what was done to it. `fit` makes of mean and
        std of the train inputs by channel what is done to all inputs. `judge` may raise, once all else is known. Raises
        BadSourceError where there are no samples, or an id comes twice, and BadTargetError where a target is none of
        the classes.
        """
        if self._example is None:
            raise BadSourceError("the source has no samples")
        self._end_files()
        paths = sorted(self._list_files())
        if not self.is_settled:
            self._settle(describe_transforms, fit)
        threads = ThreadPoolExecutor(count_cores())
        try:
            hashes = threads.map(hash_file, [self._folder / path for path in paths])
            self._check_ids()
            for split in SPLITS:
                check_targets(split, self._rows(split, "targets"), len(self._classes), self._find_name)
            judge(self)
            sources = describe()  # may read all of them, for their hashes
            files = dict(zip(paths, hashes, strict=True))
        finally:
            threads.shutdown(cancel_futures=True)
        metadata = self._build_metadata(self._example, name, prepared_by, sources, files)
        write_metadata(metadata, self._folder)
        return metadata

    def _end_files(self) -> None:
        if self._states:
            self._states.wait()  # it is at work with the files
        for file in self._files.values():
            file.finish()
        for names in self._names.values():
            names.flush()

    def _build_metadata(
        self,
        example: Batch,
        name: str,
        prepared_by: str,
        sources: Sequence[Mapping[str, Any]],
        files: Mapping[str, str],
    ) -> Metadata:
        inputs, targets = example.inputs, example.targets
        is_image = inputs.dtype == torch.uint8  # whole numbers that become some from 0 to 1
        return Metadata(
            name=name,
            input_shape=tuple(inputs.shape[1:]),
            input_dtype="float32" if is_image else describe_dtype(inputs.dtype),
            stored_dtype="uint8" if is_image else "",
            target_shape=tuple(targets.shape[1:]),
            target_dtype=describe_dtype(targets.dtype),
            classes=self._classes,
            num_samples={split: self._files[split, "ids"].num_rows for split in SPLITS},
            statistics=self._moments.total(1 / 255 if is_image else 1),
            sources=(*sources, *self._describe_digest()),
            transforms=tuple(self._transforms),
            prepared_by=prepared_by,
            input_names=self._input_names if inputs.shape[1:] == (len(self._input_names),) else (),
            files=files,
        )

    def find_duplicates(self) -> list[tuple[str, str]]:
        """Return up to five pairs of samples of different splits that have the same inputs, by name and split."""
        pairs = find_equal(self._read_hashes(_PRINTS))
        splits = self._find_splits(pairs)
        return self._name_pairs(pairs[splits[:, 0] != splits[:, 1]])

    def find_alike(self) -> list[tuple[str, str]]:
        """Return up to five pairs of samples of different splits whose inputs are not the same, but nearly."""
        likenesses = self._read_hashes(_LIKENESSES)
        if not len(likenesses):
            return []
        splits = self._find_splits(torch.arange(len(likenesses)))
        return self._name_pairs(find_alike(likenesses, splits, self._read_hashes(_PRINTS)))

    def _read_hashes(self, field: str) -> Tensor:
        """Return hashes of the samples of all splits, if there are any."""
        has_any = (SPLITS[0], field) in self._files
        parts = [open_rows(self._path(name, field), (), torch.int64) for name in SPLITS] if has_any else []
        return torch.cat([torch.zeros(0, dtype=torch.int64), *parts])

    def _find_splits(self, rows: Tensor) -> Tensor:
        """Return places in `SPLITS` of rows of all splits together."""
        ends = torch.tensor([self._files[split, "ids"].num_rows for split in SPLITS]).cumsum(dim=0)
        return torch.bucketize(rows, ends, right=True)

    def _name_pairs(self, pairs: Tensor) -> list[tuple[str, str]]:
        return [(self._name_row(int(one)), self._name_row(int(other))) for one, other in pairs[:_MAX_NAMED]]

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
        if isinstance(targets, Tensor) and self._example is not None and samples.classes != self._classes:
            found, before = (", ".join(names[:_MAX_NAMED]) for names in (samples.classes, self._classes))
            raise BadSourceError(f"samples differ: the classes are {found} from sample {ids[0]} on, {before} before")
        self._classes = self._classes or samples.classes
        if self._example is not None and samples.input_names != self._input_names:
            found, before = (", ".join(names[:_MAX_NAMED]) for names in (samples.input_names, self._input_names))
            raise BadSourceError(f"samples differ: the inputs are {found} from sample {ids[0]} on, {before} before")
        self._input_names = samples.input_names
        if samples.digests is not None:
            for name, digest in zip(ids, samples.digests, strict=True):  # a chain: its state is its last link
                self._digest = hashlib.sha256(f"{self._digest}{name} {digest}\n".encode()).hexdigest()
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

    def _open(self, batch: Batch, samples: Samples) -> None:
        """Open the files for tensors as these. Raises BadSourceError where they are not as those before."""
        example = batch.select(torch.arange(0))
        if self._example is not None:
            for field, tensor, before in zip(Batch._fields, example, self._example, strict=True):
                if (tensor.shape, tensor.dtype) != (before.shape, before.dtype):
                    found, wanted = (f"{tuple(t.shape[1:])} {describe_dtype(t.dtype)}" for t in (tensor, before))
                    raise BadSourceError(
                        f"samples differ: {field} are {found} from sample {samples.ids[0]} on, {wanted} before"
                    )
            return
        self._example = example
        for name in SPLITS:
            (self._folder / name).mkdir()
            for field, tensor in zip(Batch._fields, example, strict=True):
                self._open_tensor(name, field, tensor)
            for field, hashes in _list_hashes(samples):
                self._open_tensor(name, field, hashes)
            if not isinstance(samples.ids, Tensor):
                self._names[name] = self._path(name, _NAMES).open("wb")

    def _open_tensor(self, split: str, field: str, example: Tensor, num_rows: int | None = None) -> None:
        path, shape = self._path(split, field), tuple(example.shape[1:])
        self._files[split, field] = TensorFile(path, field, shape, example.dtype, num_rows)

    def _path(self, split: str, field: str) -> Path:
        """Return where a file stands: beside the state, and not in the dataset, what only the writer needs."""
        if field == _NAMES:
            return self._folder / split / "names.jsonl"
        if field in _HASHES and self._states:
            return self._states.path.with_name(f"{split}.{field}")
        return self._folder / tensor_path(split, field)

    def _flush(self) -> list[int]:
        """Hand all that is written to the system; return the descriptors by which it can be brought to the disk."""
        for names in self._names.values():
            names.flush()
        return [*(file.flush() for file in self._files.values()), *(names.fileno() for names in self._names.values())]

    def _close(self) -> None:
        """Close all files, also where what is left of one cannot be written. Raises OSError in the end then."""
        with ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)
            for names in self._names.values():
                stack.callback(names.close)
            if self._states:
                stack.callback(self._states.wait)  # called first: it is at work with the files

    def _describe_state(self) -> dict[str, Any]:
        example = self._example._asdict() if self._example else {}
        return {
            "num_parts": self.num_parts,
            "num_read": self.num_read,
            "is_settled": self.is_settled,
            "example": {name: [list(each.shape), describe_dtype(each.dtype)] for name, each in example.items()},
            "num_rows": {split: self._files[split, "ids"].num_rows for split in SPLITS if example},
            "num_bytes": {split: names.tell() for split, names in self._names.items()},
            "hashes": [field for field in _HASHES if (SPLITS[0], field) in self._files],
            "labels": None if self._labels is None else list(self._labels),
            "classes": list(self._classes),
            "input_names": list(self._input_names),
            "last_key": self._last_key,
            "moments": self._moments.state_dict(),
            "digest": self._digest,
            "transforms": self._transforms,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Take a state back. Raises OSError or ValueError where the files are not as it says."""
        for name in ("num_parts", "num_read", "is_settled"):
            setattr(self, name, state[name])
        self._classes, self._input_names = tuple(state["classes"]), tuple(state["input_names"])
        self._labels = None if state["labels"] is None else {name: place for place, name in enumerate(state["labels"])}
        self._last_key = state["last_key"]
        self._digest, self._transforms = state["digest"], state["transforms"]
        self._moments.load_state_dict(state["moments"])
        if not state["example"]:
            return
        for path in self._folder.glob(f"*/*{_NEW}"):
            if self.is_settled:
                os.replace(path, path.with_suffix(""))
            else:
                path.unlink()
        self._example = Batch(*(torch.empty(s, dtype=getattr(torch, d)) for s, d in state["example"].values()))
        for split in SPLITS:
            num_rows = state["num_rows"][split]
            for field, tensor in self._example._asdict().items():
                self._open_tensor(split, field, tensor, num_rows)
            for field in state["hashes"]:
                self._open_tensor(split, field, torch.empty(0, dtype=torch.int64), num_rows)
            if split in state["num_bytes"]:
                self._names[split] = open_cut(self._path(split, _NAMES), state["num_bytes"][split])

    def _cut_back(self, states: PartStates) -> None:
        """Leave no more than the newest state speaks of: the disk may be full."""
        if not states.newest:
            self._clear(states)
            return
        if not states.newest["is_settled"]:
            self._restore(states.newest)  # cuts the files
            self._close()

    def _clear(self, states: PartStates) -> None:
        """Delete all files."""
        states.drop()
        for path in self._folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._remove_hashes()

    def _remove_hashes(self) -> None:
        for split in SPLITS:
            for field in _HASHES:
                self._path(split, field).unlink(missing_ok=True)

    def _list_files(self) -> Iterator[str]:
        for name in SPLITS:
            yield from (tensor_path(name, field) for field in Batch._fields)
            if self._names:
                yield f"{name}/names.jsonl"

    def _describe_digest(self) -> list[dict[str, str]]:
        return [{"name": "the samples", "sha256": self._digest}] if self._digest else []

    def _rows(self, split: str, field: str) -> Tensor:
        """Return what is stored of a field; it is not to be changed."""
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

    def _follow(self, keys: Tensor) -> None:
        rises = self._last_key is not None and keys[0] > self._last_key and bool((keys[1:] > keys[:-1]).all())
        self._last_key = int(keys[-1]) if rises else None

    def _check_ids(self) -> None:
        if self._last_key is not None:
            return
        ids = torch.cat([self._rows(name, "ids") for name in SPLITS])
        again = find_equal(ids)
        if len(again):
            first, second = (self._name_row(int(row)) for row in again[0])
            raise BadSourceError(f"{len(again)} ids come twice; the first: {first} and {second}")

    def _settle(
        self,
        describe_transforms: Callable[[], Sequence[Mapping[str, Any]]],
        fit: Callable[[Mapping[str, Tensor]], Affine] | None,
    ) -> None:
        """Give targets and inputs the form that only all samples together tell; a state says so before they have it."""
        changed = self._sort_classes()
        if fit:
            changed += self._apply(fit(self._moments.by_channel()))
        self._transforms = list(describe_transforms())
        self.is_settled = True
        self._record_settled(changed)
        for path in changed:
            os.replace(_add_ending(path), path)

    def _record_settled(self, changed: Sequence[Path]) -> None:
        """Keep the state, unless the preparation was so short that there is none; an older one must not stay."""
        states = self._states
        if states is None or not (states.newest or states.is_due()):
            return
        states.wait()
        with ExitStack() as opened:
            streams = [opened.enter_context(_add_ending(path).open("rb")) for path in changed]
            paths = [self._path(*place) for place in self._files]
            streams += [opened.enter_context(path.open("rb")) for path in paths]
            descriptors = [stream.fileno() for stream in (*streams, *self._names.values())]
            states.write(self._describe_state(), descriptors)
            states.wait()
        if not (states.newest and states.newest["is_settled"]):
            states.drop()

    def _sort_classes(self) -> list[Path]:
        """Put classes that were found into alphabetical order; return the files that this changes."""
        if self._labels is None or self._classes:
            return []
        self._classes = tuple(sorted(self._labels, key=_read_label))
        place = {label: index for index, label in enumerate(self._classes)}
        settled = torch.tensor([place[label] for label in self._labels], dtype=torch.long)
        if (settled.diff() > 0).all():  # they came in that order
            return []
        return [self._rewrite(name, "targets", lambda targets: settled[targets]) for name in SPLITS]

    def _apply(self, affine: Affine) -> list[Path]:
        """Change all inputs, and the moments with them; return the files."""
        self._moments = Moments()
        changed = []
        for name in SPLITS:

            def change(inputs: Tensor, name: str = name) -> Tensor:
                shape = [1, -1, *[1] * (inputs.ndim - 2)] if inputs.ndim > 1 else [-1]
                scale, shift = (part.to(inputs.dtype).view(shape) for part in affine)
                fitted = inputs.mul(scale).add_(shift)
                if name == "train":
                    self._moments.add(fitted)
                return fitted

            changed.append(self._rewrite(name, "inputs", change))
        return changed

    def _rewrite(self, split: str, field: str, change: Callable[[Tensor], Tensor]) -> Path:
        """Write a file anew, beside the one that is there, and return the path of that."""
        path, rows = self._path(split, field), self._rows(split, field)
        file = TensorFile(_add_ending(path), field, tuple(rows.shape[1:]), rows.dtype)
        try:
            for block in torch.split(rows, max(1, _NUM_BYTES_AT_ONCE // max(1, rows[:1].nbytes))):
                file.append(change(block))
            file.finish()
        finally:
            file.close()
        return path


def check_targets(split: str, targets: Tensor, num_classes: int, find_name: Callable[[str, int], str]) -> None:
    """Check class indices, of samples or of places in them; without classes there are none.

    Raises BadTargetError, naming the sample by what `find_name` makes of its split and row.
    """
    if not num_classes or targets.is_floating_point():
        return
    has_places = targets.ndim > 1 and targets.shape[1:] != (num_classes,)
    allowed = NO_CLASS if has_places else 0  # a place may have no class
    blocks = torch.split(targets, max(1, _NUM_BYTES_AT_ONCE // max(1, targets[:1].nbytes)))
    is_outside = torch.cat([_find_outside(rows, num_classes, allowed) for rows in blocks])
    if is_outside.any():
        row = int(is_outside.nonzero()[0])
        values = targets[row].flatten()
        found = values[_find_outside(values, num_classes, allowed)][0]
        raise BadTargetError(
            f"{int(is_outside.sum())} samples of the {split} split have no class: sample {find_name(split, row)} has "
            f"the target {int(found)}, and there are {num_classes} classes, 0 … {num_classes - 1}"
        )


def _find_outside(targets: Tensor, num_classes: int, allowed: int) -> Tensor:
    """Return which samples, (samples,), have a target that is none of the classes, nor what is allowed besides."""
    outside = ((targets < 0) | (targets >= num_classes)) & (targets != allowed)
    return outside.flatten(1).any(dim=1) if targets.ndim > 1 else outside


def _list_hashes(samples: Samples) -> list[tuple[str, Tensor]]:
    return [(field, hashes) for field in _HASHES if (hashes := getattr(samples, field)) is not None]


def _add_ending(path: Path) -> Path:
    return path.with_name(path.name + _NEW)


def has_statistics(dtype: torch.dtype) -> bool:
    """Say whether inputs of this dtype are quantities, and not tokens."""
    return dtype.is_floating_point or dtype == torch.uint8


def _read_label(label: str) -> tuple[float, str]:
    """Return what labels are sorted by: numbers come first, in their order."""
    try:
        return float(label), label
    except ValueError:
        return math.inf, label
