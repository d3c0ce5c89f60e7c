"""Download artifacts of this run: what `actions/download-artifact` does, for act."""

import fnmatch
import os
import re
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from artifacts import (
    ActionError,
    Artifact,
    ArtifactServer,
    announce,
    read_choice,
    read_flag,
    read_input,
    run,
    write_output,
)


def download() -> None:
    """Read the inputs, choose artifacts and unzip them."""
    if read_input("github-token"):
        raise ActionError("'github-token' is not possible under act: artifacts of other runs cannot be had")
    if read_flag("skip-decompress"):
        raise ActionError("'skip-decompress' is not possible under act")
    choice = read_choice("digest-mismatch", ("ignore", "info", "warn", "error"))
    merge = read_flag("merge-multiple")
    target = Path(os.path.expanduser(read_input("path") or os.environ["GITHUB_WORKSPACE"])).resolve()
    server = ArtifactServer()
    artifacts = choose(server.list_artifacts(), read_input("name"), read_input("artifact-ids"), read_input("pattern"))
    for artifact in artifacts:
        # One artifact alone has no folder of its own, however it was chosen: so it is since version 5.
        folder = target if merge or len(artifacts) == 1 else target / artifact.name
        _fetch(server, artifact, folder, choice)
        print(f"downloaded artifact '{artifact.name}' (number {artifact.number}) into {folder}")
    print(f"{len(artifacts)} artifacts downloaded")
    write_output("download-path", target)


def choose(artifacts: list[Artifact], name: str, numbers: str, pattern: str) -> list[Artifact]:
    """Return the artifacts that the inputs name. Raises ActionError where a named one is not there."""
    if name and numbers:
        raise ActionError("'name' and 'artifact-ids' exclude each other")
    if name:
        found = [artifact for artifact in artifacts if artifact.name == name]
        if not found:
            raise ActionError(f"there is no artifact '{name}'; found {_list_names(artifacts)}")
        return found
    if numbers:
        return _choose_numbers(artifacts, numbers)
    return [artifact for artifact in artifacts if not pattern or is_match(pattern, artifact.name)]


def is_match(pattern: str, name: str) -> bool:
    """Say whether a name matches a pattern: wildcards, sets, alternatives in braces, `!` before all of it.

    >>> [is_match(pattern, "result-a") for pattern in ("result-*", "result-{a,b}", "!result-*", "result-[!b]", "*-b")]
    [True, True, False, True, False]
    """
    if re.search(r"[@+?*!]\(", pattern):
        raise ActionError(f"the pattern '{pattern}' has alternatives in round brackets, which only GitHub knows")
    bare = pattern.lstrip("!")
    is_found = any(
        fnmatch.fnmatchcase(name, one.replace("[^", "[!")) and (not name.startswith(".") or one.startswith("."))
        for one in _expand(bare)
    )
    return is_found != ((len(pattern) - len(bare)) % 2 == 1)


def unzip(source: Path, folder: Path) -> None:
    """Unzip into a folder. Raises ActionError before anything is written where an entry would land outside of it."""
    try:
        with zipfile.ZipFile(source) as archive:
            for entry in archive.namelist():
                path = PurePosixPath(entry.replace("\\", "/"))
                if path.is_absolute() or ".." in path.parts:
                    raise ActionError(f"the artifact holds '{entry}', which would be written outside of its folder")
            folder.mkdir(parents=True, exist_ok=True)
            archive.extractall(folder)
    except zipfile.BadZipFile as error:
        raise ActionError(f"the artifact is damaged: {error}") from None


def _fetch(server: ArtifactServer, artifact: Artifact, folder: Path, choice: str) -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("RUNNER_TEMP")) as temporary:
        path = Path(temporary) / "artifact.zip"
        digest = server.download(artifact.name, path)
        expected = artifact.digest.removeprefix("sha256:")
        if expected and expected != digest:
            _report_mismatch(f"artifact '{artifact.name}' is not as it was uploaded: its SHA-256 is {digest}", choice)
        unzip(path, folder)


def _report_mismatch(message: str, choice: str) -> None:
    if choice == "error":
        raise ActionError(message)
    if choice == "warn":
        announce("warning", message)
    elif choice == "info":
        print(message)


def _choose_numbers(artifacts: list[Artifact], numbers: str) -> list[Artifact]:
    wanted = [number.strip() for number in numbers.split(",") if number.strip()]
    for number in wanted:
        if not number.isdecimal():
            raise ActionError(f"'artifact-ids' holds '{number}'; wanted numbers")
    found = [artifact for artifact in artifacts if str(artifact.number) in wanted]
    missing = sorted(set(wanted) - {str(artifact.number) for artifact in found})
    if not found:
        raise ActionError(f"there is no artifact with the number {', '.join(wanted) or '(none given)'}")
    if missing:
        announce("warning", f"there is no artifact with the number {', '.join(missing)}")
    return found


def _expand(pattern: str) -> list[str]:
    """Return the patterns that alternatives in braces stand for."""
    braces = re.search(r"\{([^{}]*,[^{}]*)\}", pattern)
    if not braces:
        return [pattern]
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [one for part in braces[1].split(",") for one in _expand(before + part + after)]


def _list_names(artifacts: list[Artifact]) -> str:
    return ", ".join(f"'{artifact.name}'" for artifact in artifacts) or "none"


if __name__ == "__main__":
    run(download)
