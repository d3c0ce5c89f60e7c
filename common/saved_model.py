"""A built model on disk: a folder with the weights and what it takes to rebuild the module around them.

The class itself is not stored: whoever reads passes the one that the experiment declares, and a stored name that
differs is refused. Code inside an artifact would be code that nobody reviewed.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_model, save_model
from torch import nn

from common.config import build_config
from common.dataset import Metadata


def write_model(model: nn.Module, config: Any, folder: Path) -> None:
    """Write weights and config of a model into `folder`, which must exist."""
    save_model(model, str(folder / "weights.safetensors"))  # knows tensors that share memory, as tied weights do
    rebuild = {"class": type(model).__qualname__, "config": dataclasses.asdict(config)}
    (folder / "model.json").write_text(json.dumps(rebuild, indent=1, sort_keys=True) + "\n")


def read_model(model_class: type[nn.Module], metadata: Metadata, folder: Path) -> nn.Module:
    """Rebuild the model in `folder` as an instance of `model_class`, which is built from (config, metadata).

    Raises TypeError where the folder holds a model of another class.
    """
    rebuild = json.loads((folder / "model.json").read_text())
    if rebuild["class"] != model_class.__qualname__:
        raise TypeError(f"{folder} holds a {rebuild['class']}, not the {model_class.__qualname__} of this experiment")
    model = model_class(build_config(model_class, rebuild["config"]), metadata)
    load_model(model, folder / "weights.safetensors")
    return model
