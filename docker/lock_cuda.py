"""Print docker/cuda.lock: torch's wheel for CUDA and what it alone needs, hashed, for each Python that a base may have.

pip-compile would fetch gigabytes to read what these wheels need; pip reads it from their last bytes.

    python docker/lock_cuda.py torch==2.13.0 docker/train.lock > docker/cuda.lock
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64") + tuple(
    f"manylinux_2_{minor}_x86_64" for minor in range(5, 29)
)


def main(requirement: str, other_lock: str) -> None:
    """Print the lock of a requirement, without what another lock has."""
    known = set(re.findall(r"^([\w.-]+)==", Path(other_lock).read_text(), re.MULTILINE))
    hashes: dict[str, set[str]] = {}
    for version in PYTHONS:
        for item in resolve(requirement, version):
            name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
            if name not in known:
                digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
                hashes.setdefault(f"{name}=={item['metadata']['version']}", set()).add(digest)
    for pinned, digests in sorted(hashes.items()):
        print(" \\\n".join([pinned, *(f"    --hash=sha256:{digest}" for digest in sorted(digests))]))


def resolve(requirement: str, version: str) -> list[dict[str, Any]]:
    """Return what pip would install for a version of Python on Linux, from the index alone."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"),
            *("--use-feature=fast-deps", "--only-binary=:all:", "--target", folder, "--python-version", version),
            *(f"--platform={platform}" for platform in PLATFORMS),
            *("--report", str(report), requirement),
        ]
        # A machine may have settings that give it torch for its CPU.
        settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_CONSTRAINT": ""}
        subprocess.run(command, env={**os.environ, **settings}, check=True)
        installed: list[dict[str, Any]] = json.loads(report.read_text())["install"]
        return installed


if __name__ == "__main__":
    main(*sys.argv[1:])
