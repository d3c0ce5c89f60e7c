"""What GitHub keeps and how it answers: the records of the stand-in, and their form in JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from werkzeug.wrappers import Response

from tests.standins.contract import Contract

MAX_BODY_CHARS = 65_536


@dataclass
class PullRequest:
    """A pull request; its head may be in another repository, or in one that is gone. Its base is a branch here."""

    number: int
    branch: str
    head_repository: str | None
    state: str = "open"
    base: str = "main"


@dataclass
class Comment:
    """A comment on a pull request; its author's account may be gone."""

    id: int
    number: int
    body: str
    login: str | None


@dataclass
class Status:
    """What somebody says of a commit, under a name."""

    sha: str
    context: str
    state: str
    description: str | None
    target_url: str | None


@dataclass
class Fault:
    """An answer instead of the one that a request should get.

    `method`: only to requests of that kind. `is_late`: what is asked is done nevertheless. `is_foreign`: it comes from
    somebody else than GitHub, whose answers nothing describes.
    """

    status: int
    body: str
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    is_late: bool = False
    is_foreign: bool = False


def show_pull_request(contract: Contract, repository: str, pull_request: PullRequest) -> dict[str, Any]:
    """Return a pull request as it is listed in a repository."""
    (shown,) = contract.example("pull-request-simple-items")
    head: dict[str, Any] = {"ref": pull_request.branch, "label": None, "user": None, "repo": None}
    if pull_request.head_repository:
        head["label"] = f"{owner_of(pull_request.head_repository)}:{pull_request.branch}"
        head["user"] = shown["head"]["user"]
        head["repo"] = {**shown["head"]["repo"], "full_name": pull_request.head_repository}
    shown["head"] |= head
    shown["base"] |= {"ref": pull_request.base, "label": f"{owner_of(repository)}:{pull_request.base}"}
    shown["base"]["repo"]["full_name"] = repository
    return shown | {"number": pull_request.number, "state": pull_request.state, "requested_teams": []}


def show_comment(contract: Contract, place: str, comment: Comment) -> dict[str, Any]:
    """Return a comment of the repository that is found at the address `place`."""
    shown: dict[str, Any] = contract.example("issue-comment")
    if comment.login is None:
        shown["user"] = None
    else:
        shown["user"] |= {"login": comment.login, "type": "Bot" if is_bot(comment.login) else "User"}
    urls = {"url": f"{place}/issues/comments/{comment.id}", "issue_url": f"{place}/issues/{comment.number}"}
    return shown | urls | {"id": comment.id, "body": comment.body}


def show_status(contract: Contract, place: str, status: Status) -> dict[str, Any]:
    """Return a status that was just made, in the repository that is found at the address `place`."""
    shown: dict[str, Any] = contract.example("status")
    said = {"context": status.context, "state": status.state}
    said |= {"description": status.description, "target_url": status.target_url}
    return shown | said | {"url": f"{place}/statuses/{status.sha}"}


def show_combined(contract: Contract, place: str, sha: str, statuses: list[Status]) -> dict[str, Any]:
    """Return what the newest statuses of a commit, one a name, say together."""
    shown: dict[str, Any] = contract.example("combined-commit-status")
    (example, *_) = shown["statuses"]
    latest = {status.context: status for status in statuses if status.sha == sha}
    states = {status.state for status in latest.values()}
    together = "failure" if states & {"failure", "error"} else "success" if states == {"success"} else "pending"
    items = [
        {key: value for key, value in show_status(contract, place, status).items() if key in example}
        for status in latest.values()
    ]
    return shown | {"sha": sha, "state": together, "statuses": items, "total_count": len(items)}


def owner_of(repository: str | None) -> str:
    """Return the owner of a repository, nothing for one that is gone."""
    return (repository or "").partition("/")[0]


def is_bot(login: str) -> bool:
    """Say whether a login is a bot's."""
    return login.endswith("[bot]")


def answer(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response of JSON."""
    return Response(json.dumps(content), status, headers, content_type="application/json; charset=utf-8")


def refuse(status: int, message: str, **more: Any) -> Response:
    """Return an error in the form that all of GitHub's have."""
    return answer(status, {"message": message, "documentation_url": "https://docs.github.com/rest", **more})


def refuse_body(body: str) -> Response | None:
    """Return the error for a comment's text that GitHub does not take, None for one that it does."""
    error = {"resource": "IssueComment", "code": "unprocessable", "field": "data"}
    if len(body) > MAX_BODY_CHARS:
        message = f"Body is too long (maximum is {MAX_BODY_CHARS} characters)"
    elif not body.strip():
        message = "Body cannot be blank"
    else:
        return None
    return refuse(422, "Validation Failed", errors=[{**error, "message": message}])
