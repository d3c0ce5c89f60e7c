"""A built model on disk: a folder with the weights and what it takes to rebuild the module around them.

The class itself is not stored: whoever reads passes the one that the experiment declares, and a stored name that
differs is refused. Code inside an artifact would be code that nobody reviewed. The data's metadata is: the model can
be rebuilt where the data is not.
"""

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_model, save_file
from torch import Tensor, nn

from common.config import build_config
from common.dataset import Metadata, read_metadata, write_metadata

log = logging.getLogger("force")

_MAX_NAMED = 3  # tensors in a message


class WeightsError(ValueError):
    """Weights of one model do not fit another."""


def write_model(model: nn.Module, config: Any, metadata: Metadata, folder: Path) -> None:
    """Write a model into `folder`, which must exist: weights, config, and the metadata that it was built for."""
    save_file(_list_once(model.state_dict()), folder / "weights.safetensors")
    rebuild = {"class": type(model).__qualname__, "config": dataclasses.asdict(config)}
    (folder / "model.json").write_text(json.dumps(rebuild, indent=1, sort_keys=True) + "\n")
    write_metadata(metadata, folder)


def _list_once(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return each tensor by the first of its names: tied weights have several.

    `safetensors.torch.save_model` also notes the other names, in another order each time: equal models would be
    unequal files.
    """
    found: dict[Any, tuple[str, Tensor]] = {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else name
        found.setdefault(place, (name, tensor.contiguous()))
    return dict(found.values())


def read_model(model_class: type[nn.Module], folder: Path) -> nn.Module:
    """Rebuild the model in `folder` as an instance of `model_class`, which is built from (config, metadata).

    Raises TypeError where the folder holds a model of another class.
    """
    rebuild = json.loads((folder / "model.json").read_text())
    if rebuild["class"] != model_class.__qualname__:
        raise TypeError(f"{folder} holds a {rebuild['class']}, not the {model_class.__qualname__} of this experiment")
    model = model_class(build_config(model_class, rebuild["config"]), read_metadata(folder))
    load_model(model, folder / "weights.safetensors")
    return model


def seed_folder(folder: Path, seed: int) -> Path:
    """Return where the model of a further seed stands, below that of the first one."""
    return folder / f"seed_{seed}"


def find_seeds(folder: Path) -> dict[int, Path]:
    """Return the further seeds of the model in `folder` that were trained with it, and the folder of each."""
    found = {int(path.name.removeprefix("seed_")): path for path in folder.glob("seed_*")}
    return dict(sorted(found.items()))


def copy_weights(source: nn.Module, target: nn.Module, mapping: Mapping[str, str | None] | None = None) -> None:
    """Copy parameters and buffers from one module to another, by name.

    Without a mapping, both have to have the same names and shapes. With one, it says which parts to copy: prefixes of
    the target's names → prefixes of the source's, or None for a part that stays as it is, like all that no prefix
    names. Of several prefixes of a name, the longest counts. What a prefix names has to be on both sides.

    Raises WeightsError, in one line, for what does not fit.
    """
    mapping = {"": ""} if mapping is None else mapping
    there, here = source.state_dict(), target.state_dict()
    wanted = {name: other for name in here if (other := _translate(name, mapping)) is not None}
    if faults := list(dict.fromkeys(_find_misfits(there, here, mapping, wanted))):
        more = f"; and {len(faults) - _MAX_NAMED} more" if len(faults) > _MAX_NAMED else ""
        hint = "model.init_map says which parts to take, and which to leave as they are"
        raise WeightsError(f"the weights do not fit: {'; '.join(faults[:_MAX_NAMED])}{more}. {hint}")
    target.load_state_dict({**here, **{name: there[other] for name, other in wanted.items()}})
    left = [name for name in here if name not in wanted]
    log.info("took %d of %d tensors%s", len(wanted), len(here), f", left {', '.join(left)}" if left else "")


def _translate(name: str, mapping: Mapping[str, str | None]) -> str | None:
    """Return what a tensor of the target is called in the source, None for one that stays as it is.

    >>> _translate("head.weight", {"": "net.", "head.": "classifier."}), _translate("head.weight", {"head.": None})
    ('classifier.weight', None)
    """
    prefix = max((prefix for prefix in mapping if name.startswith(prefix)), key=len, default=None)
    other = None if prefix is None else mapping[prefix]
    return None if prefix is None or other is None else other + name[len(prefix) :]


def _find_misfits(
    there: Mapping[str, Tensor],
    here: Mapping[str, Tensor],
    mapping: Mapping[str, str | None],
    wanted: Mapping[str, str],
) -> Iterator[str]:
    """Yield what is not on both sides, or has another shape; `wanted` are the source's names by the target's."""
    for prefix in mapping:
        if not any(name.startswith(prefix) for name in here):
            yield f"no tensor of this model begins with '{prefix}'"
    for name, other in wanted.items():
        renamed = f" ('{other}' there)" if other != name else ""
        if other not in there:
            yield f"'{name}'{renamed} is here, but not there"
        elif here[name].shape != there[other].shape:
            yield f"'{name}'{renamed} is {tuple(here[name].shape)} here and {tuple(there[other].shape)} there"
    unused = set(there) - set(wanted.values())
    for prefix, start in mapping.items():
        for other in (name for name in there if start is not None and name in unused and name.startswith(start)):
            if _translate(prefix + other[len(start or "") :], mapping) == other:
                yield f"'{other}' is there, but not here"
