"""The history of metrics on the pages, from real git repositories."""

import html
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.pages import history
from tests.checkouts import Checkout, Ended
from tests.recorded import make_certificate, write_result
from tests.reported import leave, make_reported

Force = Callable[..., Ended]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)> \x1b[31m {{ 7 * 7 }}"
COMMON = "common/outputs/evaluate"


@pytest.fixture
def reported(checkout: Checkout) -> Checkout:
    """A checkout with results of common, x and y, and no commit yet."""
    make_reported(checkout)
    return checkout


def commit(checkout: Checkout, subject: str) -> str:
    """Commit everything; return the commit as pages show it."""
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--allow-empty", "--cleanup=verbatim", "--message", subject)
    return checkout.git("rev-parse", "HEAD")[:8]


def evaluate(checkout: Checkout, subject: str, accuracy: float, folder: str = "common", **changes: Any) -> str:
    """Commit a result that is what it is called; return the commit."""
    write_result(checkout, folder, {"accuracy": accuracy, "cross_entropy": 0.5}, **changes)
    return commit(checkout, subject)


def read_page(checkout: Checkout, force: Force, name: str = "common") -> str:
    """Write the pages; return one of them."""
    ended = force("report", "--format", "html", "--output", "page")
    assert (ended.status, ended.err) == (0, "")
    return (checkout.root / f"page/experiments/{name}.html").read_text()


def read_rows(page: str) -> list[list[str]]:
    """Return the cells of the table of the history, no row where there is none."""
    section = page.partition('id="history"')[2].partition('id="lineage"')[0]
    rows = re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    return [[html.unescape(cell) for cell in row] for row in cells if row]


def read_chart(page: str, number: int = 1) -> list[tuple[str, float, bool]]:
    """Return commit and value of each point of a chart, and whether it compares."""
    match = re.search(rf'<script id="history-{number}" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert match
    spec = json.loads(match[1])
    values = spec["data"]["values"]
    assert spec["layer"][0]["encoding"]["order"]["field"] == "place"
    assert [value["place"] for value in values] == sorted(value["place"] for value in values)
    return [(value["commit"], value["value"], value["compares"]) for value in values]


def test_each_commit_that_changed_a_result_is_a_point_and_a_row(reported: Checkout, force: Force) -> None:
    commits = [evaluate(reported, f"accuracy {accuracy}", accuracy) for accuracy in (0.7, 0.75)]
    commit(reported, "something else")
    commits.append(evaluate(reported, "accuracy 0.8", 0.8))
    page = read_page(reported, force)
    assert read_chart(page) == [(made, value, True) for made, value in zip(commits, (0.7, 0.75, 0.8), strict=True)]
    rows = read_rows(page)
    assert [row[0] for row in rows] == commits[::-1]
    assert [row[2:] for row in rows][:2] == [
        ["accuracy 0.8", "0.8", "0.5", "yes"],
        ["accuracy 0.75", "0.75", "0.5", "yes"],
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", rows[0][1])
    assert 'aria-label="cross_entropy by commit"' in page
    assert "Hollow" not in page
    assert "shallow" not in page


def test_history_is_in_the_order_of_the_branch_when_a_clock_was_wrong(
    reported: Checkout, force: Force, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2031-01-01T00:00:00Z")
    first = evaluate(reported, "from the future", 0.7)
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2001-01-01T00:00:00Z")
    second = evaluate(reported, "from the past", 0.8)
    assert [commit for commit, _, _ in read_chart(read_page(reported, force))] == [first, second]


def test_values_of_another_procedure_are_drawn_apart(reported: Checkout, force: Force) -> None:
    definitions = make_certificate()["metrics"]
    other = {**definitions, "accuracy": {**definitions["accuracy"], "definition_sha256": "e" * 64}}
    made = [
        evaluate(reported, "another test split", 0.6, test={**make_certificate()["test"], "ids_sha256": "f" * 64}),
        evaluate(reported, "another accuracy", 0.7, metrics=other),
        evaluate(reported, "an older certificate", 0.75, version=1),
        evaluate(reported, "the present one, another seed", 0.8, seed=1),
        evaluate(reported, "the present one", 0.85),
    ]
    page = read_page(reported, force)
    assert read_chart(page) == list(
        zip(made, (0.6, 0.7, 0.75, 0.8, 0.85), (False, False, False, True, True), strict=True)
    )
    assert [compares for _, _, compares in read_chart(page, 2)] == [False, True, False, True, True]
    assert [row[-1].partition(":")[0] for row in read_rows(page)] == [
        "yes",
        "yes",
        "older certificate",
        "definition of accuracy differs",
        "test split differs",
    ]
    assert '<td class="number dim">0.7</td><td class="number">0.5</td>' in page
    assert "Hollow diamonds" in page


def test_a_new_certificate_alone_is_a_point_when_the_metrics_stayed(reported: Checkout, force: Force) -> None:
    before = evaluate(reported, "before", 0.8, dtype="float16")
    after = evaluate(reported, "after", 0.8)
    assert read_chart(read_page(reported, force)) == [(before, 0.8, False), (after, 0.8, True)]


@pytest.mark.parametrize(
    "text", ["{", "[0.9]", '{"accuracy": "high"}', '{"accuracy": NaN}', '{"accuracy": true}', "", "[" * 100_000]
)
def test_a_commit_is_left_out_when_its_metrics_are_damaged(reported: Checkout, force: Force, text: str) -> None:
    first = evaluate(reported, "sound", 0.7)
    reported.write(f"{COMMON}/metrics.json", text)
    commit(reported, "damaged")
    last = evaluate(reported, "sound again", 0.8)
    page = read_page(reported, force)
    assert [commit for commit, _, _ in read_chart(page)] == [first, last]
    assert [row[0] for row in read_rows(page)] == [last, first]


@pytest.mark.parametrize("text", ["{", None])
def test_a_value_is_drawn_apart_when_its_certificate_is_damaged(
    reported: Checkout, force: Force, text: str | None
) -> None:
    path = reported.root / COMMON / "certificate.json"
    path.unlink() if text is None else path.write_text(text)
    reported.write(f"{COMMON}/metrics.json", '{"accuracy": 0.7}')
    before = commit(reported, "damaged")
    after = evaluate(reported, "sound", 0.8)
    page = read_page(reported, force)
    assert read_chart(page) == [(before, 0.7, False), (after, 0.8, True)]
    assert read_rows(page)[1][-1] == f"its certificate {'is missing' if text is None else 'cannot be read'}"


def test_newest_result_stands_in_when_there_is_none_now(reported: Checkout, force: Force) -> None:
    evaluate(reported, "another procedure", 0.7, dtype="float16")
    evaluate(reported, "the newest", 0.8)
    (reported.root / COMMON / "metrics.json").unlink()
    assert [compares for _, _, compares in read_chart(read_page(reported, force))] == [False, True]


def test_history_of_an_earlier_name_is_not_followed_and_said_so(reported: Checkout, force: Force) -> None:
    evaluate(reported, "under the old name", 0.7, "experiments/x")
    reported.git("mv", "experiments/x", "experiments/z")
    renamed = commit(reported, "renamed")
    page = read_page(reported, force, "z")
    assert [row[0] for row in read_rows(page)] == [renamed]
    assert "under another name of the folder they are not followed" in page


def test_merge_is_the_commit_that_changed_a_result_when_it_brought_one(reported: Checkout, force: Force) -> None:
    base = evaluate(reported, "base", 0.7)
    reported.git("checkout", "--quiet", "-b", "side")
    evaluate(reported, "never on main", 0.1)
    evaluate(reported, "the end of the side", 0.8)
    reported.git("checkout", "--quiet", "main")
    commit(reported, "meanwhile")
    reported.git("merge", "--quiet", "--no-ff", "--message", "merge side", "side")
    merge = reported.git("rev-parse", "HEAD")[:8]
    assert read_chart(read_page(reported, force)) == [(base, 0.7, True), (merge, 0.8, True)]


def test_there_is_no_history_without_commits_or_without_git(
    reported: Checkout, force: Force, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 'id="history"' not in read_page(reported, force)
    (reported.root / ".git").rename(reported.root / "no-git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(reported.root.parent))
    assert 'id="history"' not in read_page(reported, force)
    monkeypatch.setenv("PATH", "")
    assert 'id="history"' not in read_page(reported, force)


def test_shallow_clone_shows_what_is_there_and_says_so(reported: Checkout, force: Force, tmp_path: Path) -> None:
    for accuracy in (0.7, 0.75, 0.8):
        evaluate(reported, f"accuracy {accuracy}", accuracy)
    clone = tmp_path / "clone"
    address = f"file://{reported.root}"
    subprocess.run(["git", "clone", "--quiet", "--depth=2", address, str(clone)], check=True)
    page = read_page(Checkout(clone), lambda *args: force(*args, at="../clone"))
    assert [row[3] for row in read_rows(page)] == ["0.8", "0.75"]
    assert "This clone is shallow" in page


def test_checkout_may_be_a_folder_of_a_repository(reported: Checkout, force: Force) -> None:
    (reported.root / ".git").rename(reported.root.parent / ".git")
    made = evaluate(reported, "below", 0.7)
    assert [row[0] for row in read_rows(read_page(reported, force))] == [made]


def test_subject_of_a_commit_does_nothing_on_a_page(reported: Checkout, force: Force) -> None:
    evaluate(reported, "first", 0.7)
    evaluate(reported, HOSTILE, 0.8)
    page = read_page(reported, force)
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert len(read_chart(page)) == 2
    assert read_rows(page)[0][2] == HOSTILE


def test_settings_of_git_change_nothing(reported: Checkout, force: Force) -> None:
    for setting in ("log.showRoot=false", "color.ui=always", "log.follow=true", "log.showSignature=true"):
        reported.git("config", *setting.split("="))
    made = [evaluate(reported, "first", 0.7), evaluate(reported, "second", 0.8)]
    assert [commit for commit, _, _ in read_chart(read_page(reported, force))] == made


def test_table_has_the_last_twenty(reported: Checkout, force: Force) -> None:
    made = [evaluate(reported, f"number {number}", number / 100) for number in range(history._NUM_ROWS + 2)]
    page = read_page(reported, force)
    assert [row[0] for row in read_rows(page)] == made[:1:-1]
    assert [commit for commit, _, _ in read_chart(page)] == made


def test_one_commit_is_a_row_and_no_chart(reported: Checkout, force: Force) -> None:
    leave(reported, "common", 0.8, 0.5)
    commit(reported, "the only one")
    page = read_page(reported, force)
    assert [row[2:] for row in read_rows(page)] == [["the only one", "0.8", "0.5", "yes"]]
    assert "history-1" not in page
