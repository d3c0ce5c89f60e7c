"""What experiments that share stages really execute: real runs, with real training of one epoch."""

import json
from collections import Counter
from pathlib import Path

import yaml

from benchmarks.measuring import Figure, run
from tests.checkouts import ROOT, Checkout, make_checkout

TITLE = "sharing"
_NUM_SIBLINGS = 10


def measure(folder: Path) -> list[Figure]:
    """Return the figures, measured in checkouts made in `folder`."""
    return [
        *_measure_evaluator(_make_checkout(folder / "evaluator" / "checkout")),
        *_measure_siblings(_make_checkout(folder / "siblings" / "checkout"), jobs=1),
        *_measure_siblings(_make_checkout(folder / "parallel" / "checkout"), jobs=4),
    ]


def _measure_evaluator(checkout: Checkout) -> list[Figure]:
    """Add an experiment that overrides only the evaluator to a common build that is done."""
    run(["force", "run", "common"], checkout.root)
    before, epochs = _count_executions(checkout), _count_epochs(checkout)
    assert (before["train"], epochs) == (1, 1), (before, epochs)
    source = ROOT / "experiments" / "worst_class"
    texts = {name: (source / name).read_text() for name in ("experiment.yaml", "evaluator.py")}
    checkout.experiment("worst_class", texts["experiment.yaml"], evaluator=texts["evaluator.py"])
    run(["force", "run", "worst_class"], checkout.root)
    executed = _count_executions(checkout) - before
    metrics = json.loads((checkout.root / "experiments/worst_class/outputs/evaluate/metrics.json").read_text())
    assert "worst_class_recall" in metrics
    return [
        Figure("evaluator-only experiment: executions of train", executed["train"], target=0),
        Figure("evaluator-only experiment: epochs trained", _count_epochs(checkout) - epochs, target=0),
        Figure("evaluator-only experiment: executions of prepare", executed["prepare"], target=0),
    ]


def _measure_siblings(checkout: Checkout, jobs: int) -> list[Figure]:
    """Run experiments that differ in what they train from a cold start."""
    names = [f"sibling_{number:02}" for number in range(_NUM_SIBLINGS)]
    for number, name in enumerate(names, start=1):
        checkout.experiment(
            name, f"description: a rate of its own\nparams: {{train: {{learning_rate: {number / 10_000}}}}}\n"
        )
    for chunk in [names] if jobs > 1 else [names[:5], names[5:]]:  # each call stays well below its time limit
        run(["force", "run", "--jobs", str(jobs), *chunk], checkout.root)
    executed = _count_executions(checkout)
    assert executed["train"] == _NUM_SIBLINGS, executed
    label = f"{_NUM_SIBLINGS} experiments, --jobs {jobs}"
    return [Figure(f"{label}: executions of prepare", executed["prepare"], target=1)]


def _make_checkout(root: Path) -> Checkout:
    """Make a checkout that trains for one epoch."""
    root.mkdir(parents=True)
    checkout = make_checkout(root)
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["train"]["epochs"] = 1
    checkout.write("params.yaml", yaml.safe_dump(params))
    return checkout


def _count_executions(checkout: Checkout) -> Counter[str]:
    """Return how often each stage was executed: DVC's run-cache has an entry for each, told apart by its run.json."""
    entries = (checkout.root / ".dvc" / "cache" / "runs").glob("*/*/*")
    return Counter(yaml.safe_load(path.read_text())["cmd"].rpartition(" ")[2] for path in entries)


def _count_epochs(checkout: Checkout) -> int:
    """Return the epochs in all histories of the checkout."""
    return sum(len(path.read_text().splitlines()) for path in checkout.root.rglob("outputs/**/history.jsonl"))
