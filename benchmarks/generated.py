"""Make a checkout with many experiments whose results are all recorded, as if every stage had run."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import yaml

from pipeline.dvccache import hash_out
from pipeline.ownership import Stage, lock_file_of
from pipeline.project import Project
from pipeline.syncing import find_drift, render_generated, write_files

ROOT = Path(__file__).parent.parent

_FILES = {
    "experiment.yaml": """\
# yaml-language-server: $schema=../../pipeline/schemas/experiment.schema.json
inherits: common
description: variant {number} of the network and its loss
owner: benchmarks
params:
  model: {{channels: {channels}}}
  train: {{optimizer: {{lr: {rate}}}}}
""",
    "layers.py": '''\
"""Layers of variant {number}."""

from torch import Tensor, nn


class Scale(nn.Module):
    """Multiplies by {number}."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the product."""
        return inputs * {number}
''',
    "model.py": '''\
"""The network of variant {number}."""

from torch import nn

from common.model import ConvNet
from experiments.{name}.layers import Scale


class Variant(ConvNet):
    """Scales after each block."""

    def block(self, num_in: int, num_out: int) -> list[nn.Module]:
        """Return the layers of one block."""
        return [*super().block(num_in, num_out), Scale()]
''',
    "losses.py": '''\
"""Losses of variant {number}."""

from torch import Tensor
from torch.nn import functional


def scaled_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross entropy, scaled."""
    return functional.cross_entropy(logits, targets) * {number}
''',
    "trainer.py": '''\
"""The trainer of variant {number}."""

from torch import Tensor

from common.trainer import Trainer
from experiments.{name}.losses import scaled_cross_entropy


class VariantTrainer(Trainer):
    """Trains with a scaled loss."""

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        return scaled_cross_entropy(logits, targets)
''',
}

_HASH = "0" * 64
_CERTIFICATE = {
    "version": 2,
    "test": {"num_samples": 381, "ids_sha256": _HASH, "targets_sha256": _HASH, "inputs_sha256": _HASH},
    "procedure": {"class": "common.evaluator.Evaluator", "is_replaced": False, "sha256": _HASH},
    "params": {},
    "dtype": "float32",
    "seed": 0,
    "metrics": {
        "accuracy": {"direction": "max", "unit": "fraction", "definition": "TopOne()", "definition_sha256": _HASH}
    },
}


def generate(folder: Path, num_experiments: int) -> Path:
    """Make the checkout in a new folder and return it: five files an experiment, a dvc.lock each, all outs in place."""
    for name in ("common", ".dvc"):
        ignored = shutil.ignore_patterns("outputs", "__pycache__", "tmp", "cache")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    for number in range(1, num_experiments + 1):
        _write_experiment(folder, f"variant_{number:04}", number)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    project = Project(folder)
    selected = project.select(())
    ownership = project.ownership(selected)
    texts = render_generated(project.experiments, selected, ownership)
    write_files(folder, texts, find_drift(folder, texts))
    for name in selected:
        record_stages(project, name, ownership.owned(name))
    return folder


def _write_experiment(folder: Path, name: str, number: int) -> None:
    target = folder / "experiments" / name
    target.mkdir(parents=True)
    for file, text in _FILES.items():
        values = {"name": name, "number": number, "channels": 32 + number, "rate": 0.001 + number / 1e6}
        (target / file).write_text(text.format(**values))


def record_stages(project: Project, name: str, stages: list[Stage]) -> None:
    """Write small outs, and a dvc.lock that says the stages made them from the present inputs."""
    entries = {}
    for stage in stages:
        for out in stage.kind.outs:
            _write_out(project.root / stage.folder / out.path, name)
            project.index.forget(f"{stage.folder}/{out.path}")
            if not out.in_git:
                store_out(project, f"{stage.folder}/{out.path}")
        deps = [
            {"path": stage.relative(path), "hash": "md5", "md5": hash_out(project.root, path, project.index)}
            for path in sorted([*stage.files, *stage.data, *stage.products], key=stage.relative)
        ]
        outs = [
            {"path": out.path, "hash": "md5", **_describe(project, f"{stage.folder}/{out.path}")}
            for out in sorted(stage.kind.outs, key=lambda out: out.path)
        ]
        params = {stage.relative(file): dict(sorted(keys.items())) for file, keys in stage.params.items()}
        entries[stage.name] = {"cmd": stage.kind.cmd, "deps": deps, "params": params, "outs": outs}
    text = yaml.safe_dump({"schema": "2.0", "stages": entries}, sort_keys=False)
    (project.root / lock_file_of(name)).write_text(text)


def _write_out(path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix:
        digest = hashlib.sha256(name.encode()).hexdigest()
        documents = {
            "metrics.json": {"accuracy": int(digest[:8], 16) / 2**32},
            "certificate.json": _CERTIFICATE,
        }
        path.write_text(json.dumps(documents.get(path.name, {path.name: digest})) + "\n")
        return
    path.mkdir()
    for file in ("metadata.json", "weights.safetensors"):
        (path / file).write_text(f"{name} {file} {path}\n")


def store_out(project: Project, path: str) -> None:
    """Put an out into the DVC cache, as DVC would: the files, and for a folder the list of them."""
    folder = project.root / path
    files = sorted(folder.iterdir()) if folder.is_dir() else [folder]
    entries = []
    for file in files:
        md5 = project.index.md5(file.relative_to(project.root).as_posix())
        assert md5
        entries.append({"md5": md5, "relpath": file.name})
        target = project.cache.object_path(md5)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    if folder.is_dir():
        md5 = hash_out(project.root, path, project.index)
        assert md5
        target = project.cache.object_path(md5)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(entries, sort_keys=True))


def _describe(project: Project, path: str) -> dict[str, object]:
    folder = project.root / path
    files = [file for file in folder.rglob("*") if file.is_file()] if folder.is_dir() else [folder]
    size = sum(file.stat().st_size for file in files)
    nfiles = {"nfiles": len(files)} if folder.is_dir() else {}
    return {"md5": hash_out(project.root, path, project.index), "size": size, **nfiles}
