"""Read weights by name: safetensors, PyTorch states, and either in shards. No code of a file runs."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from common.model_files.sources import ModelFileError, find_inside, first_line

State = dict[str, Tensor]

# Where checkpoints of others keep the state, among epochs and optimizers.
_STATE_KEYS = ("state_dict", "model_state_dict", "model")


def load_state(form: str, path: Path) -> State:
    """Read weights by name. Raises ModelFileError for a form that is a whole model, and for what its reader refuses."""
    if form not in STATE_READERS:
        raise ModelFileError(f"'{path.name}' is no state, but {form}")
    return STATE_READERS[form](path)


def load_safetensors(path: Path) -> State:
    """Read a state on the CPU, memory-mapped. Raises ModelFileError for a damaged file."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"'{path.name}' is no sound safetensors file: {first_line(error)}") from error


def load_torch_state(path: Path) -> State:
    """Read a state that torch.save wrote, on the CPU, memory-mapped where the file allows; only tensors are unpickled.

    A checkpoint that has the state below `state_dict`, `model_state_dict` or `model` will do.
    Raises ModelFileError for a damaged file, for one with anything but tensors, and for one without a state.
    """
    with path.open("rb") as file:
        is_archive = file.read(4) == b"PK\x03\x04"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except (UnpicklingError, RuntimeError, ValueError, EOFError, OSError, KeyError, IndexError, TypeError) as error:
        raise ModelFileError(f"'{path.name}' is no sound PyTorch state: {first_line(error)}") from error
    return find_state(loaded, path.name)


def load_sharded(path: Path) -> State:
    """Read a state in shards: an index, or the folder that has one, with shards beside it.

    Raises ModelFileError where a shard lies elsewhere, and where index and shards do not agree.
    """
    index = path if path.is_file() else _find_index(path)
    try:
        names: dict[str, str] = dict(json.loads(index.read_bytes())["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"'{index.name}' is no index of shards") from error
    state: State = {}
    for shard in sorted(set(names.values())):
        state.update(_load_shard(find_inside(index.parent, str(shard))))
    if missing := sorted(set(names) - set(state)):
        raise ModelFileError(f"'{index.name}' names '{missing[0]}', which no shard has")
    return {name: state[name] for name in names}


def find_state(loaded: Any, name: str) -> State:
    """Return the state that a checkpoint is, or has. Raises ModelFileError where there is none."""
    candidates = [loaded, *(loaded.get(key) for key in _STATE_KEYS if isinstance(loaded, Mapping))]
    for candidate in candidates:
        if isinstance(candidate, Mapping) and candidate and all(map(_is_entry, candidate.items())):
            return dict(candidate)
    keys = f" but {', '.join(map(str, list(loaded)[:5]))}" if isinstance(loaded, Mapping) else ""
    raise ModelFileError(f"'{name}' has no tensors by name{keys}")


def save_safetensors(model: nn.Module, path: Path) -> None:
    """Write the state of a model; a tensor with several names is written by each of them, as other tools expect."""
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}, path)


def save_torch_state(model: nn.Module, path: Path) -> None:
    """Write the state of a model as torch.save does."""
    torch.save({name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}, path)


def _is_entry(entry: tuple[Any, Any]) -> bool:
    return isinstance(entry[0], str) and isinstance(entry[1], Tensor)


def _find_index(folder: Path) -> Path:
    indexes = sorted(folder.glob("*.index.json"))
    if len(indexes) != 1:
        raise ModelFileError(f"'{folder.name}' has {len(indexes)} indexes of shards, not one")
    return indexes[0]


def _load_shard(path: Path) -> State:
    with path.open("rb") as file:
        is_safetensors = file.read(9)[8:] == b"{"
    return load_safetensors(path) if is_safetensors else load_torch_state(path)


# Weights by name: they want a model that the experiment defines.
STATE_READERS: Mapping[str, Callable[[Path], State]] = {
    "safetensors": load_safetensors,
    "torch_state": load_torch_state,
    "sharded": load_sharded,
}
