"""Params as dotted keys: how nested mappings are taken apart, put together and laid over each other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """An effective param, and where it comes from."""

    value: Any
    file: str  # relative to the root
    key: str  # the dotted key in that file


# Keys of the section `model` that every model takes and no Config gets: whose weights training starts from.
INIT_FROM, INIT_MAP = "init_from", "init_map"
RESERVED = {"model": (INIT_FROM, INIT_MAP)}
# Mappings that are one value: their keys are names of tensors, dots and all.
_LEAVES = (f"model.{INIT_MAP}",)


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, leaf) of nested dicts; an empty dict is a leaf.

    >>> dict(flatten({"train": {"epochs": 3, "schedule": {"warmup": 1}}}))
    {'train.epochs': 3, 'train.schedule.warmup': 1}
    """
    for key, item in value.items():
        if isinstance(item, dict) and item and f"{prefix}{key}".removeprefix("params.") not in _LEAVES:
            yield from flatten(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def nest(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested dicts that `flatten` would turn into `leaves`.

    >>> nest({"train.epochs": 3, "train.schedule.warmup": 1})
    {'train': {'epochs': 3, 'schedule': {'warmup': 1}}}
    """
    nested: dict[str, Any] = {}
    for dotted, value in leaves.items():
        *parents, last = dotted.split(".")
        inner = nested
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return nested


def find_dotted(value: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the paths of keys with a dot, which DVC would take for a level of nesting; `path` leads to the params."""
    for key, inner in value.items():
        if "." in key and len(path) > 2:  # above, it is an unknown key all the same
            yield (*path, key)
        if isinstance(inner, dict) and ".".join((*path, key)[1:]) not in _LEAVES:
            yield from find_dotted(inner, (*path, key))


def trace(path: Sequence[str | int], settings: Mapping[str, Setting]) -> tuple[str, tuple[str | int, ...]] | None:
    """Return the file with the value at `path` of the params, and its path there; None where several make a branch."""
    for end in range(1, len(path) + 1):
        if setting := settings.get(".".join(map(str, path[:end]))):
            return setting.file, (*setting.key.split("."), *path[end:])
    return None


def is_set(field_key: str, settings: Mapping[str, Setting]) -> bool:
    return any(key == field_key or key.startswith(f"{field_key}.") for key in settings)


def covers(key: str, overrides: Mapping[str, Any]) -> bool:
    """Say whether an override replaces `key` by a leaf above or by a branch below it."""
    return any(key.startswith(f"{other}.") or other.startswith(f"{key}.") for other in overrides)


def list_branches(keys: Iterable[str]) -> set[str]:
    """Return the dotted keys of all mappings that others stand in.

    >>> sorted(list_branches(["train.optimizer.lr", "model.width"]))
    ['model', 'train', 'train.optimizer']
    """
    return {key[:end] for key in keys for end, letter in enumerate(key) if letter == "."}
