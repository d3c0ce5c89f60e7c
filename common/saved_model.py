"""A built model on disk: a folder with the weights and what it takes to rebuild the module around them.

model.json names the class, its module and its config, and for a model that is built from a file, a copy of that beside
it. The class itself is not stored, and is imported from `common` and `experiments` alone: code inside an artifact would
be code that nobody reviewed. Where that copy is a program, as a pickle is, model.json has its SHA-256, and no other
bytes are loaded; who made the folder has to be trusted all the same. The data's metadata is stored: the model can be
rebuilt where the data is not.

    from common.saved_model import load_model

    model = load_model("experiments/wide_net/outputs/train/model")
"""

import dataclasses
import importlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_model as load_weights
from safetensors.torch import save_file
from torch import Tensor, nn

from common.config import build_config
from common.dataset import Metadata, read_metadata, write_metadata
from common.file_model import FileModel

log = logging.getLogger("force")

_FIRST_PARTY = re.compile(r"(common|experiments)(\.[A-Za-z_][A-Za-z0-9_]*)+")  # modules that a model's class may be of
MODEL, WEIGHTS = "model.json", "weights.safetensors"  # in the folder of a built model
_MAX_NAMED = 3  # tensors in a message


class WeightsError(ValueError):
    """Weights of one model do not fit another."""


def write_model(model: nn.Module, config: Any, metadata: Metadata, folder: Path) -> None:
    """Write a model into `folder`, which must exist: weights, config, and the metadata that it was built for."""
    save_file(_list_once(model.state_dict()), folder / WEIGHTS)
    rebuild = {
        "class": type(model).__qualname__,
        "module": type(model).__module__,
        "config": dataclasses.asdict(config),
        **(_write_file(model, folder) if isinstance(model, FileModel) else {}),
    }
    (folder / MODEL).write_text(json.dumps(rebuild, indent=1, sort_keys=True) + "\n")
    write_metadata(metadata, folder)


def _write_file(model: FileModel, folder: Path) -> dict[str, str]:
    return {"file": model.write_file(folder), **({"sha256": model.sha256} if model.sha256 else {})}


def _list_once(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return each tensor by the first of its names: tied weights have several.

    `safetensors.torch.save_model` also notes the other names, in another order each time: equal models would be
    unequal files.
    """
    found: dict[Any, tuple[str, Tensor]] = {}
    for name, tensor in state.items():
        found.setdefault(_find_place(tensor) or name, (name, tensor.contiguous()))
    return dict(found.values())


def build_model(
    model_class: type[nn.Module], config: Any, metadata: Metadata, file: Path | None = None, sha256: str = ""
) -> nn.Module:
    """Return a new model.

    `file` is for the classes that are built from one, and `sha256` that of a file whose code may run.
    """
    source = [] if file is None else [file, *([sha256] if sha256 else [])]
    return model_class(config, metadata, *source)


def read_model(model_class: type[nn.Module], folder: Path, sha256: str | None = None) -> nn.Module:
    """Rebuild the model in `folder` as an instance of `model_class`.

    Code that the model brings runs only from a file with this SHA-256: "" is none at all, None what the folder says.
    Raises TypeError where the folder holds a model of another class.
    """
    rebuild = json.loads((folder / MODEL).read_text())
    if rebuild["class"] != model_class.__qualname__:
        raise TypeError(f"{folder} holds a {rebuild['class']}, not the {model_class.__qualname__} of this experiment")
    file = _find_file(folder, rebuild["file"]) if "file" in rebuild else None
    trusted = rebuild.get("sha256", "") if sha256 is None else sha256
    config, metadata = build_config(model_class, rebuild["config"]), read_metadata(folder)
    model = build_model(model_class, config, metadata, file, trusted if "sha256" in rebuild else "")
    load_weights(model, folder / WEIGHTS)
    return model


def load_model(folder: str | Path, sha256: str | None = None) -> nn.Module:
    """Rebuild the model in `folder`, whatever its class is; the code is that of the checkout.

    Code that the model brings runs only from a file with this SHA-256: "" is none at all, None what the folder says.
    Raises ImportError, in one line, where the checkout has no such class, and where it is to come from anywhere else.
    """
    rebuild = json.loads((Path(folder) / MODEL).read_text())
    return read_model(_find_class(rebuild["module"], rebuild["class"]), Path(folder), sha256)


def _find_file(folder: Path, name: str) -> Path:
    """Return the file or folder inside a built model that its model.json names. Raises ValueError for one outside."""
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"model.json names '{name}', which is no file of its folder")
    return folder / name


def _find_class(module: str, class_name: str) -> type[nn.Module]:
    if not _FIRST_PARTY.fullmatch(module):
        raise ImportError(f"'{module}' is no module of common or experiments: the model's class is not taken from it")
    try:
        found = getattr(importlib.import_module(module), class_name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ImportError(f"there is no {class_name} in {module}, which the model is of: {error}") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ImportError(f"{module}.{class_name} is no class of models")
    return found


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
        hint = "model.init_map says which parts to take, and which to leave as they are"
        raise WeightsError(f"the weights do not fit: {_shorten(faults)}. {hint}")
    target.load_state_dict({**here, **{name: there[other] for name, other in wanted.items()}})
    left = [name for name in here if name not in wanted]
    log.info("took %d of %d tensors%s", len(wanted), len(here), f", left {', '.join(left)}" if left else "")


def take_state(state: Mapping[str, Tensor], model: nn.Module, name: str) -> None:
    """Give a model all weights of a state that the file `name` holds: the same names and shapes, no more and no less.

    Tied weights may stand in the file by one of their names. Raises WeightsError, in one line, for what does not fit.
    """
    here = model.state_dict()
    once = {place: other for other in state if (place := _find_place(here.get(other))) is not None}
    full = {other: state[once[place]] for other in here if (place := _find_place(here[other])) in once} | dict(state)
    same = {other: other for other in here}
    if faults := list(_find_misfits(full, here, {"": ""}, same)):
        raise WeightsError(f"the weights in '{name}' do not fit the model: {_shorten(faults)}")
    model.load_state_dict(full)
    log.info("took %d tensors of %s", len(here), name)


def _find_place(tensor: Tensor | None) -> tuple[Any, ...] | None:
    """Return what tells memory of a tensor from others' memory, None where it has none."""
    return (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor is not None and tensor.numel() else None


def _shorten(faults: Sequence[str]) -> str:
    more = f"; and {len(faults) - _MAX_NAMED} more" if len(faults) > _MAX_NAMED else ""
    return "; ".join(faults[:_MAX_NAMED]) + more


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
