"""Upload files as an artifact: what `actions/upload-artifact` does, for act."""

import hashlib
import os
import tempfile
import zipfile
from pathlib import Path

from artifacts import (
    FORBIDDEN_IN_NAMES,
    FORBIDDEN_IN_PATHS,
    ActionError,
    ArtifactServer,
    announce,
    read_choice,
    read_flag,
    read_input,
    run,
    write_output,
)
from search import find_files


def upload() -> None:
    """Read the inputs, pack what they name, upload it and compare what the server has with what was sent."""
    name, level = read_input("name"), _read_level()
    _check_name(name)
    overwrite, include_hidden = read_flag("overwrite"), read_flag("include-hidden-files")
    files, root = find_files(read_input("path"), include_hidden)
    if not _check_found(files):
        return
    server = ArtifactServer()
    if overwrite:
        server.delete(name)
    elif name in [artifact.name for artifact in server.list_artifacts()]:
        raise ActionError(f"an artifact with the name '{name}' exists in this run already; wanted overwrite: true?")
    with tempfile.TemporaryDirectory(dir=os.environ.get("RUNNER_TEMP")) as folder:
        packed, returned = Path(folder) / "packed.zip", Path(folder) / "returned.zip"
        digest = pack(files, root, packed, level)
        number = server.upload(name, packed, digest)
        if server.download(name, returned) != digest:
            raise ActionError(f"what the server has of artifact '{name}' is not what was sent")
        print(f"uploaded {len(files)} files as artifact '{name}': {packed.stat().st_size} bytes, number {number}")
    write_output("artifact-id", number)
    write_output("artifact-digest", digest)


def pack(files: list[str], root: str, target: Path, level: int) -> str:
    """Zip files, without their permissions and times, and return the zip's SHA-256."""
    method = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    with zipfile.ZipFile(target, "w", method, compresslevel=level) as archive:
        for file in files:
            entry = zipfile.ZipInfo(os.path.relpath(file, root))
            _check_path(entry.filename)
            entry.external_attr = 0o644 << 16
            entry.compress_type = method
            with open(file, "rb") as source, archive.open(entry, "w", force_zip64=True) as stream:
                while data := source.read(1 << 20):
                    stream.write(data)
    with target.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_found(files: list[str]) -> bool:
    """Say whether there is anything to upload; warn or fail where not, as asked."""
    choice = read_choice("if-no-files-found", ("warn", "error", "ignore"))
    if files:
        return True
    message = f"nothing was found to upload at: {', '.join(read_input('path').splitlines())}"
    if choice == "error":
        raise ActionError(message)
    if choice == "warn":
        announce("warning", message)
    else:
        print(message)
    return False


def _read_level() -> int:
    """Return the compression's level; check what else must be a number, and what must be as it is."""
    days, level = read_input("retention-days"), read_input("compression-level") or "6"
    if days and not days.isdecimal():
        raise ActionError(f"'retention-days' is '{days}'; wanted a number")
    if level not in list("0123456789"):
        raise ActionError(f"'compression-level' is '{level}'; wanted 0 to 9")
    if not read_flag("archive"):
        raise ActionError("'archive: false' is not possible under act: its server keeps zips only")
    return int(level)


def _check_name(name: str) -> None:
    found = [character for character in FORBIDDEN_IN_NAMES if character in name]
    if found or not name:
        raise ActionError(f"the artifact's name {name!r} is not valid" + (f": it holds {found[0]!r}" if found else ""))


def _check_path(path: str) -> None:
    found = [character for character in FORBIDDEN_IN_PATHS if character in path]
    if found:
        raise ActionError(f"the file {path!r} cannot be uploaded: its path holds {found[0]!r}")


if __name__ == "__main__":
    run(upload)
