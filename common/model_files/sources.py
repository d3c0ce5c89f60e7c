"""What all readers of model files share: their one error, optional packages, bytes that were vouched for."""

import hashlib
import importlib
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any


class ModelFileError(ValueError):
    """A model file cannot be read; the message is one line."""


def import_extra(package: str, extra: str) -> Any:
    """Import an optional package. Raises ModelFileError that names the extra to install."""
    try:
        return importlib.import_module(package)
    except Exception as error:  # such as a library built for another torch
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            message = f"this model file wants the package '{package}'; make extras NAMES={extra}"
            raise ModelFileError(message) from error
        wanted = "; it wants a torchvision of the same build as torch" if "torchvision" in str(error) else ""
        raise ModelFileError(f"the package '{package}' cannot be imported: {first_line(error)}{wanted}") from error


def read_verified(path: Path, sha256: str) -> BytesIO:
    """Return a file's bytes, after they were found to have this SHA-256: what is hashed is what is used.

    Raises ModelFileError for other bytes.
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        wanted = sha256 or "any: programs are refused"
        raise ModelFileError(f"'{path.name}' is not the file that is trusted: its SHA-256 is {found}, not {wanted}")
    return BytesIO(content)


def find_inside(folder: Path, name: str) -> Path:
    """Return the file of a folder that an untrusted name means. Raises ModelFileError for one outside it."""
    pure = PurePosixPath(name)
    if not name or "\\" in name or "\0" in name or pure.is_absolute() or ".." in pure.parts:
        raise ModelFileError(f"'{name}' is no file of the model's own folder")
    path = folder / pure
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelFileError(f"'{name}' is a link out of the model's own folder")
    if not path.is_file():
        raise ModelFileError(f"'{name}' is missing beside the model")
    return path


def first_line(error: BaseException) -> str:
    """Return what another library's error says, in one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
