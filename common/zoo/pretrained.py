"""Weights in a file of this machine, for models whose architecture another library has."""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from common.model import Model

_MAX_NAMED = 3  # tensors in a message


@dataclass(frozen=True)
class Weights:
    """A safetensors file. The sha256 stands in the params, so that other weights are another training."""

    path: str  # absolute; a container also wants it below `container.mounts`
    sha256: str


class WeightsFileError(ValueError):
    """A file of weights is not the one that the params mean, or does not fit the model."""


class PretrainedModel(Model):
    """A model that begins with the weights of a file, if the params name one.

    A built model has weights of its own and may be read where that file is not: without it, a model can be given a
    state, but does nothing before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.missing_path = ""  # of the file
        self.register_load_state_dict_post_hook(_forget_missing)  # type: ignore[no-untyped-call]

    def read_weights(self, weights: Weights | None) -> dict[str, Tensor] | None:
        """Return the tensors by name, None without a file. Raises WeightsFileError where its sha256 differs."""
        if weights is None:
            return None
        path = Path(weights.path)
        if not path.is_file():
            self.missing_path = weights.path
            return None
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != weights.sha256:
            raise WeightsFileError(f"{path} has the sha256 {found}, `model.weights.sha256` is {weights.sha256}")
        return load_file(path)

    def check_weights(self) -> None:
        """Raise FileNotFoundError where the file was missing, and nothing else gave the model its weights."""
        if self.missing_path:
            raise FileNotFoundError(f"no file '{self.missing_path}', which `model.weights.path` names")


def _forget_missing(module: nn.Module, keys: Any) -> None:
    assert isinstance(module, PretrainedModel)
    module.missing_path = ""


def check_taken(missing: Iterable[str], unexpected: Iterable[str], classifier: Collection[str]) -> None:
    """Raise WeightsFileError for tensors that only one of model and file has; not for those below a `classifier`."""
    faults = [f"'{name}' is missing" for name in missing if not _is_below(name, classifier)]
    faults += [f"'{name}' is not of this model" for name in unexpected if not _is_below(name, classifier)]
    if faults:
        more = f"; and {len(faults) - _MAX_NAMED} more" if len(faults) > _MAX_NAMED else ""
        raise WeightsFileError(f"`model.weights` do not fit: {'; '.join(faults[:_MAX_NAMED])}{more}")


def _is_below(name: str, modules: Collection[str]) -> bool:
    """Say whether a tensor is of one of these modules, which may stand inside others.

    >>> _is_below("bert.pooler.dense.bias", ["pooler"]), _is_below("fc2.bias", ["fc"])
    (True, False)
    """
    return any(f".{module}." in f".{name}" for module in modules)
