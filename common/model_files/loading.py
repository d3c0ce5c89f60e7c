"""Which reader takes which form of whole model. The forms are those that a plan finds, by their names."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from common.model_files.keras_models import load_keras
from common.model_files.onnx_models import load_onnx
from common.model_files.pretrained import load_pretrained
from common.model_files.programs import load_torch_export, load_torch_module, load_torchscript
from common.model_files.sources import ModelFileError

# Whole models whose file brings no code.
MODEL_READERS: Mapping[str, Callable[[Path], nn.Module]] = {
    "onnx": load_onnx,
    "keras": load_keras,
    "huggingface": load_pretrained,
}
# Whole models that bring code: they also take the SHA-256 that somebody vouched for.
PROGRAM_READERS: Mapping[str, Callable[[Path, str], nn.Module]] = {
    "torch_module": load_torch_module,
    "torchscript": load_torchscript,
    "torch_export": load_torch_export,
}


def load_whole(form: str, path: Path, sha256: str = "") -> nn.Module:
    """Read a whole model; the SHA-256 is that of a form that brings code.

    Raises ModelFileError for a form that is weights alone, and for what its reader refuses.
    """
    if form in PROGRAM_READERS:
        return PROGRAM_READERS[form](path, sha256)
    if form not in MODEL_READERS:
        raise ModelFileError(
            f"'{path.name}' holds weights alone ({form}): they want a model that the experiment defines"
        )
    return MODEL_READERS[form](path)
