"""`force ci reap`: a job ends its own containers, and no others."""

from collections.abc import Callable

import pytest

from tests.checkouts import Checkout, Ended
from tests.engines import use_engine

Force = Callable[..., Ended]


def test_only_the_jobs_own_containers_go_when_it_ends(
    checkout: Checkout, force: Force, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = use_engine(monkeypatch)
    here = {"force-build.workspace": str(checkout.root)}
    engine.containers = {
        "mine": {"force-build.job": "12-1-x", "force-build.stage": "train", **here},
        "another_jobs": {"force-build.job": "12-1-xy", **here},
        "another_checkouts": {"force-build.job": "12-1-x", "force-build.workspace": "/elsewhere"},
        "nobodys": {},
    }
    monkeypatch.setenv("FORCE_JOB", "12-1-x")
    assert force("ci", "reap") == Ended(0, "removed mine\n", "")
    assert force("ci", "reap") == Ended(0, "no containers are left\n", "")
    assert list(engine.containers) == ["another_jobs", "another_checkouts", "nobodys"]


@pytest.mark.parametrize("job", [None, ""])
def test_nothing_goes_when_no_job_is_named(force: Force, monkeypatch: pytest.MonkeyPatch, job: str | None) -> None:
    engine = use_engine(monkeypatch)
    engine.containers = {"nobodys": {}}
    if job is not None:
        monkeypatch.setenv("FORCE_JOB", job)
    ended = force("ci", "reap")
    assert ended.status == 2
    assert ended.err.startswith("error: FORCE_JOB is not set\n")
    assert list(engine.containers) == ["nobodys"]
