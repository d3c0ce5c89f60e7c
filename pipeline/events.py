"""What happened on GitHub, read from the payload of a workflow's event. Nothing in it is trusted: it is data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UsageError
from pipeline.experiments import NAME_PATTERN

_SEPARATORS = re.compile(r"[\s,]+")


@dataclass(frozen=True)
class Event:
    """A push, a pull request or a call by hand."""

    name: str
    branch: str  # that was pushed, or that a pull request brings
    before: str = ""  # the commit that a push found; empty where it found none
    is_deletion: bool = False
    default_branch: str = ""
    base_branch: str = ""  # that a pull request goes into
    number: int = 0  # of the pull request
    experiments: tuple[str, ...] = ()  # named by hand; empty for all


@dataclass(frozen=True)
class OpenPullRequest:
    """A pull request that can have a comment, and the branch that it goes into."""

    number: int
    base_branch: str


def parse_event(name: str, payload: Any, ref_name: str, head_ref: str) -> Event:
    """Return the event. `ref_name` and `head_ref` are GitHub's variables of these names.

    Raises UsageError for an event that no workflow of ours starts on.
    """
    if not isinstance(payload, Mapping):
        hint = "look at GITHUB_EVENT_PATH, or act's --eventpath"
        raise UsageError("the payload of the event is no JSON object", hint)
    default_branch = str(_get(payload, "repository", "default_branch") or "")
    if name == "push":
        before = str(payload.get("before") or "")
        return Event(
            name,
            ref_name,
            before="" if set(before) == {"0"} else before,
            is_deletion=bool(payload.get("deleted")),
            default_branch=default_branch,
        )
    if name == "pull_request":
        if not _get(payload, "pull_request", "head") or not _get(payload, "pull_request", "base"):
            raise UsageError("the payload has no pull request with a head and a base", "docs/ci.md shows one")
        number = _get(payload, "pull_request", "number")
        return Event(
            name,
            head_ref or str(_get(payload, "pull_request", "head", "ref") or ""),
            default_branch=default_branch,
            base_branch=str(_get(payload, "pull_request", "base", "ref") or ""),
            number=number if isinstance(number, int) else 0,
        )
    if name == "workflow_dispatch":
        names = split_names(str(_get(payload, "inputs", "experiments") or ""))
        return Event(name, ref_name, default_branch=default_branch, experiments=names)
    raise UsageError(f"the event '{name}' plans nothing", "it is push, pull_request or workflow_dispatch")


def split_names(text: str) -> tuple[str, ...]:
    """Return the names of experiments in a text, () for `all`.

    >>> split_names("wide_net, residual_net")
    ('wide_net', 'residual_net')

    Raises UsageError for what cannot be a name: it never gets as far as a shell.
    """
    names = tuple(name for name in _SEPARATORS.split(text.strip()) if name)
    for name in names:
        if not NAME_PATTERN.fullmatch(name):
            raise UsageError(f"{name[:80]!r} cannot be the name of an experiment", "force ls lists them")
    return () if names == ("all",) else names


def _get(payload: Mapping[str, Any], *keys: str) -> Any:
    value: Any = payload
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
