"""What experiments that share stages really execute: real runs, with real training of one epoch."""

from collections import Counter
from pathlib import Path

import yaml

from benchmarks.measuring import Figure, run
from tests.checkouts import ROOT, Checkout, make_checkout, with_bins

TITLE = "sharing"
_NUM_EXPERIMENTS = 10


def measure(folder: Path) -> list[Figure]:
    """Return the figures, measured in checkouts made in `folder`."""
    return [
        *_measure_evaluators(_make_checkout(folder / "one_by_one" / "checkout")),
        *_measure_siblings(_make_checkout(folder / "parallel" / "checkout")),
    ]


def _measure_evaluators(checkout: Checkout) -> list[Figure]:
    """Add experiments that change only the evaluation to a common build that is done."""
    run(["force", "run", "common"], checkout.root)
    before, epochs = _count_executions(checkout), _count_epochs(checkout)
    assert (before["prepare"], before["train"], epochs) == (1, 1, 1), (before, epochs)
    source = ROOT / "experiments" / "worst_class"
    texts = {name: (source / name).read_text() for name in ("experiment.yaml", "evaluator.py")}
    checkout.experiment("worst_class", texts["experiment.yaml"], evaluator=texts["evaluator.py"])
    for number in range(1, _NUM_EXPERIMENTS):
        checkout.experiment(f"bins_{number:02}", with_bins(10 + number))
    run(["force", "run"], checkout.root)
    executed = _count_executions(checkout) - before
    evaluated = list(checkout.root.glob("experiments/*/outputs/evaluate/metrics.json"))
    assert len(evaluated) == _NUM_EXPERIMENTS, evaluated
    label = f"{_NUM_EXPERIMENTS} evaluator-only experiments after the common build"
    return [
        Figure(f"{label}: executions of train", executed["train"], target=0),
        Figure(f"{label}: epochs trained", _count_epochs(checkout) - epochs, target=0),
        Figure(f"{label}: executions of prepare", executed["prepare"], target=0),
    ]


def _measure_siblings(checkout: Checkout) -> list[Figure]:
    """Run experiments that each train, several at once, where nothing has run before."""
    for number in range(1, _NUM_EXPERIMENTS + 1):
        _write_experiment(checkout, f"rate_{number:02}", f"train: {{optimizer: {{lr: {number / 10_000}}}}}")
    names = [path.name for path in (checkout.root / "experiments").iterdir()]
    run(["force", "run", "--jobs", "4", *names], checkout.root)
    executed = _count_executions(checkout)
    assert executed["train"] == _NUM_EXPERIMENTS, executed
    label = f"{_NUM_EXPERIMENTS} experiments that train, cold, --jobs 4"
    return [Figure(f"{label}: executions of prepare", executed["prepare"], target=1)]


def _write_experiment(checkout: Checkout, name: str, params: str) -> None:
    checkout.experiment(name, f"description: a param of its own\nparams: {{{params}}}\n")


def _make_checkout(root: Path) -> Checkout:
    """Make a checkout that trains for one epoch."""
    root.mkdir(parents=True)
    checkout = make_checkout(root)
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["train"]["epochs"] = 1
    checkout.write("params.yaml", yaml.safe_dump(params))
    return checkout


def _count_executions(checkout: Checkout) -> Counter[str]:
    """Return how often prepare and train were executed: DVC's run-cache has an entry for each time.

    Equal inputs do not make equal entries: run.json says when a stage ran. Evaluations DVC does not enter.
    """
    entries = (checkout.root / ".dvc" / "cache" / "runs").glob("*/*/*")
    return Counter(yaml.safe_load(path.read_text())["cmd"].rpartition(" ")[2] for path in entries)


def _count_epochs(checkout: Checkout) -> int:
    """Return the epochs in all histories of the checkout."""
    return sum(len(path.read_text().splitlines()) for path in checkout.root.rglob("outputs/**/history.jsonl"))
