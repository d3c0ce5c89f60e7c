"""`force act`, before act starts; that it runs is in flows/test_act.py."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.actlog import Event, Kind
from pipeline.actprogress import ActProgress
from pipeline.commands.act import _find_remote, _write_summaries
from pipeline.tools.act import ActRun
from tests.checkouts import Checkout, Ended


@pytest.fixture
def ready(checkout: Checkout, force: Callable[..., Ended]) -> Checkout:
    """A checkout with a workflow, and the .actrc that goes with it."""
    checkout.write(".github/workflows/ci.yml", "on: push\njobs: {a: {runs-on: x, steps: [{run: make}]}}\n")
    assert force("ci", "act-setup").status == 0
    return checkout


def test_nothing_starts_when_the_workflows_changed(ready: Checkout, force: Callable[..., Ended]) -> None:
    ready.write(".github/workflows/ci.yml", "on: push\njobs: {a: {runs-on: a100, steps: [{run: make}]}}\n")
    assert force("act") == Ended(4, "", "error: out of date: .actrc\nhint: force ci act-setup\n")
    assert not (ready.root / ".force" / "act").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--var", "A"], "error: 'A' is not NAME=VALUE"),
        (["--env", "=b"], "error: '=b' is not NAME=VALUE"),
        (["--env", "a-b=c"], "error: 'a-b=c' is not NAME=VALUE"),
        (["--secret", "NO_SUCH_SECRET"], "error: the secret 'NO_SUCH_SECRET' has no value"),
        (["--event-file", "missing.json"], "error: invalid value for '--event-file': File 'missing.json' does not "),
        (["--event-file", "text.json"], "error: '{root}/text.json' is no JSON object\nhint: docs/ci.md says what an "),
        (["--event-file", "list.json"], "error: '{root}/list.json' is no JSON object\n"),
        (["--results", "all"], "error: invalid value for '--results': 'all' is not one of 'none', 'branch'"),
    ],
)
def test_nothing_starts_when_an_option_is_not_right(
    ready: Checkout, force: Callable[..., Ended], args: list[str], message: str
) -> None:
    ready.write("text.json", '{"number": 7')
    ready.write("list.json", "[7]")
    message = message.format(root=ready.root)
    ended = force("act", *args)
    assert (ended.status, ended.err[: len(message)]) == (2, message)
    assert not (ready.root / ".force" / "act").exists()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("../../storage", ["FORCE_REMOTE_URL={parent}/storage"]),
        ("/elsewhere/storage", []),
        ("s3://bucket/storage", []),
    ],
)
def test_jobs_are_told_of_the_remote_when_it_is_a_relative_folder(
    checkout: Checkout, url: str, expected: list[str]
) -> None:
    checkout.write(".dvc/config", f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {url}\n")
    parent = checkout.root.parent
    assert _find_remote(checkout.project()) == [text.format(parent=parent) for text in expected]


def test_summaries_have_files_of_their_own_when_names_of_jobs_differ_in_signs_only(tmp_path: Path) -> None:
    run, progress = ActRun(tmp_path, tmp_path / "runs"), ActProgress(False)
    for name in ("ci/a b", "ci/a:b", "../../a", "ci/silent"):
        progress.add(Event(Kind.SUMMARY, name, text="" if name == "ci/silent" else f"# {name}\n"))
    paths = _write_summaries(run, progress)
    assert [path.name for path in paths] == ["ci-a-b.md", "ci-a-b-1.md", "a.md"]
    assert [path.read_text() for path in paths] == ["# ci/a b\n", "# ci/a:b\n", "# ../../a\n"]
    assert {path.parent for path in paths} == {run.folder / "summaries"}
