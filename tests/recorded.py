"""Checkouts whose results are recorded, as if every stage had run, and the documents that stages leave."""

import json
from typing import Any

import yaml

from benchmarks.generated import record_stages, store_out
from pipeline.components import KINDS
from pipeline.dvccache import run_key
from pipeline.ownership import Ownership, Stage, lock_file_of
from pipeline.planning import PlannedStage
from pipeline.project import Project
from pipeline.syncing import find_drift, render_generated, write_files
from tests.checkouts import Checkout

METRICS = {"accuracy": 0.9, "cross_entropy": 0.5}


def override(kind: str, name: str = "Other", imports: str = "") -> str:
    """Return the source of a subclass of a component's default class, with an import line of the test's."""
    default = KINDS[kind].default
    return f"from common.{kind} import {default}\n{imports}\n\nclass {name}({default}):\n    pass\n"


def resolve(checkout: Checkout) -> tuple[Project, Ownership]:
    """Return the project as its files are now, and who owns what in it."""
    project = checkout.project()
    return project, project.ownership(project.select(()))


def sync(checkout: Checkout) -> None:
    """Write the generated files."""
    project, ownership = resolve(checkout)
    texts = render_generated(project.experiments, project.select(()), ownership)
    write_files(project.root, texts, find_drift(project.root, texts))


def record(checkout: Checkout) -> None:
    """Sync, and record a small result of all that has no dvc.lock yet, each experiment after what it needs."""
    sync(checkout)
    project, ownership = resolve(checkout)
    experiments = project.select(())
    for name in sorted(experiments, key=lambda name: len(project.experiments.reach(name))):
        if not (checkout.root / lock_file_of(name)).exists():
            record_stages(project, name, ownership.owned(name))


def record_run(checkout: Checkout, experiment: str, stage_name: str) -> None:
    """Enter the recorded result of a stage into the run-cache, as DVC does after running it."""
    project, ownership = resolve(checkout)
    stage = ownership.stage(experiment, stage_name)
    entry = read_lock(checkout, experiment)[stage_name]
    for out in stage.kind.outs:
        store_out(project, f"{stage.folder}/{out.path}")
    deps = {dep["path"]: dep["md5"] for dep in entry["deps"]}
    key = run_key(entry["cmd"], deps, entry["params"], [out["path"] for out in entry["outs"]])
    folder = project.cache.folder / "runs" / key[:2] / key
    folder.mkdir(parents=True)
    (folder / ("0" * 64)).write_text(yaml.safe_dump(entry))


def plan(checkout: Checkout, name: str) -> dict[str, PlannedStage]:
    """Return what would happen to each stage that an experiment uses."""
    project = checkout.project()
    planner = project.planner(project.ownership(project.select((name,))))
    return {use.planned.stage.name: use.planned for use in planner.plan_experiments([name])}


def stage_of(checkout: Checkout, experiment: str, stage: str) -> Stage:
    """Return the stage that an experiment uses, owned or inherited."""
    return resolve(checkout)[1].effective(experiment, stage)


def read_lock(checkout: Checkout, experiment: str) -> dict[str, Any]:
    """Return the stages of a dvc.lock as DVC wrote them."""
    stages: dict[str, Any] = yaml.safe_load((checkout.root / lock_file_of(experiment)).read_text())["stages"]
    return stages


def write_lock(checkout: Checkout, experiment: str, stages: dict[str, Any]) -> None:
    """Write a dvc.lock that records these stages."""
    text = yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False)
    (checkout.root / lock_file_of(experiment)).write_text(text)


def make_certificate(**changes: Any) -> dict[str, Any]:
    """Return a sound certificate of `METRICS`; `changes` replace its fields."""
    metric = {"direction": "max", "unit": "fraction", "definition": "TopOne()", "definition_sha256": "d" * 64}
    loss = {**metric, "direction": "min", "unit": "nats", "definition": "common.evaluator.cross_entropy"}
    return {
        "version": 2,
        "test": {
            "num_samples": 381,
            "ids_sha256": "1" * 64,
            "targets_sha256": "2" * 64,
            "inputs_sha256": "3" * 64,
        },
        "procedure": {"class": "common.evaluator.Evaluator", "is_replaced": False, "sha256": "4" * 64},
        "params": {"num_crops": 1},
        "dtype": "float32",
        "seed": 0,
        "metrics": {"accuracy": metric, "cross_entropy": loss},
        **changes,
    }


def write_result(checkout: Checkout, folder: str, metrics: dict[str, float], /, **changes: Any) -> None:
    """Write metrics and certificate as the stage `evaluate` leaves them in an experiment's folder."""
    documents = {"metrics": metrics, "certificate": make_certificate(**changes)}
    for name, document in documents.items():
        checkout.write(f"{folder}/outputs/evaluate/{name}.json", json.dumps(document))
