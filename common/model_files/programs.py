"""Read models that bring code of their own: whole pickled modules, TorchScript, exported programs.

Each of them can do on this machine whatever it likes. So each reader takes the SHA-256 that somebody vouched for, reads
the file once, and uses the very bytes that had it.
"""

import logging
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from common.model_files.sources import ModelFileError, first_line, read_verified

log = logging.getLogger("force")

_ARCHIVE = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")  # in the first pickle of what torch.save wrote before 1.6


class ScriptedModel(nn.Module):
    """A TorchScript program as a module whose copies train; those that torch makes of a program itself do not."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def forward(self, *inputs: Tensor) -> Any:
        """Run the program."""
        return self.program(*inputs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a copy with weights of its own."""
        content = BytesIO()
        with _allow_script():
            torch.jit.save(self.program, content)
        content.seek(0)
        memo[id(self)] = copied = type(self)(_read_script(content)).train(self.training)
        return copied


class ExportedModel(nn.Module):
    """An exported program as a module.

    Its weights train. Layers that act otherwise in training than in evaluation (dropout, batch norm) act as they did
    when it was exported: `train` and `eval` change nothing.
    """

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def forward(self, *inputs: Tensor) -> Any:
        """Run the program."""
        return self.program(*inputs)

    def train(self, mode: bool = True) -> Self:
        """Note the mode; the program itself knows none."""
        self.training = mode
        return self


def load_torch_module(path: Path, sha256: str) -> nn.Module:
    """Unpickle a whole module, on the CPU, from bytes with this SHA-256.

    Raises ModelFileError for other bytes, where its classes are not to be found, and for what is no module.
    """
    content = read_verified(path, sha256)
    start = content.getvalue()[:64]
    try:
        if start.startswith(_ARCHIVE) or _LEGACY_MAGIC in start:
            loaded = torch.load(content, map_location="cpu", weights_only=False)
        else:
            loaded = pickle.load(content)
    except Exception as error:  # its own code runs, and may raise anything
        raise ModelFileError(f"'{path.name}' cannot be unpickled: {type(error).__name__}: {error}") from error
    if not isinstance(loaded, nn.Module):
        raise ModelFileError(f"'{path.name}' holds a {type(loaded).__name__}, not a module of PyTorch")
    return loaded


def load_torchscript(path: Path, sha256: str) -> nn.Module:
    """Read a TorchScript program, on the CPU, from bytes with this SHA-256. A frozen one has no weights to train.

    Raises ModelFileError for other bytes, and for damaged ones.
    """
    content = read_verified(path, sha256)
    try:
        module = _read_script(content)
    except (RuntimeError, ValueError) as error:
        raise ModelFileError(f"'{path.name}' is no sound TorchScript program: {first_line(error)}") from error
    if not any(True for _ in module.parameters()):
        log.warning("'%s' is a frozen TorchScript program: it has no weights to train", path.name)
    return ScriptedModel(module)


def _read_script(content: BytesIO) -> nn.Module:
    with _allow_script():
        module: nn.Module = torch.jit.load(content, map_location="cpu")  # type: ignore[no-untyped-call]
        return module


@contextmanager
def _allow_script() -> Iterator[None]:
    """Keep torch from saying that TorchScript is deprecated: whoever has such a file has it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.* is deprecated", category=DeprecationWarning)
        yield


def load_torch_export(path: Path, sha256: str) -> nn.Module:
    """Read an exported program from bytes with this SHA-256.

    Raises ModelFileError for other bytes, and for damaged ones.
    """
    content = read_verified(path, sha256)
    try:
        program = torch.export.load(content)
        module = program.module()
    except Exception as error:  # torch checks little of what it reads
        raise ModelFileError(f"'{path.name}' is no sound exported program: {first_line(error)}") from error
    if (size := find_fixed_batch(program)) is not None:
        log.warning("'%s' was exported for batches of exactly %d", path.name, size)
    return ExportedModel(module)


def find_fixed_batch(program: torch.export.ExportedProgram) -> int | None:
    """Return the batch size that an exported program takes alone, None where it takes any."""
    inputs = set(program.graph_signature.user_inputs)
    for node in program.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        if node.name in inputs and isinstance(value, Tensor) and value.ndim and isinstance(value.shape[0], int):
            return value.shape[0]
    return None


def save_torch_export(model: nn.Module, example: Tensor, path: Path) -> None:
    """Write a model, as it evaluates, as an exported program that takes batches of any size.

    The example is a batch of at least two. Raises ModelFileError for a model that torch cannot export.
    """
    mode = model.training
    try:
        shapes = ({0: torch.export.Dim.DYNAMIC},)
        program = torch.export.export(model.eval(), (example,), dynamic_shapes=shapes, strict=False)
    except Exception as error:  # whatever the model's own code raises under tracing
        raise ModelFileError(f"{type(model).__name__} cannot be exported: {first_line(error)}") from error
    finally:
        model.train(mode)
    content = BytesIO()
    torch.export.save(program, content)
    path.write_bytes(content.getvalue())
