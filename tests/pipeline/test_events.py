"""Events of GitHub: what their payloads say, and what nobody may say in them."""

from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.events import Event, parse_event, split_names

REPOSITORY = {"default_branch": "main", "full_name": "octo-lab/force-build"}
COMMIT = "1f" * 20


def parse(name: str, ref_name: str = "topic", head_ref: str = "", **payload: Any) -> Event:
    return parse_event(name, {"repository": REPOSITORY, **payload}, ref_name, head_ref)


def test_push_has_what_the_branch_was_before_when_it_goes_on() -> None:
    assert parse("push", before=COMMIT) == Event("push", "topic", before=COMMIT, default_branch="main")


@pytest.mark.parametrize("before", ["0" * 40, "0" * 64, "", None])
def test_push_has_nothing_before_when_the_branch_is_new(before: str | None) -> None:
    assert parse("push", before=before).before == ""


def test_push_deletes_when_the_payload_says_so() -> None:
    assert parse("push", before=COMMIT, deleted=True).is_deletion
    assert not parse("push", before=COMMIT, deleted=False).is_deletion


def test_push_is_of_the_branch_alone_when_there_is_no_payload() -> None:
    assert parse_event("push", {}, "topic", "") == Event("push", "topic")


def test_pull_request_has_both_its_branches_and_its_number() -> None:
    pull_request = {"number": 7, "head": {"ref": "topic"}, "base": {"ref": "develop"}}
    expected = Event("pull_request", "topic", default_branch="main", base_branch="develop", number=7)
    assert parse("pull_request", "7/merge", "topic", pull_request=pull_request) == expected
    assert parse("pull_request", "7/merge", "", pull_request=pull_request) == expected


@pytest.mark.parametrize("pull_request", [None, [], "7", {"number": 7}, {"head": None, "base": []}])
def test_pull_request_is_refused_when_its_payload_has_none(pull_request: Any) -> None:
    with pytest.raises(UsageError, match=r"^the payload has no pull request with a head and a base$"):
        parse("pull_request", "7/merge", "topic", pull_request=pull_request)


@pytest.mark.parametrize("number", [None, "7", [7]])
def test_pull_request_has_no_number_when_that_is_none(number: Any) -> None:
    pull_request = {"number": number, "head": {"ref": "topic"}, "base": {"ref": []}}
    event = parse("pull_request", "7/merge", "topic", pull_request=pull_request)
    assert (event.branch, event.base_branch, event.number) == ("topic", "", 0)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("wide_net", ("wide_net",)),
        (" wide_net,residual_net\n x ", ("wide_net", "residual_net", "x")),
        ("all", ()),
        ("all x", ("all", "x")),
        ("", ()),
    ],
)
def test_experiments_are_those_named_when_somebody_asks_by_hand(text: str, names: tuple[str, ...]) -> None:
    assert split_names(text) == names
    assert parse("workflow_dispatch", inputs={"experiments": text}).experiments == names


@pytest.mark.parametrize("name", ["$(touch x)", "a;b", "../x", "--help", "x:train", "größe", "1x", "`x`", "x" * 101])
def test_name_is_refused_when_none_can_be_called_so(name: str) -> None:
    with pytest.raises(UsageError, match=r"^'.{1,80}' cannot be the name of an experiment$"):
        parse("workflow_dispatch", inputs={"experiments": f"wide_net {name}"})


def test_event_is_refused_when_no_workflow_of_ours_starts_on_it() -> None:
    with pytest.raises(UsageError, match=r"^the event 'issue_comment' plans nothing$"):
        parse("issue_comment")
