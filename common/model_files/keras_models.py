"""Read models that Keras 3 saved, on PyTorch. Needs the extra `keras`.

Keras' own safe mode was found to leave ways open; so what a model may be made of is listed here.
"""

import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from common.model_files.sources import ModelFileError, first_line, import_extra

_EXTRA = "keras"
_MAX_CONFIG = 100 * 1024**2  # bytes
_MODULES = re.compile(
    r"keras(\.(layers|activations|initializers|regularizers|constraints|optimizers|losses|metrics|models|dtype_policies"
    r"|quantizers|src\.models\.(functional|sequential)|src\.ops\.(numpy|nn|math|linalg)))?"
)
# A class of theirs, but for those that run code which the model brings, or read other files.
_CLASS = re.compile(r"(?!.*(Lambda|TorchModule|TFSM|Jax|Flax|Lookup|TextVectorization|Hashing))[A-Z][A-Za-z0-9_]*")
_MARKERS = frozenset(("__tensor__", "__numpy__", "__keras_tensor__", "__ellipsis__", "__complex__", "__bytes__"))


def load_keras(path: Path) -> nn.Module:
    """Read a whole model: a `.keras` file, or the folder that Keras writes unzipped. Its weights train.

    Keras' layers take channels last. Raises ModelFileError for a damaged model, and for one that is made of anything
    but Keras' own layers.
    """
    if path.is_file() and path.suffix != ".keras":
        raise ModelFileError(f"'{path.name}' holds a Keras model, which Keras reads only by the name .keras")
    check_config(_read_config(path))
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = import_extra("keras", _EXTRA)
    if keras.backend.backend() != "torch":
        raise ModelFileError(f"Keras runs on {keras.backend.backend()} here; set KERAS_BACKEND=torch")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises what its layers do
        raise ModelFileError(f"'{path.name}' cannot be read by Keras: {first_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise ModelFileError(f"'{path.name}' holds no model")
    return model


def check_config(config: Any) -> None:
    """Check that a model is made of Keras' own parts. Raises ModelFileError that names the first that is not."""
    for name in _find_strangers(config):
        raise ModelFileError(f"the Keras model has '{name}', which may bring code or read files, and is refused")


def _read_config(path: Path) -> Any:
    try:
        if path.is_dir():
            return json.loads((path / "config.json").read_bytes())
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > _MAX_CONFIG:
                raise ModelFileError(f"the config of '{path.name}' is larger than {_MAX_CONFIG} bytes")
            return json.loads(archive.read("config.json"))
    except (OSError, KeyError, zipfile.BadZipFile, ValueError, RecursionError) as error:
        raise ModelFileError(f"'{path.name}' is no sound Keras model: {first_line(error)}") from error


def _find_strangers(config: Any) -> Iterator[str]:
    """Yield each part that is not Keras' own; what a model was compiled with is not read."""
    if isinstance(config, list):
        for value in config:
            yield from _find_strangers(value)
    elif isinstance(config, dict):
        if "class_name" in config or "module" in config:
            yield from _find_strange_part(config)
        for key, value in config.items():
            if key != "compile_config":
                yield from _find_strangers(value)


def _find_strange_part(part: dict[str, Any]) -> Iterator[str]:
    name, module = str(part.get("class_name")), part.get("module")
    if "module" not in part and name in _MARKERS:
        return
    if not isinstance(module, str) or not _MODULES.fullmatch(module) or not _CLASS.fullmatch(name):
        yield f"{module}.{name}"
    elif part.get("registered_name") not in (None, name):
        yield str(part["registered_name"])
