"""Say which stages a range of changes affects, by the same deps and params as DVC's, and why."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.documents import parse_yaml
from pipeline.dvcfiles import render_dvc_file
from pipeline.errors import ConfigError
from pipeline.experiments import Experiment
from pipeline.ownership import STAGES, Ownership, Stage
from pipeline.params import flatten


@dataclass(frozen=True)
class Change:
    """A stage, as one experiment uses it, that changes affect; `stage` is empty for an experiment that is gone."""

    experiment: str
    stage: str
    owner: str
    reasons: tuple[str, ...]


def find_changes(
    experiments: Mapping[str, Experiment],
    ownership: Ownership,
    changed: set[str],
    before: Mapping[str, bytes],
    files_before: list[str],
    root: Path,
) -> list[Change]:
    """Return what is affected, in the order of `experiments`, then what is gone.

    `changed` are the paths that differ, `before` the earlier contents of the YAML files among them, `files_before`
    all earlier files of `experiments/`.
    """
    finder = _Finder(ownership, changed, before, root)
    changes = []
    for name in experiments:
        for stage_name in STAGES:
            stage = ownership.effective(name, stage_name)
            if reasons := finder.reasons(stage):
                changes.append(Change(name, stage_name, stage.experiment, reasons))
    earlier = {path.split("/")[1] for path in files_before if path.endswith("/experiment.yaml")}
    gone = {name for name in earlier if f"experiments/{name}/experiment.yaml" in changed} - set(experiments)
    gone = {name for name in gone if not (root / "experiments" / name / "experiment.yaml").exists()}
    return [*changes, *(Change(name, "", "", ("deleted",)) for name in sorted(gone))]


class _Finder:
    def __init__(self, ownership: Ownership, changed: set[str], before: Mapping[str, bytes], root: Path) -> None:
        self._ownership = ownership
        self._changed = changed
        self._before = before
        self._root = root
        self._reasons: dict[tuple[str, str], tuple[str, ...]] = {}
        self._params: dict[str, dict[str, Any]] = {}

    def reasons(self, stage: Stage) -> tuple[str, ...]:
        if stage.id not in self._reasons:
            found = self._compare_definition(stage)
            found += [f"{path} changed" for path in stage.files if path in self._changed]
            found += [f"{path} changed" for path in stage.data if self._has_changed(path)]
            found += self._compare_params(stage)
            for need in stage.needs:
                if self.reasons(self._ownership.stage(*need)):
                    found.append(f"{stage.call(need)} is affected")
            self._reasons[stage.id] = tuple(dict.fromkeys(found))
        return self._reasons[stage.id]

    def _has_changed(self, data: str) -> bool:
        """Say whether a file or folder of data did, or the .dvc file that tracks it."""
        return any(path in (data, f"{data}.dvc") or path.startswith(f"{data}/") for path in self._changed)

    def _compare_definition(self, stage: Stage) -> list[str]:
        """Compare the stage with what the dvc.yaml of the earlier revision says of it."""
        if stage.dvc_file in self._changed:
            text = self._before.get(stage.dvc_file)
        else:
            path = self._root / stage.dvc_file
            text = path.read_bytes() if path.exists() else None
        if text is None:
            return ["is new"]
        if text.decode() == render_dvc_file(self._ownership.owned(stage.experiment)):
            return []
        try:
            earlier = parse_yaml(text, stage.dvc_file)["stages"].get(stage.name)
        except (ConfigError, KeyError, TypeError, AttributeError):
            return [f"{stage.dvc_file} could not be read before"]
        if earlier is None:
            return ["is new"]
        now = {*stage.files, *stage.data, *stage.products}
        deps = {stage.absolute(path) for path in earlier.get("deps", [])}
        found = [f"{path} is a new dependency" for path in sorted(now - deps)]
        found += [f"{path} is no dependency any more" for path in sorted(deps - now)]
        keys = {(file, key) for file, keys in stage.params.items() for key in keys}
        before = {
            (stage.absolute(file), key)
            for group in earlier.get("params", [])
            for file, keys in group.items()
            for key in keys
        }
        moved = {key.removeprefix("params.") for file, key in keys - before if file in self._changed}
        gone = [(file, key.removeprefix("params.")) for file, key in sorted(before - keys)]
        return found + [f"{name} is no longer read from {file}" for file, name in gone if name not in moved]

    def _compare_params(self, stage: Stage) -> Iterator[str]:
        for file, keys in stage.params.items():
            if file not in self._changed:
                continue
            earlier = self._read_params(file)
            for key, value in keys.items():
                name = key.removeprefix("params.")
                if key not in earlier:
                    yield f"{name} is set to {value} in {file}"
                elif earlier[key] != value:
                    yield f"{name}: {earlier[key]} → {value}"

    def _read_params(self, file: str) -> dict[str, Any]:
        if file not in self._params:
            try:
                document = parse_yaml(self._before.get(file, b""), file)
            except ConfigError:
                document = None
            self._params[file] = dict(flatten(document)) if isinstance(document, dict) else {}
        return self._params[file]
