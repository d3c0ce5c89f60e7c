"""Read folders that `save_pretrained` of transformers wrote. Needs the extra `transformers`; fetches nothing."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from common.model_files.sources import ModelFileError, first_line, import_extra

_EXTRA = "transformers"
_CODE_KEYS = ("auto_map", "custom_pipelines", "trust_remote_code")


class PretrainedModel(nn.Module):
    """A model of transformers that takes one tensor and returns one: its logits, or else its first output."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Any:
        """Run the model on its main input, such as pixels or the ids of tokens."""
        output = self.model(**{self.model.main_input_name: inputs})
        return output.logits if "logits" in output else output[0]


def load_pretrained(folder: Path) -> nn.Module:
    """Read a pretrained model by the class that its config names, one of transformers itself. Its weights train.

    Raises ModelFileError for a damaged model, for one that asks for code of its own, and for an unknown class.
    """
    kind = _read_kind(folder)
    transformers = import_extra("transformers", _EXTRA)
    model_class: Any = getattr(transformers, kind, None)
    if not _is_subclass(model_class, transformers.PreTrainedModel):
        raise ModelFileError(f"'{folder.name}' wants the class '{kind}', which transformers does not have")
    try:
        model = model_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False, weights_only=True)
    except Exception as error:  # transformers raises what its parts do
        raise ModelFileError(f"'{folder.name}' cannot be read by transformers: {first_line(error)}") from error
    return PretrainedModel(model)


def find_code_key(config: Any) -> str | None:
    """Return the key by which a config would bring code of its own, or fetch it, None without one."""
    if isinstance(config, list):
        return next((key for key in map(find_code_key, config) if key), None)
    if not isinstance(config, dict):
        return None
    for key, value in config.items():
        fetches = key in ("_attn_implementation", "attn_implementation") and "/" in str(value)
        if key in _CODE_KEYS or fetches:
            return str(key)
    return find_code_key(list(config.values()))


def _read_kind(folder: Path) -> str:
    """Return the class that a config names. Raises ModelFileError where it names none, or asks for code."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        key = find_code_key(config)
        kind = config["architectures"][0]
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ModelFileError(f"'{folder.name}' has no config.json that names an architecture") from error
    if key or (folder / "adapter_config.json").exists():
        raise ModelFileError(
            f"'{folder.name}' asks for code or weights of elsewhere ('{key or 'adapter_config.json'}')"
        )
    if not isinstance(kind, str) or not kind.isidentifier():
        raise ModelFileError(f"'{folder.name}' names no architecture")
    return kind


def _is_subclass(found: Any, wanted: type) -> bool:
    return isinstance(found, type) and issubclass(found, wanted)
