"""Find files that something else names, inside one folder and nowhere else."""

from pathlib import Path, PurePosixPath


def find_inside(folder: Path, name: str) -> Path:
    """Return the regular file of `folder` that a name from an untrusted file means.

    Raises ValueError for a name that leads out of the folder, also by a link, and where there is no such file.
    """
    pure = PurePosixPath(name)
    parts = pure.parts or ("..",)  # "." is the folder itself
    if not name or "\\" in name or "\0" in name or pure.is_absolute() or ".." in parts or ":" in parts[0]:
        raise ValueError(f"it names '{name}', which is no file of its folder")
    path = folder / pure
    check_inside(folder, path)
    if not path.is_file():
        raise ValueError(f"it names '{name}', and there is no such file beside it")
    return path


def list_inside(folder: Path) -> list[Path]:
    """Return all files below a folder, in order of names. Raises ValueError where a link leaves it."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            check_inside(folder, path)
        if path.is_file():
            found.append(path)
    return found


def check_inside(folder: Path, path: Path) -> None:
    """Check that a path of a folder stays in it when links are followed. Raises ValueError."""
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # links in a circle
        raise ValueError(f"'{path.name}' cannot be followed") from error
    if not inside:
        raise ValueError(f"'{path.name}' is a link out of its folder")
