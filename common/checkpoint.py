"""Training states on disk, so that a training that was killed goes on to the bit.

A file is written while training goes on, whole or not at all, and the one before it is kept beside it. It is what
`torch.save` makes of tensors and plain types alone: `torch.load(path, weights_only=True)` reads it, and no code comes
out of it. The version of the format and a sha256 follow: a file that is truncated, damaged or foreign is never used.
"""

import copy
import hashlib
import logging
import os
import pickle
import random
import re
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.serialization import get_unsafe_globals_in_checkpoint

from common.parallel import find_processes, gather
from common.stateful import Divided, Kept, Stateful

log = logging.getLogger("force")

_NAME = re.compile(r"fit-(\d+)-step-(\d+)\.pt")
_TRAILER = b"\nforce checkpoint 4 sha256 %s\n"
_TRAILER_SIZE = len(_TRAILER % bytes(64))


class UnusableCheckpointError(RuntimeError):
    """A file is not a checkpoint of this training, or a state cannot become one."""


class Checkpoints:
    """The states of one training in a folder of their own, which belongs to exactly these inputs.

    A trainer that calls `fit` more than once has the files of each call apart.
    """

    def __init__(self, folder: Path, params: Mapping[str, Any] | None = None, minutes: float | None = None) -> None:
        """Open the folder. What a finished training left in it is deleted: who trains again wants to train.

        A file that was written under other `params` is refused. `minutes` is how often one is due inside an epoch. Of
        several processes the first one writes, and all read.
        """
        self._folder = folder
        self._params = params or {}
        self._period_s = None if minutes is None else 60 * minutes
        self._marker = folder / "finished"
        self._num_fits = 0
        self._identity: dict[str, str] = {}
        self._doubts: list[str] = []  # why the last bits may differ from those of a training that was never killed
        self._newest: Path | None = None
        self._writer: threading.Thread | None = None
        self._started = self._written = time.perf_counter()
        self.resumed_s = 0.0  # what training took before it was killed
        self._processes = find_processes()
        if not self._processes.is_first:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("fit-*.tmp"):
            path.unlink(missing_ok=True)
        if self._marker.exists():
            log.info("an earlier training is finished: training starts anew")
            self._delete(first_fit=1)
            self._marker.unlink()  # the last, so that what it marks is never taken for unfinished

    def resume(self, parts: Mapping[str, Stateful], own: Mapping[str, Divided] | None = None) -> bool:
        """Begin a `fit`: restore `parts` and all random generators from the newest usable file, and say whether.

        Where there is none, `parts` stay as they are, and the files are deleted. `own` are parts that differ between
        processes. The first process says which file it is.
        """
        self.wait()
        self._num_fits += 1
        self._newest, self._doubts = None, []
        self._started = self._written = time.perf_counter()
        weights = _list_tensors(parts)
        self._identity = {**_flatten(self._params), **_identify(parts["model"], weights)}
        device = next((tensor.device for tensor in weights.values()), torch.device("cpu"))
        path, state = self._find(device) if self._processes.is_first else (None, None)
        path = gather(path)[0]
        if path is None:
            return False
        self._restore(path, state or _load(path, device), parts, own or {})
        return True

    def _find(self, device: torch.device) -> tuple[Path, dict[str, Any]] | tuple[None, None]:
        """Return the newest usable file and the state in it; delete the files where there is none."""
        paths = [path for (fit, _), path in self._list() if fit == self._num_fits]
        for path in paths:
            try:
                return path, _read(path, self._identity, device)
            except (OSError, UnusableCheckpointError) as error:
                log.warning("%s is not used: %s", path.name, error)
        if paths:
            log.warning("no checkpoint can be used: training starts anew")
        self._delete(self._num_fits)
        return None, None

    def is_due(self) -> bool:
        """Say whether it is time for a file inside an epoch."""
        return self._period_s is not None and time.perf_counter() - self._written >= self._period_s

    def write(self, step: int, parts: Mapping[str, Stateful], own: Mapping[str, Divided] | None = None) -> None:
        """Copy the state after a step, and begin to write it; waits until the one before it is written.

        All files but this one and the one before it are deleted. A training never fails by this: the log says so where
        the disk is full, or a part holds what cannot be kept.
        """
        self.wait()
        states = {name: part.state_dict() for name, part in parts.items()}
        own_states = gather(_copy({name: part.state_dict() for name, part in _add_generators(own).items()}, "", []))
        self._written = time.perf_counter()
        if not self._processes.is_first:
            return
        path = self._folder / f"fit-{self._num_fits}-step-{step}.pt"
        on_device: list[str] = []
        state = {
            "identity": self._identity,
            "machine": _describe_machine(),
            "doubts": list(self._doubts),
            "step": step,
            "seconds": time.perf_counter() - self._started,
            "own": own_states,
            "parts": _copy(states, "", on_device),
            "on_device": on_device,
        }
        self._writer = threading.Thread(target=self._write, args=(path, state), name="checkpoint")
        self._writer.start()

    def wait(self) -> None:
        """Wait until everything is written."""
        if self._writer:
            self._writer.join()
            self._writer = None

    def finish(self) -> None:
        """Mark the training as finished: its files stay, and the next training of the same inputs starts anew."""
        self.wait()
        if self._processes.is_first:
            try:
                self._marker.touch()
            except OSError as error:
                log.warning("the training is not marked as finished, and would be resumed: %s", error)

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        try:
            _write(path, state)
            for (fit, _), other in self._list():
                if fit == self._num_fits and other not in (path, self._newest):
                    other.unlink(missing_ok=True)
        except Exception as error:  # of a thread that nobody would hear of
            log.warning("step %d has no checkpoint: %s", state["step"], error)
            return
        self._newest = path

    def _restore(
        self, path: Path, state: dict[str, Any], parts: Mapping[str, Stateful], own: Mapping[str, Divided]
    ) -> None:
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        self._restore_own(state["own"], _add_generators(own))
        self._newest = path
        self._started -= state["seconds"]
        self.resumed_s += state["seconds"]
        log.info("resumed after step %d from %s", state["step"], path.name)
        self._doubts = list(dict.fromkeys([*state["doubts"], *self._find_doubts(state)]))
        for doubt in self._doubts:
            log.warning(doubt)

    def _restore_own(self, states: list[dict[str, Any]], own: Mapping[str, Divided]) -> None:
        processes = self._processes
        for name, part in own.items():
            if len(states) == processes.num:
                part.load_state_dict(states[processes.rank][name])
            else:
                part.take_over([state[name] for state in states], is_first=processes.is_first)

    def _find_doubts(self, state: dict[str, Any]) -> list[str]:
        """Return why a training that goes on from this state may not come to the bits of an uninterrupted one."""
        doubts = []
        machine, num_processes = _describe_machine(), len(state["own"])
        if state["machine"] != machine:
            what = f"a checkpoint was written by {state['machine']}, and resumed by {machine}"
            doubts.append(f"{what}: the last bits may differ from those of one machine")
        if num_processes != self._processes.num:
            what = f"processes wrote a checkpoint, and {self._processes.num} resumed it"
            doubts.append(f"{num_processes} {what}: the last bits may differ")
        return doubts

    def _list(self) -> list[tuple[tuple[int, int], Path]]:
        """Return ((fit, step), path) of all files, the newest first; nothing else in the folder is ours."""
        matches = [(_NAME.fullmatch(path.name), path) for path in self._folder.iterdir()]
        return sorted((((int(match[1]), int(match[2])), path) for match, path in matches if match), reverse=True)

    def _delete(self, first_fit: int) -> None:
        for (fit, _), path in self._list():
            if fit >= first_fit:
                path.unlink(missing_ok=True)


def _list_tensors(parts: Mapping[str, Stateful]) -> dict[str, torch.Tensor]:
    members = parts["model"].state_dict().items()
    return {name: member for name, member in members if isinstance(member, torch.Tensor)}


def _identify(model: Stateful, weights: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Return what tells one model from another, if the folder should ever be that of other inputs."""
    return {
        "the model": getattr(model, "class_name", type(model).__qualname__),
        **{name: f"{tensor.dtype} {list(tensor.shape)}" for name, tensor in weights.items()},
    }


def _flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return dotted key → value as text."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": str(value)}
    return flat


def _copy(value: Any, place: str, on_device: list[str]) -> Any:
    """Return a state on the CPU that later steps do not change; `on_device` gets the places of what was elsewhere.

    numpy's numbers become Python's, as a learning rate that numpy computed is one.
    """
    if isinstance(value, torch.Tensor):
        if value.device.type != "cpu":
            on_device.append(place)
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Kept):
        return dict(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict) and type(value) in (dict, OrderedDict):
        return {key: _copy(member, f"{place}/{key}", on_device) for key, member in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_copy(member, f"{place}/{index}", on_device) for index, member in enumerate(value))
    return copy.copy(value) if isinstance(value, set | bytearray | Counter) else value  # a file may hold these, too


def _move(value: Any, place: str, on_device: Set[str], device: torch.device) -> Any:
    """Return a state with the tensors of these places on `device`: the writer's may not be here."""
    if isinstance(value, torch.Tensor):
        return value.to(device) if place in on_device else value
    if isinstance(value, dict):
        return {key: _move(member, f"{place}/{key}", on_device, device) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_move(member, f"{place}/{index}", on_device, device) for index, member in enumerate(value))
    return value


def _write(path: Path, state: dict[str, Any]) -> None:
    """Write a file, all of it or nothing. Raises UnusableCheckpointError where a state cannot be kept."""
    temporary = path.with_suffix(".tmp")
    try:
        _save(state, temporary)
        with temporary.open("ab") as stream:
            stream.write(_build_trailer(temporary, stream.tell()))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _save(state: dict[str, Any], path: Path) -> None:
    try:
        torch.save(state, path)  # much faster than into a stream, and without a copy in memory
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise UnusableCheckpointError(f"the state cannot be written: {error}") from error
    except RuntimeError as error:
        raise UnusableCheckpointError(f"the file cannot be written, is the disk full? ({error})") from error
    strange = get_unsafe_globals_in_checkpoint(path)
    if strange:
        raise UnusableCheckpointError(f"the state holds {', '.join(sorted(strange))}, no tensor or plain type")


def _read(path: Path, identity: dict[str, str], device: torch.device) -> dict[str, Any]:
    """Return the state in a file, on `device` what was on a GPU.

    Raises UnusableCheckpointError where it is not whole, or of another training.
    """
    size = path.stat().st_size - _TRAILER_SIZE
    with path.open("rb") as stream:
        stream.seek(max(0, size))
        if stream.read() != _build_trailer(path, size):
            raise UnusableCheckpointError("it is truncated, damaged or of another format")
    try:
        state = _load(path, device)
    except pickle.UnpicklingError as error:
        raise UnusableCheckpointError("it holds more than tensors and plain types") from error
    for key in {**identity, **state["identity"]}:
        theirs, ours = state["identity"].get(key), identity.get(key)
        if theirs != ours:
            raise UnusableCheckpointError(f"it is of another training: {key} is {theirs}, not {ours}")
    return state


def _load(path: Path, device: torch.device) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, weights_only=True)
    if state["on_device"]:
        state["parts"] = _move(state["parts"], "", set(state["on_device"]), device)
    return state


def _build_trailer(path: Path, size: int) -> bytes:
    """Return what has to follow the first `size` bytes of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(min(2**20, max(0, size - stream.tell()))):
            digest.update(chunk)
    return _TRAILER % digest.hexdigest().encode()


class _Generators:
    """Every generator that training may draw from."""

    def state_dict(self) -> dict[str, Any]:
        """Return their states; draws nothing."""
        numpy = np.random.get_state(legacy=False)
        numpy["state"]["key"] = numpy["state"]["key"].tolist()
        return {
            "python": random.getstate(),
            "numpy": numpy,
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if _is_on_gpu() else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the states back."""
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])
        torch.set_rng_state(state["torch"])
        for device, generator in zip(range(torch.cuda.device_count()), state["cuda"], strict=False):
            torch.cuda.set_rng_state(generator, device)

    def take_over(self, states: list[dict[str, Any]], *, is_first: bool) -> None:
        """Take the states of one of so many processes; one that is more keeps its own."""
        rank = find_processes().rank
        if rank < len(states):
            self.load_state_dict(states[rank])


def _add_generators(own: Mapping[str, Divided] | None) -> dict[str, Divided]:
    return {**(own or {}), "generators": _Generators()}


def _describe_machine() -> str:
    """Return what the last bits of a result depend on, besides its inputs."""
    device = torch.cuda.get_device_name() if _is_on_gpu() else torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__} on {device}"


def _is_on_gpu() -> bool:
    """Say whether this process uses CUDA; asking for more would start it."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
