"""What each job of a push hands to those after it: how it ended, and the small files that git keeps of its results.

A folder an entry of the matrix: `status.json`, and below `files/` the results under their paths in the repository.
"""

import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipeline.ownership import dvc_file_of, folder_of, lock_file_of
from pipeline.validation import find_faults
from pipeline.workspace import read_json, write_json

FILE_NAME = "status.json"
VERSION = 1


@dataclass(frozen=True)
class Status:
    """How a job ended."""

    entry: str
    wave: int
    targets: tuple[str, ...]
    status: str  # ok, failed, skipped, interrupted
    commit: str
    message: str = ""
    hint: str = ""
    stages: dict[str, str] = field(default_factory=dict)  # experiment:stage → how it ended
    log: str = ""  # the last lines of what failed
    version: int = VERSION

    @property
    def is_ok(self) -> bool:
        """Say whether everything is there."""
        return self.status == "ok"

    @property
    def failed_stages(self) -> list[str]:
        """What is missing of its stages, as experiment:stage; all that it was to do where it did not get to run."""
        states = {stage for stage, state in self.stages.items() if state in ("failed", "interrupted", "skipped")}
        return [] if self.is_ok else [*states] or list(self.targets)

    @property
    def bystanders(self) -> list[str]:
        """Experiments of which it ran stages that were not its own to run: their results could not be had."""
        done = [stage.partition(":")[0] for stage, state in self.stages.items() if state == "done"]
        return [name for name in dict.fromkeys(done) if name not in self.experiments]

    @property
    def experiments(self) -> list[str]:
        """The experiments that this job was to bring up to date, in whole or in part."""
        return list(dict.fromkeys(target.partition(":")[0] for target in self.targets))


def list_result_files(experiment: str) -> list[str]:
    """Return the paths of the files that git keeps of an experiment's results, there or not."""
    folder = folder_of(experiment)
    names = ("evaluate/metrics.json", "evaluate/certificate.json", "evaluate/seeds.json", "costs.json")
    return [dvc_file_of(experiment), lock_file_of(experiment), *(f"{folder}/outputs/{name}" for name in names)]


def write_status(status: Status, root: Path, folder: Path) -> None:
    """Write a job's status and the results of its experiments into a new `folder`."""
    for experiment in [*status.experiments, *status.bystanders]:
        for path in list_result_files(experiment):
            if (root / path).is_file():
                target = folder / "files" / path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / path, target)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE_NAME, {**asdict(status), "targets": list(status.targets)})


def read_statuses(folder: Path) -> list[tuple[Status, Path]]:
    """Return each job's status with the folder of its files, in the order of waves.

    One that is not as we write it counts as that of a job which failed and left nothing: the others' results stay.
    """
    found = [(_read_status(path), path.parent / "files") for path in folder.glob(f"*/{FILE_NAME}")]
    return sorted(found, key=lambda pair: (pair[0].wave, pair[0].entry))


def _read_status(path: Path) -> Status:
    document = read_json(path)
    if faults := find_faults("status", document):
        return Status(path.parent.name, 0, (), "failed", "", f"left no sound {FILE_NAME}: {faults[0]}")
    return Status(**{**document, "targets": tuple(document["targets"])})


def collect_files(statuses: Iterable[tuple[Status, Path]]) -> dict[str, Path]:
    """Return repository path → file of all results; of several that of the job whose it was, in the latest wave.

    Only files that results consist of count: a job cannot bring others.
    """
    pairs = list(statuses)
    order = [(folder, status.bystanders) for status, folder in pairs]
    order += [(folder, status.experiments) for status, folder in pairs]
    files: dict[str, Path] = {}
    for folder, experiments in order:
        for experiment in experiments:
            for path in list_result_files(experiment):
                if (folder / path).is_file():
                    files[path] = folder / path
    return files


def lay_over(root: Path, files: dict[str, Path]) -> None:
    """Write results into a checkout."""
    for path, source in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, root / path)
