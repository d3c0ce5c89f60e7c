"""The command that installs something into this environment, which may have no pip of its own."""

import importlib.util
import os
import shlex
import sys


def suggest_install(*requirements: str) -> str:
    """Return a command to paste anywhere; an environment without pip is filled by that of the Python that it is of."""
    if importlib.util.find_spec("pip"):
        return shlex.join(["pip", "install", *requirements])
    ours, base = (os.path.join(prefix, "bin", "python3") for prefix in (sys.prefix, sys.base_prefix))
    return shlex.join([base, "-m", "pip", "--python", ours, "install", *requirements])
