"""Pages that are served are written anew when results change, and are never half."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from pipeline.errors import ConfigError
from pipeline.pages import renewal
from pipeline.pages.renewal import Renewer, sign_files
from tests.checkouts import Checkout
from tests.flows.commands import wait_until
from tests.reported import leave, make_reported


@pytest.fixture
def renewer(checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Renewer:
    """The pages of a checkout with results."""
    monkeypatch.setattr(renewal, "_INTERVAL_S", 0.01)
    make_reported(checkout)
    (tmp_path / "pages").mkdir()
    renewer = Renewer(checkout.root, tmp_path / "pages")
    renewer.build()
    return renewer


@contextmanager
def watch(renewer: Renewer) -> Iterator[None]:
    """Let the pages follow the files as long as the block runs."""
    stop = Event()
    thread = Thread(target=renewer.watch, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def read_index(renewer: Renewer) -> str:
    return (renewer.site / "index.html").read_text()


def test_pages_show_what_runs_and_say_which_they_are(renewer: Renewer) -> None:
    assert (renewer.version, renewer.faults) == (1, [])
    text = read_index(renewer)
    assert '<section id="live" data-version="1"' in text
    assert "connect-src &#39;self&#39;" in text or "connect-src 'self'" in text
    for name in ("live.js", "charts.js", "vega.min.js"):
        assert f'src="assets/{name}"' in text
        assert (renewer.site / "assets" / name).is_file()


def test_pages_follow_a_result_that_changes(checkout: Checkout, renewer: Renewer) -> None:
    old = renewer.site
    assert 'data-value="0.9"' in read_index(renewer)
    with watch(renewer):
        leave(checkout, "x", 0.925, 0.3)
        wait_until(lambda: 'data-value="0.925"' in read_index(renewer), "a new page")
    assert (old / "index.html").is_file()  # for who has just loaded it
    assert sorted(path.name for path in renewer.site.parent.iterdir()) == sorted([old.name, renewer.site.name])


@pytest.mark.parametrize("path", ["common/trainer.py", "common/sources/digits.py"])
def test_pages_follow_what_stages_depend_on(checkout: Checkout, renewer: Renewer, path: str) -> None:
    with watch(renewer):
        checkout.write(path, (checkout.root / path).read_text() + "\n# another\n")
        wait_until(lambda: renewer.version > 1, "a new page")


def test_pages_follow_commits(checkout: Checkout, renewer: Renewer) -> None:
    with watch(renewer):
        checkout.commit()
        wait_until(lambda: renewer.version > 1, "a new page")


def test_pages_stay_when_nothing_changes(renewer: Renewer, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(range(5))
    stop = Event()
    monkeypatch.setattr(stop, "wait", lambda _: next(looks, None) is None)
    renewer.watch(stop)
    assert renewer.version == 1


def test_pages_wait_until_files_have_come_to_rest(renewer: Renewer, monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter([{"a": (number,)} for number in (1, 2, 3, 3)])
    built: list[str] = []
    stop = Event()
    monkeypatch.setattr(renewal, "sign_files", lambda *_: next(states))
    monkeypatch.setattr(renewer, "_renew", lambda: built.append("built"))
    waits = iter([False] * 5)
    monkeypatch.setattr(stop, "wait", lambda _: next(waits, True) or bool(built))
    renewer.watch(stop)
    assert built == ["built"]
    assert next(states, None) is None


def test_old_pages_stay_and_the_reason_is_told_where_new_ones_cannot_be_made(
    checkout: Checkout, renewer: Renewer
) -> None:
    params = checkout.root / "params.yaml"
    text = params.read_text()
    before = read_index(renewer)
    with watch(renewer):
        params.write_text("{")
        wait_until(lambda: bool(renewer.faults), "a fault")
        assert read_index(renewer) == before
        assert "the table is that of before: " in renewer.faults[0]
        assert "params.yaml" in renewer.faults[0]
        params.write_text(text)
        wait_until(lambda: not renewer.faults, "pages again")
    assert renewer.version > 1


def test_one_experiment_with_a_fault_takes_no_other_away(checkout: Checkout, renewer: Renewer) -> None:
    with watch(renewer):
        checkout.write("experiments/x/experiment.yaml", "inherits: nobody\n")
        wait_until(lambda: bool(renewer.faults), "a fault")
        assert renewer.faults[0].startswith("experiments/x/experiment.yaml:1:")
        text = read_index(renewer)
        assert ">y</a>" in text
        assert ">x</a>" not in text


def test_an_experiment_that_vanishes_while_pages_are_written_ends_nothing(
    checkout: Checkout, renewer: Renewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Renewer) -> None:
        raise FileNotFoundError(2, "No such file or directory", "experiments/x/model.py")

    with watch(renewer):
        with monkeypatch.context() as patched:
            patched.setattr(Renewer, "build", fail)
            leave(checkout, "x", 0.925, 0.3)
            wait_until(lambda: bool(renewer.faults), "a fault")
        assert "FileNotFoundError" in renewer.faults[0]
        leave(checkout, "x", 0.95, 0.3)
        wait_until(lambda: 'data-value="0.95"' in read_index(renewer), "a new page")
    assert renewer.faults == []


def test_pages_are_not_begun_with_params_that_cannot_be_read(checkout: Checkout, tmp_path: Path) -> None:
    checkout.write("params.yaml", "{")
    with pytest.raises(ConfigError):
        Renewer(checkout.root, tmp_path).build()


@pytest.mark.parametrize(
    ("path", "is_shown"),
    [
        ("dvc.lock", True),
        ("experiments/x/dvc.lock", True),
        ("experiments/x/model.py", True),
        ("experiments/new/experiment.yaml", True),
        ("experiments/x/outputs/evaluate/metrics.json", True),
        ("experiments/x/outputs/train/outcome.json", True),
        ("experiments/x/outputs/train.partial/history.jsonl", False),
        ("experiments/x/outputs/train.partial/progress.json", False),
        (".force/index.json", False),
    ],
)
def test_pages_depend_on_results_and_not_on_what_a_stage_writes_as_it_runs(
    checkout: Checkout, path: str, is_shown: bool
) -> None:
    checkout.write(path, "a")
    before = sign_files(checkout.root)
    checkout.write(path, "another text")
    assert (sign_files(checkout.root) != before) == is_shown
    os.unlink(checkout.root / path)
    assert (sign_files(checkout.root) != before) == is_shown
