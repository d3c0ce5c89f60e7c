"""The pages of a report, as files."""

import html
import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.certificates import find_differences
from pipeline.outs import PREDICTIONS
from pipeline.pages import entries, site
from tests.checkouts import Checkout, Ended
from tests.recorded import make_certificate, override
from tests.reported import NUM, make_reported, make_scores, settle

Force = Callable[..., Ended]
HISTORY = [{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": float("nan")}, {"epoch": 3, "train_loss": 0.5}]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[31m\ud800"


@pytest.fixture
def reported(checkout: Checkout) -> Checkout:
    """A checkout with results, one training that recorded curves, and a confusion."""
    make_reported(checkout)
    checkout.write("common/outputs/train/history.jsonl", "".join(json.dumps(row) + "\n" for row in HISTORY))
    checkout.write("common/outputs/train/train.log", "first line\n" + "x" * 30_000 + "\nlast line\n")
    checkout.write("experiments/x/outputs/evaluate/confusion.csv", "actual,predicted\n1,1\n1,2\n1,2\n10,1\n")
    return checkout


class _Reader(HTMLParser):
    """Collects the tags of a page, and the texts of its JSON."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def write(checkout: Checkout, force: Force, *args: str) -> Path:
    """Write the pages; return their folder."""
    ended = force("report", *args, "--format", "html", "--output", "page")
    assert (ended.status, ended.err, ended.out) == (0, "", "wrote page/index.html\n")
    return checkout.root / "page"


def read_json(text: str, name: str) -> Any:
    """Return the JSON that a page holds under an id."""
    match = re.search(rf'<script id="{name}" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert match
    return json.loads(match[1])


def test_every_link_and_file_of_a_page_is_there(reported: Checkout, force: Force) -> None:
    folder = write(reported, force)
    pages = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.html"))
    names = ["experiments/common", "experiments/x", "experiments/y", "index", "studies/common"]
    assert pages == [f"{name}.html" for name in names]
    for page in pages:
        for tag, attributes in _Reader((folder / page).read_text()).tags:
            for link in filter(None, (attributes.get("href"), attributes.get("src"))):
                assert link.startswith(("#", "data:")) or ((folder / page).parent / link).is_file(), (page, tag, link)


def test_nothing_is_asked_of_a_network(reported: Checkout, force: Force) -> None:
    folder = write(reported, force)
    for path in folder.rglob("*.html"):
        text = path.read_text()
        assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
        assert not [word for word in ("connect-src", "live") if word in text]
        addresses = set(re.findall(r"https?://[^\"' ]+", text))
        assert addresses <= {"https://vega.github.io/schema/vega-lite/v6.json"}, path


def test_only_pages_that_are_served_show_what_runs(reported: Checkout, force: Force) -> None:
    folder = write(reported, force)
    assert sorted(path.name for path in (folder / "assets").iterdir()) == [
        "charts.js", "index.js", "page.css", "vega-lite.min.js", "vega.min.js"
    ]  # fmt: skip


def test_table_has_what_two_experiments_are_compared_by(reported: Checkout, force: Force) -> None:
    text = (write(reported, force) / "index.html").read_text()
    report = read_json(text, "report")
    assert report["experiments"]["x"]["metrics"] == {"accuracy": 0.9, "cross_entropy": 0.3}
    assert report["experiments"]["x"]["certificate"] == report["experiments"]["common"]["certificate"] == 0
    (certificate,) = report["certificates"]
    assert certificate["fields"]["test split"] == ["1" * 64, "381 samples 11111111"]
    assert certificate["metrics"]["accuracy"]["direction"] == ["max", "max"]
    assert re.search(r'data-value="0.9">0.9000<br><span class="better" title="better">\+0.1000 better</span>', text)


def test_curves_are_drawn_beside_the_baseline_without_what_is_no_number(reported: Checkout, force: Force) -> None:
    reported.experiment("z", "params: {train: {epochs: 9}}\n")
    reported.write("experiments/z/outputs/train/history.jsonl", '{"epoch": 1, "train_loss": 1.5}\n{"epo')
    text = (write(reported, force) / "experiments/common.html").read_text()
    values = read_json(text, "curve-1")["data"]["values"]
    assert [(row["epoch"], row["value"]) for row in values] == [(1, 2.0), (3, 0.5)]
    text = (reported.root / "page/experiments/z.html").read_text()
    drawn = [(row["experiment"], row["value"]) for row in read_json(text, "curve-1")["data"]["values"]]
    assert drawn == [("z", 1.5), ("common", 2.0), ("common", 0.5)]


def test_confusion_is_drawn_in_the_order_of_numbers(reported: Checkout, force: Force) -> None:
    text = (write(reported, force) / "experiments/x.html").read_text()
    chart = read_json(text, "confusion-chart")
    assert chart["encoding"]["x"]["sort"] == ["1", "2", "10"]
    assert {"actual": "1", "predicted": "2", "samples": 2} in chart["data"]["values"]


def test_log_is_cut_at_its_beginning(reported: Checkout, force: Force) -> None:
    text = (write(reported, force) / "experiments/common.html").read_text()
    assert "last line" in text
    assert "first line" not in text
    assert "… 10,022 bytes before" in text


def test_worst_mistakes_are_shown_with_their_images(reported: Checkout, force: Force) -> None:
    scores = make_scores(0.9, 0.3)
    logits = np.zeros((NUM, 2))
    logits[:, 1] = 1
    losses = scores["scores.cross_entropy"]
    save_file(
        {"ids": np.arange(NUM), "targets": np.zeros(NUM, np.int64), "logits": logits, **scores},
        reported.root / "experiments/x" / PREDICTIONS,
    )
    settle(reported, "x", "experiments/x")
    data = reported.root / "common/outputs/prepare/data"
    (data / "test").mkdir(parents=True)
    ids = np.arange(NUM)[::-1].copy()
    images = np.repeat(np.arange(NUM, dtype=np.float32), 16).reshape(NUM, 1, 4, 4)
    save_file({"ids": ids}, data / "test/ids.safetensors")
    save_file({"inputs": images}, data / "test/inputs.safetensors")
    (data / "metadata.json").write_text(json.dumps({"input_shape": [1, 4, 4], "classes": ["cat", "dog"]}))
    text = (write(reported, force) / "experiments/x.html").read_text()
    shown = re.findall(r"sample (\d+)<br>(\w+), taken for (\w+)<br>cross entropy ([\d.]+)", text)
    wrong = np.flatnonzero(scores["scores.correct"] == 0)
    worst = wrong[np.argsort(-losses[wrong])][:12]
    assert shown == [(str(row), "cat", "dog", f"{losses[row]:.2f}") for row in worst]
    assert text.count('src="data:image/png;base64,') == 12
    (data / "test/inputs.safetensors").write_bytes(b"damaged")
    assert "Worst mistakes" not in (write(reported, force) / "experiments/x.html").read_text()


def test_what_others_wrote_does_nothing_in_a_page(reported: Checkout, force: Force) -> None:
    text = json.dumps(HOSTILE.encode("utf-8", "replace").decode())
    reported.experiment("x", f"description: {text}\n", evaluator=override("evaluator"))
    reported.write("experiments/x/outputs/evaluate/confusion.csv", f'actual,predicted\n"{HOSTILE[:-1]}",1\n')
    (reported.root / "experiments/x/outputs/evaluate/evaluate.log").write_text(HOSTILE[:-1])
    folder = write(reported, force)
    for path in (folder / "index.html", folder / "experiments/x.html"):
        tags = _Reader(path.read_text()).tags
        assert not [tag for tag, attributes in tags if "onerror" in attributes]
        scripts = [attributes for tag, attributes in tags if tag == "script"]
        assert all(a.get("src") or a.get("type") == "application/json" for a in scripts)
        assert html.escape("<img src=x onerror=alert(1)>") in path.read_text()


def test_experiments_without_results_are_there_too(checkout: Checkout, force: Force) -> None:
    checkout.experiment("x", evaluator=override("evaluator"))
    folder = write(checkout, force)
    assert "no result" in (folder / "index.html").read_text()
    assert "metrics.json is missing" in (folder / "experiments/x.html").read_text()


def test_pages_are_written_anew_and_nothing_else_is_lost(reported: Checkout, force: Force) -> None:
    folder = write(reported, force)
    (folder / "experiments/gone.html").touch()
    write(reported, force)
    assert not (folder / "experiments/gone.html").exists()
    reported.write("mine/notes.txt", "mine")
    for place in ("mine", "mine/notes.txt/page"):
        ended = force("report", "--format", "html", "--output", place)
        assert ended.status == 2, ended
        assert ended.err.startswith(f"error: '{reported.root / place}' ")
    assert (reported.root / "mine/notes.txt").read_text() == "mine"
    ended = force("report", "--format", "html")
    assert ended.out == f"wrote {reported.root / '.force/report/index.html'}\n"


def test_what_is_beside_and_in_a_folder_of_pages_stays(reported: Checkout, force: Force) -> None:
    reported.write("page.partial/thesis.txt", "mine")
    folder = write(reported, force)
    reported.write("page/notes.md", "mine too")
    write(reported, force)
    assert (reported.root / "page.partial/thesis.txt").read_text() == "mine"
    assert (folder / "notes.md").read_text() == "mine too"
    (reported.root / "link").symlink_to("page")
    assert force("report", "--format", "html", "--output", "link").status == 0
    assert (reported.root / "link").is_symlink()
    assert not list(reported.root.glob(".page.*"))


def test_pages_stay_where_new_ones_cannot_take_their_place(
    reported: Checkout, force: Force, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(reported, force)
    before = (folder / "index.html").read_bytes()
    rename = os.rename

    def fail(source: Any, target: Any) -> None:
        if Path(source).name == "new":
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(site.os, "rename", fail)
    ended = force("report", "--format", "html", "--output", "page")
    assert ended.err.startswith(f"error: '{folder}' cannot be written: No space left on device\nhint: ")
    assert (folder / "index.html").read_bytes() == before
    assert not list(reported.root.glob(".page.*"))


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b'{"epoch": 1, "train_loss": 1' + b"0" * 400 + b"}\n", b"[" * 200_000]
)
def test_a_damaged_history_takes_no_page_away(reported: Checkout, force: Force, content: bytes) -> None:
    (reported.root / "common/outputs/train/history.jsonl").write_bytes(content)
    assert "Learning curves" not in (write(reported, force) / "experiments/common.html").read_text()


def test_a_damaged_confusion_is_not_shown_in_part(reported: Checkout, force: Force) -> None:
    path = reported.root / "experiments/x/outputs/evaluate/confusion.csv"
    path.write_bytes(b"actual,predicted\n" + b"a,b\n" * 5000 + b"\xff,a\n")
    assert "Confusion" not in (write(reported, force) / "experiments/x.html").read_text()


def test_curves_are_drawn_beside_a_baseline_that_was_not_asked_for(reported: Checkout, force: Force) -> None:
    reported.experiment("z", "params: {train: {epochs: 9}}\n")
    reported.write("experiments/z/outputs/train/history.jsonl", '{"epoch": 1, "train_loss": 1.5}\n')
    text = (write(reported, force, "x", "--baseline", "z") / "experiments/x.html").read_text()
    assert "by epoch, of common and z" in text


def test_of_several_seeds_the_means_are_shown(reported: Checkout, force: Force) -> None:
    for name, values in (("common", (0.5, 1.0)), ("experiments/x", (0.85, 0.7))):
        seeds = {str(seed): {"accuracy": value} for seed, value in enumerate(values)}
        reported.write(f"{name}/outputs/evaluate/seeds.json", json.dumps(seeds))
        settle(reported, name.removeprefix("experiments/"), name)
    text = (write(reported, force) / "index.html").read_text()
    assert re.search(r'data-value="0.75">0.7500\s*</td>', text.partition(">common</a>")[2])
    assert read_json(text, "report")["experiments"]["x"]["seeds"] == {"0": {"accuracy": 0.85}, "1": {"accuracy": 0.7}}


@pytest.mark.parametrize(
    ("ours", "theirs"), [(1, 1.0), (1, "1"), (None, "None"), ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}), ([1], [2])]
)
def test_pages_compare_params_as_reports_do(ours: Any, theirs: Any) -> None:
    both = [make_certificate(params={"key": value}) for value in (ours, theirs)]
    mine, other = (entries.describe_certificate(certificate) for certificate in both)
    assert mine
    assert other
    assert (mine["params"]["key"][0] == other["params"]["key"][0]) == (not find_differences(*both, "accuracy"))
