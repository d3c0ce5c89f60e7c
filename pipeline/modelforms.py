"""The forms that a saved model may have, and which of them run code when they are loaded.

Three forms are programs, whatever a scan finds in them: a pickle, TorchScript (it may write files) and an exported
program (torch evaluates texts of it). They load only when experiment.yaml has their SHA-256 under `trust`.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipeline.errors import ConfigError, Problem
from pipeline.pickles import list_names


class Form(StrEnum):
    """What a model is saved as."""

    SAFETENSORS = "safetensors"
    TORCH_STATE = "torch_state"
    TORCH_MODULE = "torch_module"
    TORCHSCRIPT = "torchscript"
    TORCH_EXPORT = "torch_export"
    ONNX = "onnx"
    KERAS = "keras"
    HUGGINGFACE = "huggingface"
    SHARDED = "sharded"
    FORCE = "force"
    UNKNOWN = "unknown"


PROGRAMS = frozenset((Form.TORCH_MODULE, Form.TORCHSCRIPT, Form.TORCH_EXPORT))
STATES = frozenset((Form.SAFETENSORS, Form.TORCH_STATE, Form.SHARDED))  # weights alone: they want a model class


@dataclass(frozen=True)
class ModelFile:
    """A model on disk: what it is, which files it is made of, what loading it would import."""

    path: Path
    name: str  # as messages call it
    form: Form
    files: tuple[Path, ...]
    description: str
    globals: tuple[str, ...] = ()  # what its pickles import and its code calls; undecided and dangerous ones first
    imports: tuple[str, ...] = ()  # what loading it imports, as dotted names, among other things
    program: Path | None = None  # what of it brings code
    sha256: str = ""  # of that

    @property
    def needs_trust(self) -> bool:
        """Say whether loading it runs code that it brings."""
        return self.program is not None

    @property
    def pin(self) -> str:
        """What `trust` calls what brings code: relative to the folder that the model is in."""
        return self.program.relative_to(self.path.parent).as_posix() if self.program else ""


def check_trust(file: ModelFile, pins: Mapping[str, str], place: str = "experiment.yaml") -> None:
    """Check that a model that brings code is pinned in `place`. Raises ConfigError."""
    pin = pins.get(file.pin)
    if not file.needs_trust or pin == file.sha256:
        return
    if pin is None:
        brings = f"; it would use {list_names(file.globals)}" if file.globals else ""
        message = f"is {file.description}, and loading it runs code that it brings{brings}"
        hint = f'if you trust who made it, write in {place}: trust: {{"{file.pin}": "{file.sha256}"}}'
    else:
        message = f"is not the file that {place} trusts: the SHA-256 of {file.pin} is {file.sha256}, the pin is {pin}"
        hint = "if you trust the new file as well, write its SHA-256 there"
    raise ConfigError([Problem(file.name, 0, 0, message, hint)])


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_size(files: Iterable[Path]) -> str:
    """Return the size of files together, as "1.2 MB"."""
    size = float(sum(file.stat().st_size for file in files))
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
