"""The command that installs something into this environment, which may have no pip of its own."""

import importlib.util
import os
import shlex
import sys


def suggest_install(*requirements: str) -> str:
    """Return a command to paste; an environment that `make` made is filled by the pip of the Python that it is of."""
    if importlib.util.find_spec("pip"):
        return shlex.join(["pip", "install", *requirements])
    python = os.path.join(sys.prefix, "bin", "python")
    inside = os.path.relpath(python)
    return shlex.join(["python3", "-m", "pip", "--python", min(inside, python, key=len), "install", *requirements])
