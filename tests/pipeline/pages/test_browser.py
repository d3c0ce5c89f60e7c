"""The pages of a report as somebody reads them, in Debian's Chromium."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from pipeline.pages import renewal
from pipeline.pages.live import LiveReader
from pipeline.pages.renewal import Renewer
from pipeline.pages.server import PageServer
from pipeline.workspace import OUTCOME, TASK, Workspace, write_json
from tests.checkouts import Checkout, Ended
from tests.recorded import make_certificate
from tests.reported import leave, make_reported
from tests.servers import run_server

pytestmark = pytest.mark.browser
PATIENCE_S = 60
HISTORY = "".join(json.dumps({"epoch": epoch, "train_loss": 1 / epoch}) + "\n" for epoch in range(1, 5))


@pytest.fixture
def page(checkout: Checkout, force: Callable[..., Ended]) -> Path:
    """The first page of a report."""
    make_reported(checkout)
    test = {**make_certificate()["test"], "ids_sha256": "f" * 64, "num_samples": 450}
    leave(checkout, "y", 0.805, 0.5, test=test)
    checkout.write("common/outputs/train/history.jsonl", HISTORY)
    checkout.write("experiments/x/outputs/evaluate/confusion.csv", "actual,predicted\n1,1\n1,2\n")
    assert force("report", "--format", "html", "--output", "page").status == 0
    return checkout.root / "page/index.html"


def list_names(browser: Chrome) -> list[str]:
    """Return the experiments that the table shows, in its order."""
    rows = browser.find_elements(By.CSS_SELECTOR, "#experiments tbody tr")
    return [row.find_element(By.CSS_SELECTOR, "th a").text for row in rows if row.is_displayed()]


def find_column(browser: Chrome, title: str) -> WebElement:
    """Return what sorts by a column."""
    buttons = browser.find_elements(By.CSS_SELECTOR, "#experiments thead button")
    return next(button for button in buttons if button.text == title)


def read_faults(browser: Chrome) -> list[str]:
    """Return what went wrong in the browser."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def test_table_is_sorted_by_any_column_with_the_keyboard_too(browser: Chrome, page: Path) -> None:
    browser.get(page.as_uri())
    assert list_names(browser) == ["common", "x", "y"]
    find_column(browser, "accuracy").click()
    assert list_names(browser) == ["common", "y", "x"]
    find_column(browser, "accuracy").send_keys(Keys.ENTER)
    assert list_names(browser) == ["x", "y", "common"]
    header = find_column(browser, "accuracy").find_element(By.XPATH, "..")
    assert header.get_attribute("aria-sort") == "descending"
    find_column(browser, "experiment").click()
    assert list_names(browser) == ["common", "x", "y"]
    assert read_faults(browser) == []


def test_table_is_filtered_by_words(browser: Chrome, page: Path) -> None:
    browser.get(page.as_uri())
    count = browser.find_element(By.ID, "count")
    assert count.text == "3 of 3 experiments"
    browser.find_element(By.ID, "filter").send_keys("BETTER x")
    assert (list_names(browser), count.text) == (["x"], "1 of 3 experiments")


def choose(browser: Chrome, *names: str) -> str:
    """Choose experiments to compare; return what the comparison says."""
    for name in names:
        browser.find_element(By.CSS_SELECTOR, f"input[value={name}]").click()
    return browser.find_element(By.ID, "comparison").text


def test_any_two_are_compared_where_they_compare(browser: Chrome, page: Path) -> None:
    browser.get(page.as_uri())
    assert choose(browser, "common") == "Choose one more to compare."
    assert choose(browser, "x").splitlines() == [
        "metric common x difference",
        "accuracy 0.8000 0.9000 +0.1000 better",
        "cross_entropy 0.5000 0.3000 −0.2000 better",
    ]
    cells = browser.find_elements(By.CSS_SELECTOR, "#comparison td.better")
    assert [cell.text for cell in cells] == ["+0.1000 better", "−0.2000 better"]
    text = choose(browser, "y")  # the first one is let go
    assert not browser.find_element(By.CSS_SELECTOR, "input[value=common]").is_selected()
    reason = "does not compare: test split differs: 381 samples 11111111 vs 450 samples ffffffff"
    assert text.splitlines()[1] == f"accuracy 0.9000 0.8050 {reason}"
    assert choose(browser, "y", "x") == "Choose two experiments to compare."


def test_a_page_of_an_experiment_draws_charts_and_leads_to_its_ancestors(browser: Chrome, page: Path) -> None:
    browser.get(page.as_uri())
    browser.find_element(By.LINK_TEXT, "x").click()
    waiting = WebDriverWait(browser, PATIENCE_S)
    waiting.until(lambda driver: len(driver.find_elements(By.CSS_SELECTOR, "figure[data-chart] svg")) == 2)
    assert "train_loss" in browser.find_element(By.CSS_SELECTOR, "figure[data-chart] svg").text
    assert read_faults(browser) == []
    stages = browser.find_elements(By.CSS_SELECTOR, "#lineage ~ table a")
    next(link for link in stages if link.text == "common").click()
    waiting.until(lambda driver: driver.title == "common")
    assert browser.find_element(By.TAG_NAME, "h1").text == "common"
    browser.find_element(By.LINK_TEXT, "Experiments").click()
    assert list_names(browser) == ["common", "x", "y"]


def test_a_narrow_screen_scrolls_tables_alone(browser: Chrome, page: Path) -> None:
    browser.set_window_size(400, 800)
    for path in (page, page.parent / "experiments/x.html"):
        browser.get(path.as_uri())
        width, room = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert width <= room, path


def test_a_study_draws_what_its_heirs_change(browser: Chrome, page: Path) -> None:
    browser.get(page.as_uri())
    browser.find_element(By.PARTIAL_LINK_TEXT, "heirs of common").click()
    charts = WebDriverWait(browser, PATIENCE_S).until(
        lambda driver: driver.find_elements(By.CSS_SELECTOR, "figure[data-chart^=difference] svg")
    )
    assert "accuracy" in charts[0].text
    assert len(charts[0].find_elements(By.CSS_SELECTOR, ".mark-symbol path")) == 1  # y is of other samples
    browser.find_element(By.LINK_TEXT, "x").click()
    assert browser.title == "x"
    assert read_faults(browser) == []


def test_a_dark_page_is_dark(browser: Chrome, page: Path) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    browser.get(page.as_uri())
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"


def test_history_is_drawn_with_what_does_not_compare_apart(
    browser: Chrome, checkout: Checkout, force: Callable[..., Ended]
) -> None:
    make_reported(checkout)
    for accuracy, dtype in ((0.7, "float16"), (0.75, "float32"), (0.8, "float32")):
        leave(checkout, "common", accuracy, 0.5, dtype=dtype)
        checkout.commit()
    assert force("report", "--format", "html", "--output", "page").status == 0
    browser.get((checkout.root / "page/experiments/common.html").as_uri())
    charts = WebDriverWait(browser, PATIENCE_S).until(
        lambda driver: driver.find_elements(By.CSS_SELECTOR, "figure[data-chart^=history] svg")
    )
    marks = [chart.find_elements(By.CSS_SELECTOR, ".mark-symbol path") for chart in charts]
    fills = [[mark.get_attribute("fill") for mark in found] for found in marks]
    assert [[fill == "transparent" for fill in found] for found in fills] == [[False, False, True]] * 2
    second, third, first = (float(re.findall(r"[\d.]+", mark.get_attribute("transform"))[0]) for mark in marks[0])
    assert first < second < third
    lines = charts[0].find_elements(By.CSS_SELECTOR, ".mark-line path")
    assert [line.get_attribute("d").count("L") for line in lines] == [1]
    assert read_faults(browser) == []


# What runs, as `force ui` shows it


@contextmanager
def serve(root: Path, folder: Path) -> Iterator[str]:
    """Serve the pages of a checkout, and let them follow its results, as long as the block runs; yield the address."""
    renewer, reader, stop = Renewer(root, folder), LiveReader(root), Event()
    renewer.build()
    thread = Thread(target=renewer.watch, args=(stop,))
    thread.start()
    try:
        with run_server(
            PageServer(
                "127.0.0.1",
                0,
                lambda: renewer.site,
                lambda: {"version": renewer.version, "faults": renewer.faults, **reader.read()},
            )
        ) as server:
            yield server.url
    finally:
        stop.set()
        thread.join()


@contextmanager
def train(space: Workspace, log: str) -> Iterator[None]:
    """Be half through a training as long as the block runs."""
    space.start()
    with space.hold():
        write_json(space.partial / TASK, {})
        now = "2026-01-05T10:00:00+00:00"
        facts = {"version": 1, "experiment": "x", "status": "running", "started_at": now, "updated_at": now}
        write_json(space.progress_path, {**facts, "fraction": 0.5, "metrics": {"train_loss": 0.25}})
        (space.partial / "history.jsonl").write_text(
            '{"epoch": 1, "train_loss": 1.0}\n{"epoch": 2, "train_loss": 0.5}\n'
        )
        space.log_path.write_text(log)
        yield


def end(space: Workspace) -> None:
    """Leave the outcome of a stage that is done."""
    (space.partial / TASK).unlink()
    facts = {"version": 1, "experiment": "x", "stage": "train", "status": "ok", "reason": None}
    write_json(space.final / OUTCOME, {**facts, "started_at": "2026-01-05T10:00:00+00:00", "wall_time_s": 3.5})


def count_points(browser: Chrome) -> int:
    """Return how many points the curves of what runs have."""
    return len(browser.find_elements(By.CSS_SELECTOR, "#running figure svg .mark-symbol path"))


def test_what_runs_is_shown_and_how_it_ends_without_a_reload(
    browser: Chrome, checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "_INTERVAL_S", 0.05)
    make_reported(checkout)
    space = Workspace(checkout.root / "experiments/x", "train")
    hostile = "<img src=x onerror=alert(1)>"
    waiting = WebDriverWait(browser, PATIENCE_S)
    (tmp_path / "pages").mkdir()
    with serve(checkout.root, tmp_path / "pages") as url:
        browser.get(url)
        browser.execute_script("window.isSame = true")
        news = browser.find_element(By.ID, "live-news")
        waiting.until(lambda _: news.text == "nothing runs.")
        assert news.get_attribute("role") == "status"
        with train(space, hostile):
            waiting.until(lambda _: news.text == "train of x running.")
            bar = browser.find_element(By.CSS_SELECTOR, "#running progress")
            assert (bar.get_attribute("value"), bar.accessible_name) == ("0.5", "how far train of x is")
            waiting.until(lambda _: count_points(browser) == 2)
            assert "train_loss" in browser.find_element(By.CSS_SELECTOR, "#running figure svg").text
            log = browser.find_element(By.CSS_SELECTOR, "#running pre")
            assert log.text == hostile
            with (space.partial / "history.jsonl").open("a") as file:
                file.write('{"epoch": 3, "train_loss": 0.25}\n{"epoch": 4, "tra')
            waiting.until(lambda _: count_points(browser) == 3)
            assert log.is_displayed()  # the same element: what somebody selects in it stays selected
            end(space)
        waiting.until(lambda _: news.text == "nothing runs; train of x ended well.")
        assert not browser.find_elements(By.CSS_SELECTOR, "#running *")
        link = browser.find_element(By.CSS_SELECTOR, "#ended a")
        assert (link.text, link.get_attribute("href")) == ("train of x", f"{url}experiments/x.html")
        assert browser.execute_script("return window.isSame")
        assert read_faults(browser) == []
    waiting.until(lambda _: news.text.startswith("force ui does not answer"))


def test_new_results_come_into_the_table_and_choices_stay(
    browser: Chrome, checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "_INTERVAL_S", 0.05)
    make_reported(checkout)
    waiting = WebDriverWait(browser, PATIENCE_S)
    (tmp_path / "pages").mkdir()
    with serve(checkout.root, tmp_path / "pages") as url:
        browser.get(url)
        browser.execute_script("window.isSame = true")
        find_column(browser, "accuracy").click()
        find_column(browser, "accuracy").click()
        choose(browser, "x", "y")
        assert list_names(browser) == ["x", "y", "common"]
        leave(checkout, "y", 0.95, 0.2)
        comparison = browser.find_element(By.ID, "comparison")
        waiting.until(lambda _: "accuracy 0.9000 0.9500 +0.0500 better" in comparison.text)
        assert list_names(browser) == ["y", "x", "common"]
        boxes = {box.get_attribute("value"): box for box in browser.find_elements(By.CSS_SELECTOR, "tbody input")}
        assert [name for name, box in boxes.items() if box.is_selected()] == ["y", "x"]
        assert browser.switch_to.active_element == boxes["y"]
        find_column(browser, "accuracy").click()
        assert list_names(browser) == ["common", "x", "y"]
        checkout.write("params.yaml", "{")
        fault = (By.CSS_SELECTOR, "#live-faults li")
        waiting.until(lambda _: browser.find_elements(*fault))
        assert "the table is that of before: params.yaml" in browser.find_element(*fault).text
        assert list_names(browser) == ["common", "x", "y"]
        assert browser.execute_script("return window.isSame")
        assert read_faults(browser) == []
