"""How long `force report` takes over a thousand experiments, beside `dvc metrics diff`, and what memory; its pages."""

import json
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import save_file
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from benchmarks.generated import generate
from benchmarks.measuring import Figure, find_program, run, time_once, time_side_by_side
from pipeline.commands.ci_report import BranchReporter
from pipeline.comments import MAX_TEXT_BYTES
from pipeline.index import FileIndex
from pipeline.outs import CONFUSION, HISTORY, PREDICTIONS
from pipeline.project import Project
from pipeline.reports.branch import render_branch
from pipeline.statuses import Status

TITLE = "reporting"
_NUM = 1000  # experiments
_NUM_OF_DVC = 100  # `dvc metrics diff` of a thousand takes minutes
_NUM_SAMPLES = 381
_NUM_EPOCHS = 50
_REPORT = ["force", "report", "--json"]
# A process counts the memory of the one that it is started as a copy of, so that one has to be small.
_MEASURE = """\
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""
_SORT = """\
const started = performance.now();
document.querySelectorAll("#experiments thead button")[2].click();
document.body.offsetHeight;
return performance.now() - started;
"""
_DEFINITIONS = {
    "accuracy": {"direction": "max", "unit": "fraction", "definition": 'MulticlassAccuracy(average="micro")'},
    "cross_entropy": {"direction": "min", "unit": "nats", "definition": "common.evaluator.cross_entropy"},
}


def measure(folder: Path) -> list[Figure]:
    """Return the figures, measured in a checkout made in `folder`."""
    few, many = (_make_checkout(folder / f"checkout_{size}", size) for size in (_NUM_OF_DVC, _NUM))
    peak_mib, text = _run_measured(_REPORT, many)
    findings = json.loads(text)["findings"]
    verdicts = [finding["verdict"] for finding in findings if finding["baseline"]]
    assert len(verdicts) == 2 * _NUM, len(verdicts)
    assert set(verdicts) <= {"better", "worse", "equivalent", "inconclusive"}, set(verdicts)
    seconds = time_side_by_side(
        {
            "many": lambda: time_once(_REPORT, many),
            "few": lambda: time_once(_REPORT, few),
            "dvc": lambda: time_once(["dvc", "metrics", "diff", "--json"], few),
        },
        repeats=3,
    )
    return [
        Figure("report on 1,000 experiments, two intervals each", seconds["many"], "s", 3.0),
        Figure("report on 100 experiments", seconds["few"], "s"),
        Figure("dvc metrics diff of 100 experiments, without an interval", seconds["dvc"], "s"),
        Figure("peak memory of the report", peak_mib, "MiB", 300),
        *_measure_comment(few),
        *_measure_pages(many, folder / "pages"),
    ]


def _measure_comment(checkout: Path) -> list[Figure]:
    """Return how long the comment on a branch takes that trained all experiments, each beside its parent."""
    names = sorted(Project(checkout).experiments.names())
    statuses = [Status(name, 1, (name,), "ok", "") for name in names]
    gathered, rendered = zip(*(_comment(checkout, statuses) for _ in range(5)), strict=True)
    return [
        Figure(f"comment on {len(names)} experiments rendered", statistics.median(rendered), "s", 0.5),
        Figure("what it says gathered", statistics.median(gathered), "s"),
    ]


def _comment(checkout: Path, statuses: list[Status]) -> tuple[float, float]:
    """Return the seconds until all facts are there, and those until the comment is."""
    started = time.perf_counter()
    report = BranchReporter(Project(checkout), None, "", statuses, {}).build("0" * 40)
    gathered = time.perf_counter()
    text = render_branch(report, MAX_TEXT_BYTES)
    rendered = time.perf_counter()
    assert len(report.digests) == len(statuses), len(report.digests)
    assert all(digest.histories and digest.mistakes for digest in report.digests)
    assert len(text.encode()) <= MAX_TEXT_BYTES
    return gathered - started, rendered - gathered


def _measure_pages(checkout: Path, pages: Path) -> list[Figure]:
    """Return how long pages take to be written, and their table in Chromium to be there, and to be sorted."""
    written = time_once(["force", "report", "--format", "html", "--output", str(pages)], checkout)
    options = ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.binary_location = "/usr/bin/chromium"
    browser = Chrome(options, Service("/usr/bin/chromedriver"))
    try:
        opened, ordered = zip(*(_open_page(browser, pages / "index.html") for _ in range(5)), strict=True)
    finally:
        browser.quit()
    return [
        Figure("pages of 1,000 experiments written", written, "s"),
        Figure("their table opened in Chromium", statistics.median(opened), "s", 2.0),
        Figure("the table sorted by a metric", statistics.median(ordered), "s"),
    ]


def _open_page(browser: Chrome, path: Path) -> tuple[float, float]:
    """Return the seconds until a page is there, its scripts run, and those until its table is laid out otherwise."""
    browser.get(path.as_uri())
    opened = browser.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd")
    rows = browser.execute_script("return document.querySelectorAll('#experiments tbody tr').length")
    assert rows == _NUM + 1, rows
    ordered = browser.execute_script(_SORT)
    return opened / 1000, ordered / 1000


def _make_checkout(folder: Path, num_experiments: int) -> Path:
    """Make a checkout whose experiments have results, all committed."""
    checkout = generate(folder, num_experiments)
    index = Project(checkout).index
    for number, name in enumerate(["common", *sorted(path.name for path in (checkout / "experiments").iterdir())]):
        _leave_result(checkout, index, name, number)
    subprocess.run(["git", "add", "--all"], cwd=checkout, check=True)
    identity = ["-c", "user.name=Benchmark", "-c", "user.email=benchmark@example.com"]
    subprocess.run(["git", *identity, "commit", "--quiet", "--message", "results"], cwd=checkout, check=True)
    return checkout


def _leave_result(checkout: Path, index: FileIndex, name: str, number: int) -> None:
    """Leave an evaluation whose scores are drawn, and record it as what the stage wrote."""
    folder = checkout / ("common" if name == "common" else f"experiments/{name}")
    generator = np.random.default_rng(number)
    scores = {
        "correct": (generator.random(_NUM_SAMPLES) < 0.9 + number % 90 / 1000).astype(np.float64),
        "cross_entropy": generator.exponential(0.1, _NUM_SAMPLES),
    }
    values = {"accuracy": scores["correct"].mean(), "cross_entropy": scores["cross_entropy"].mean()}
    outputs = folder / "outputs/evaluate"
    certificate = json.loads((outputs / "certificate.json").read_text())
    metrics = {metric: {**defined, "definition_sha256": "0" * 64} for metric, defined in _DEFINITIONS.items()}
    for file, document in (
        ("metrics", values),
        ("seeds", {"0": values}),
        ("certificate", {**certificate, "metrics": metrics}),
    ):
        (outputs / f"{file}.json").write_text(json.dumps(document))
    named = {f"scores.{metric}": values for metric, values in scores.items()}
    save_file({"ids": np.arange(_NUM_SAMPLES), **named}, folder / PREDICTIONS)
    (folder / CONFUSION).write_text("actual,predicted\n" + "8,1\n3,5\n0,0\n" * (_NUM_SAMPLES // 3))
    (folder / HISTORY).parent.mkdir(exist_ok=True)
    rows = [{"epoch": e, "train_loss": number + 1 / e, "valid_loss": number + 2 / e} for e in range(1, _NUM_EPOCHS + 1)]
    (folder / HISTORY).write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = checkout / "dvc.lock" if name == "common" else folder / "dvc.lock"
    lock = yaml.load(path.read_bytes(), yaml.CSafeLoader)
    outs = [out for stage in lock["stages"].values() for out in stage["outs"]]
    for out in outs:
        place = (folder / out["path"]).relative_to(checkout).as_posix()
        index.forget(place)
        out["md5"] = index.md5(place) or out["md5"]
    path.write_text(yaml.dump(lock, Dumper=yaml.CSafeDumper, sort_keys=False))


def _run_measured(args: list[str], cwd: Path) -> tuple[float, str]:
    """Return the most memory that a process had, in MiB, and what it printed."""
    done = run(["python", "-c", _MEASURE, find_program(args[0]), *args[1:]], cwd)
    return int(done.stderr.split()[-1]) / 1024, done.stdout
