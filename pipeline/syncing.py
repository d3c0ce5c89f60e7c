"""Keep the generated files as the experiments imply them: a dvc.yaml each, and the JSON Schema of params.yaml."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pipeline.dvcfiles import HEADER, render_dvc_file
from pipeline.experiments import Experiment, Experiments
from pipeline.ownership import Ownership

PARAMS_SCHEMA = "pipeline/schemas/params.schema.json"


def render_generated(
    experiments: Experiments, selected: Mapping[str, Experiment], ownership: Ownership
) -> dict[str, str]:
    """Return path → text of every generated file of the selected experiments."""
    schema = json.dumps(experiments.params_schema(), indent=2) + "\n"
    texts = {PARAMS_SCHEMA: schema}
    for name in selected:
        stages = ownership.owned(name)
        texts[stages[0].dvc_file] = render_dvc_file(stages)
    return texts


def find_drift(root: Path, texts: Mapping[str, str]) -> list[str]:
    """Return the files that are not as rendered, in order."""
    return sorted(path for path, text in texts.items() if _read(root / path) != text)


def find_orphans(root: Path, names: list[str]) -> list[str]:
    """Return generated dvc.yaml files in folders that are no experiment any more: each can break every dvc command."""
    paths = sorted((root / "experiments").glob("*/dvc.yaml"))
    return [
        path.relative_to(root).as_posix()
        for path in paths
        if path.parent.name not in names and (_read(path) or "").startswith(HEADER)
    ]


def write_files(root: Path, texts: Mapping[str, str], paths: list[str]) -> None:
    """Write these of the files, each of them whole or not at all."""
    for path in paths:
        temporary = root / f"{path}.partial"
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(texts[path])
        os.replace(temporary, root / path)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
