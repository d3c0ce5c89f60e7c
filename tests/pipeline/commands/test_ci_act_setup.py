"""`force ci act-setup`."""

from collections.abc import Callable

from tests.checkouts import Checkout, Ended


def test_file_is_written_once_and_checked(checkout: Checkout, force: Callable[..., Ended]) -> None:
    out_of_date = Ended(4, "", "error: out of date: .actrc\nhint: force ci act-setup\n")
    assert force("ci", "act-setup", "--check") == out_of_date
    assert force("ci", "act-setup") == Ended(0, "wrote .actrc\n", "")
    assert force("ci", "act-setup") == Ended(0, "nothing to do: .actrc is as it should be\n", "")
    assert force("ci", "act-setup", "--check") == Ended(0, ".actrc is as it should be\n", "")
    checkout.write(".github/workflows/ci.yml", "jobs: {a: {runs-on: a100, steps: [{run: make}]}}\n")
    assert force("ci", "act-setup", "--check") == out_of_date
    assert force("ci", "act-setup").status == 0
    assert "-P a100=-self-hosted\n" in (checkout.root / ".actrc").read_text()


def test_nothing_is_written_when_an_action_has_no_stand_in(checkout: Checkout, force: Callable[..., Ended]) -> None:
    checkout.write(".github/workflows/ci.yml", "jobs: {a: {runs-on: x, steps: [{uses: actions/cache@v4}]}}\n")
    ended = force("ci", "act-setup")
    assert ended.status == 4
    assert ended.err.startswith("error: .github/workflows/ci.yml:1: act cannot run actions/cache: ")
    assert not (checkout.root / ".actrc").exists()
