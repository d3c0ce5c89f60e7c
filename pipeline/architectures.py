"""Check a model.json, the architecture of a model as data, without torch.

Its schema is made by `python -m common.layers`. Whether shapes fit is known when the model is built.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from pipeline.documents import locate_json, parse_json
from pipeline.errors import ConfigError, Problem, suggest
from pipeline.validation import Fault, find_located_faults, named_schema

SCHEMA = "architecture"
MAX_BYTES = 2**18
_MAX_FAULTS = 10
_HINT = 'docs/experiments.md#model-forms says how a layer is written: {"Linear": {"out_features": 10}}, or "ReLU"'
# Keys that say more of an item; any other says what it is.
_MORE = ("shortcut", "join", "dim", "repeat", "name")


def check_architecture(text: bytes, path: str) -> None:
    """Raise ConfigError with all faults of a model.json, the first ten of them, each with its place."""
    if len(text) > MAX_BYTES:
        raise ConfigError([Problem(path, 0, 0, f"is larger than {MAX_BYTES // 1024} KiB")])
    value = parse_json(text, path)
    faults = list(islice(find_located_faults(named_schema(SCHEMA), value), _MAX_FAULTS))
    faults = faults or list(islice(_find_more(value), _MAX_FAULTS))
    if faults:
        places = [locate_json(text, fault.where, key=fault.is_key) for fault in faults]
        found = zip(places, faults, strict=True)
        raise ConfigError([Problem(path, *place, fault.message, _HINT) for place, fault in found])


def _find_more(value: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what a schema cannot say: names that come twice or are unknown, and blocks in themselves."""
    blocks = value.get("blocks", {})
    uses: dict[str, set[str]] = {}
    for name, items in blocks.items():
        uses[name] = set()
        yield from _find_in_list(items, ("blocks", name), blocks, uses[name])
    yield from _find_in_list(value["layers"], ("layers",), blocks, set())
    for name in blocks:
        if name in _reach(name, uses):
            yield Fault(f"the block '{name}' stands in itself", ("blocks", name), is_key=True)


def _find_in_list(
    items: list[Any], path: tuple[str | int, ...], blocks: Mapping[str, Any], used: set[str]
) -> Iterator[Fault]:
    """Yield what is wrong with a list of layers, and note the blocks that it uses."""
    names: set[str] = set()
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            continue
        where = (*path, index)
        if item.get("name") in names:
            yield Fault(f"the name '{item['name']}' is taken by a layer before it", (*where, "name"))
        names |= {item["name"]} if "name" in item else set()
        kinds = [key for key in item if key not in _MORE]
        if len(kinds) != 1:
            message = (
                f"is {' and '.join(kinds)} at once: take one" if kinds else f"says no layer, only {', '.join(item)}"
            )
            yield Fault(f"'{'.'.join(map(str, where))}' {message}", where)
        if "block" in item:
            used.add(item["block"])
            if item["block"] not in blocks:
                message = f"there is no block '{item['block']}'{suggest(item['block'], list(blocks))}"
                yield Fault(message, (*where, "block"))
        for key in ("layers", "residual", "shortcut"):
            yield from _find_in_list(item.get(key, []), (*where, key), blocks, used)
        for place, branch in enumerate(item.get("branches", [])):
            yield from _find_in_list(branch, (*where, "branches", place), blocks, used)


def _reach(name: str, uses: Mapping[str, set[str]]) -> set[str]:
    """Return the blocks that stand in a block, directly or not."""
    reached: set[str] = set()
    waiting = [name]
    while waiting:
        new = uses.get(waiting.pop(), set()) - reached
        reached |= new
        waiting += new
    return reached
