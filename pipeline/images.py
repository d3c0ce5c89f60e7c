"""What goes into the image that stages run in, and the digest of it, which is the image's tag. Builds nothing."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError, Problem
from pipeline.workspace import read_json, write_json

DOCKERFILE = "docker/train.Dockerfile"
# By the name that the Dockerfile knows a file by.
FILES = {
    "Dockerfile": DOCKERFILE,
    "train.lock": "docker/train.lock",
    "cuda.lock": "docker/cuda.lock",
    "force": "docker/force",
}
REPOSITORY = "force-build/train"  # of images that stay on this machine
BASE_VARIABLE = "FORCE_BASE_IMAGE"
WHEELHOUSE_VARIABLE = "FORCE_WHEELHOUSE"
OPTIONS_FILE = "image.json"  # below .force/
_TAG_LENGTH = 16


@dataclass(frozen=True)
class ImageInputs:
    """Everything that an image is made of."""

    files: Mapping[str, Path]  # by name in the build context
    arguments: Mapping[str, str]  # of the build
    wheels: tuple[Path, ...]  # the wheelhouse; empty where wheels come from the index

    @property
    def digest(self) -> str:
        """A hash of all of it: the same inputs have the same image."""
        facts = {
            "files": {name: _hash_file(path) for name, path in self.files.items()},
            "arguments": dict(self.arguments),
            "wheels": {path.name: _hash_file(path) for path in self.wheels},
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def tag(self) -> str:
        """The tag that images of these inputs have."""
        return self.digest[:_TAG_LENGTH]


def collect_inputs(root: Path, base: str, wheelhouse: Path | None) -> ImageInputs:
    """Return what an image of this checkout is made of; `base` empty for the Dockerfile's own.

    Raises ConfigError where a file is missing, and where a wheelhouse has no wheels.
    """
    files = {name: root / path for name, path in FILES.items()}
    problems = [Problem(FILES[name], 0, 0, "no such file") for name, path in files.items() if not path.is_file()]
    wheels = tuple(sorted(wheelhouse.glob("*.whl"))) if wheelhouse else ()
    if wheelhouse and not wheels:
        hint = "pip download --dest DIR --no-deps --require-hashes -r docker/train.lock"
        problems.append(Problem(str(wheelhouse), 0, 0, "holds no wheels", hint))
    if problems:
        raise ConfigError(problems)
    arguments = {"TORCH": read_torch(root), **({"BASE": base} if base else {})}
    return ImageInputs(files, arguments, wheels)


def read_build_options(environment: Mapping[str, str]) -> tuple[str, Path | None]:
    """Return (base, wheelhouse) as the environment has them, for whoever has no options for them."""
    wheelhouse = environment.get(WHEELHOUSE_VARIABLE)
    return environment.get(BASE_VARIABLE, ""), Path(wheelhouse) if wheelhouse else None


def find_build_options(state_dir: Path, environment: Mapping[str, str]) -> tuple[str, Path | None]:
    """Return (base, wheelhouse): each as the environment has it, else as the last build in this checkout had it.

    Raises ConfigError where the last build's wheelhouse is gone.
    """
    path = state_dir / OPTIONS_FILE
    remembered = read_json(path)
    remembered = remembered if isinstance(remembered, dict) else {}
    given = {name: value for name in (BASE_VARIABLE, WHEELHOUSE_VARIABLE) if (value := environment.get(name))}
    base, wheelhouse = read_build_options({**remembered, **given})
    if wheelhouse and WHEELHOUSE_VARIABLE not in given and not wheelhouse.is_dir():
        hint = f"name another with --wheelhouse, or forget what the last build was asked for: rm {path}"
        raise ConfigError([Problem(str(wheelhouse), 0, 0, "is gone; the last image was built from it", hint)])
    return base, wheelhouse


def remember_build_options(state_dir: Path, base: str, wheelhouse: Path | None) -> None:
    """Let later builds and runs in this checkout use what one was asked for."""
    options = {BASE_VARIABLE: base, WHEELHOUSE_VARIABLE: str(wheelhouse.absolute()) if wheelhouse else ""}
    write_json(state_dir / OPTIONS_FILE, options)


def read_torch(root: Path) -> str:
    """Return the requirement of torch that `docker/train.in` pins. Raises ConfigError where it pins none."""
    path = "docker/train.in"
    try:
        text = (root / path).read_text()
    except FileNotFoundError:
        raise ConfigError([Problem(path, 0, 0, "no such file")]) from None
    match = re.search(r"^torch==\S+$", text, re.MULTILINE)
    if not match:
        raise ConfigError([Problem(path, 0, 0, "pins no torch", "add a line like torch==2.13.0")])
    return match[0]


def lay_out(inputs: ImageInputs, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield (file, where it has to stand below `folder`) for all of a build's context."""
    for name, path in inputs.files.items():
        yield path, folder / name
    for path in inputs.wheels:
        yield path, folder / "wheelhouse" / path.name


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
