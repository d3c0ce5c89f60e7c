"""The stand-in: it answers as GitHub does, and nothing passes that GitHub's description forbids."""

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.checkouts import ROOT
from tests.flows.commands import wait_until
from tests.standins import extract_openapi
from tests.standins.extract_openapi import DESCRIPTION_NAME, LICENSE_NAME, extract, find_references
from tests.standins.github import DESCRIPTION_PATH, GitHubStandIn

REPO = "/repos/octo-lab/force-build"
TIMEOUT_S = 30


@pytest.fixture
def server() -> Iterator[GitHubStandIn]:
    """The stand-in, with one pull request: number 1, of branch `x`."""
    with GitHubStandIn() as server:
        server.add_pull_request("x")
        yield server


def ask(server: GitHubStandIn, method: str, path: str, token: str | None = None, **settings: Any) -> requests.Response:
    """Make a request with the right token, or another; none where it is empty."""
    token = server.token if token is None else token
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= settings.pop("headers", {})
    return requests.request(method, f"{server.url}{path}", headers=headers, timeout=TIMEOUT_S, **settings)


def test_comment_lives_when_all_requests_are_sound(server: GitHubStandIn) -> None:
    created = ask(server, "POST", f"{REPO}/issues/1/comments", json={"body": "one"})
    assert created.status_code == 201
    path = created.json()["url"].removeprefix(server.url)
    assert ask(server, "PATCH", path, json={"body": "two"}).json()["body"] == "two"
    (listed,) = ask(server, "GET", f"{REPO}/issues/1/comments").json()
    assert (listed["body"], listed["user"]["login"], listed["user"]["type"]) == ("two", "github-actions[bot]", "Bot")
    assert ask(server, "DELETE", path).status_code == 204
    assert ask(server, "GET", f"{REPO}/issues/1/comments").json() == []
    assert server.violations == []


@pytest.mark.parametrize(
    ("method", "path", "settings", "expected"),
    [
        ("POST", f"{REPO}/issues/1/comments", {}, "request: Missing required request body"),
        ("POST", f"{REPO}/issues/1/comments", {"json": {}}, "$: 'body' is a required property"),
        ("POST", f"{REPO}/issues/1/comments", {"json": {"body": 1}}, "$.body: 1 is not of type 'string'"),
        ("POST", f"{REPO}/issues/1/comments", {"json": {"body": None}}, "$.body: None for not nullable"),
        ("POST", f"{REPO}/issues/1/comments", {"json": ["x"]}, "$: ['x'] is not of type 'object'"),
        ("PATCH", f"{REPO}/issues/comments/1", {"json": {"text": "x"}}, "$: 'body' is a required property"),
        ("POST", f"{REPO}/issues/1/comments", {"data": "body=x"}, "mimetype not found"),
        (
            "POST",
            f"{REPO}/issues/1/comments",
            {"data": "{", "headers": {"Content-Type": "application/json"}},
            "request: Request body validation error",
        ),
        ("GET", f"{REPO}/issues/one/comments", {}, "Path parameter error: issue_number"),
        ("GET", f"{REPO}/issues/1/comments?per_page=many", {}, "Query parameter error: per_page"),
        ("GET", f"{REPO}/pulls?state=merged", {}, "'merged' is not one of ['open', 'closed', 'all']"),
        ("GET", f"{REPO}/pulls?branch=x", {}, "request: unknown query parameter 'branch'"),
        ("PUT", f"{REPO}/issues/1/comments", {"json": {"body": "x"}}, "Operation put not found"),
        ("DELETE", f"{REPO}/pulls", {}, "Operation delete not found"),
        ("GET", f"{REPO}/issues/1/comments/", {}, "request: "),
        ("GET", f"{REPO}/branches", {}, "Path not found"),
        ("GET", "/", {}, "Path not found"),
        ("GET", "/repos//force-build/pulls", {}, "no such operation"),
        ("GET", "/api/v3/user", {}, "Server not found"),
    ],
)
def test_request_is_a_violation_when_the_description_forbids_it(
    server: GitHubStandIn, method: str, path: str, settings: dict[str, Any], expected: str
) -> None:
    answer = ask(server, method, path, **settings)
    assert answer.status_code == 500
    assert len(server.violations) == 1
    assert server.violations[0].startswith(f"{method} {path}: request: ")
    assert expected in server.violations[0]
    assert answer.json()["message"] == server.violations[0].removeprefix(f"{method} {path}: ")
    assert server.comments == []


@pytest.mark.parametrize(
    ("method", "path", "status", "fault", "expected"),
    [
        ("GET", f"{REPO}/issues/1/comments", 200, {"body": "[{}]"}, "$[0]: 'id' is a required property"),
        ("GET", f"{REPO}/issues/1/comments", 200, {"body": "{}"}, "$: {} is not of type 'array'"),
        ("GET", f"{REPO}/pulls", 200, {"body": '[{"number": "1"}]'}, "$[0].number: '1' is not of type 'integer'"),
        ("GET", f"{REPO}/pulls", 200, {"body": ""}, "Missing response data"),
        ("GET", f"{REPO}/pulls", 200, {"body": "[", "content_type": "text/html"}, "mimetype not found: text/html"),
        ("GET", f"{REPO}/pulls", 204, {"body": ""}, "Unknown response http status: 204"),
        ("GET", f"{REPO}/pulls", 422, {"body": '{"message": "x"}'}, "$: 'documentation_url' is a required property"),
        ("GET", f"{REPO}/pulls", 403, {"body": '{"message": 1}'}, "$.message: 1 is not of type 'string'"),
        ("GET", f"{REPO}/pulls", 403, {"body": "no", "content_type": "text/html"}, "mimetype not found: text/html"),
        ("GET", "/user", 200, {"body": "{}"}, "user_view_type"),
    ],
)
def test_response_is_a_violation_when_the_description_forbids_it(
    server: GitHubStandIn, method: str, path: str, status: int, fault: dict[str, Any], expected: str
) -> None:
    server.fail(status, **fault)
    assert ask(server, method, path).status_code == 500
    assert server.violations[0].startswith(f"{method} {path}: response: ")
    assert expected in server.violations[0]


def test_fault_of_its_own_is_a_violation(server: GitHubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "pull_requests", None)
    assert ask(server, "GET", f"{REPO}/pulls").status_code == 500
    assert "the stand-in failed: TypeError" in server.violations[0]


@pytest.mark.parametrize(("token", "message"), [("wrong", "Bad credentials"), ("", "Requires authentication")])
def test_request_is_refused_when_its_token_is_not_right(server: GitHubStandIn, token: str, message: str) -> None:
    answer = ask(server, "POST", f"{REPO}/issues/1/comments", token, json={"body": "x"})
    assert (answer.status_code, answer.json()["message"]) == (401, message)
    assert server.comments == []
    assert server.violations == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/repos/other/force-build/pulls"),
        ("GET", f"{REPO}/issues/2/comments"),
        ("POST", f"{REPO}/issues/2/comments"),
        ("PATCH", f"{REPO}/issues/comments/9"),
        ("DELETE", f"{REPO}/issues/comments/9"),
    ],
)
def test_answer_is_not_found_when_there_is_no_such_thing(server: GitHubStandIn, method: str, path: str) -> None:
    answer = ask(server, method, path, json={"body": "x"} if method in ("POST", "PATCH") else None)
    assert (answer.status_code, answer.json()["message"]) == (404, "Not Found")
    assert server.violations == []


@pytest.mark.parametrize("body", [" ", "x" * 65_537])
def test_comment_is_refused_when_github_would_not_take_it(server: GitHubStandIn, body: str) -> None:
    assert ask(server, "POST", f"{REPO}/issues/1/comments", json={"body": body}).status_code == 422
    comment = server.add_comment(1, "first")
    assert ask(server, "PATCH", f"{REPO}/issues/comments/{comment}", json={"body": body}).status_code == 422
    assert server.bodies(1) == ["first"]
    assert server.violations == []


def test_pages_lead_to_each_other_when_there_are_several(server: GitHubStandIn) -> None:
    for count in range(250):
        server.add_comment(1, str(count))
    first = ask(server, "GET", f"{REPO}/issues/1/comments?per_page=500")
    assert len(first.json()) == 100
    assert set(first.links) == {"next", "last"}
    second = ask(server, "GET", first.links["next"]["url"].removeprefix(server.url))
    assert set(second.links) == {"prev", "next", "last", "first"}
    third = ask(server, "GET", second.links["next"]["url"].removeprefix(server.url))
    assert set(third.links) == {"prev", "first"}
    assert [item["body"] for page in (first, second, third) for item in page.json()] == [str(n) for n in range(250)]
    assert ask(server, "GET", f"{REPO}/issues/1/comments?page=99").json() == []
    assert len(ask(server, "GET", f"{REPO}/issues/1/comments").json()) == 30
    assert server.violations == []


def test_pull_requests_are_filtered_as_github_does(server: GitHubStandIn) -> None:
    server.add_pull_request("x", state="closed")
    server.add_pull_request("y", "x", head_repository="mallory/fork")
    server.add_pull_request("z", head_repository=None)
    found = {
        query: [pull["number"] for pull in ask(server, "GET", f"{REPO}/pulls{query}").json()]
        for query in (
            "",
            "?state=all",
            "?head=octo-lab:x",
            "?head=Octo-Lab:x&state=closed",
            "?head=mallory:y",
            "?head=x",
        )
    }
    assert found == {
        "": [4, 3, 1],
        "?state=all": [4, 3, 2, 1],
        "?head=octo-lab:x": [1],
        "?head=Octo-Lab:x&state=closed": [2],
        "?head=mallory:y": [3],
        "?head=x": [4, 3, 1],  # it is no filter without an owner
    }
    bases = [pull["base"]["label"] for pull in ask(server, "GET", f"{REPO}/pulls").json()]
    assert bases == ["octo-lab:main", "octo-lab:x", "octo-lab:main"]
    assert server.violations == []


def test_only_a_person_is_a_user() -> None:
    with GitHubStandIn() as server:
        assert ask(server, "GET", "/user").status_code == 403
        assert server.violations == []
    with GitHubStandIn(login="ada") as server:
        assert ask(server, "GET", "/user").json()["login"] == "ada"
        assert server.violations == []


def test_errors_come_in_order_when_several_are_wanted(server: GitHubStandIn) -> None:
    server.fail(403, "no", method="POST", is_late=True)
    server.fail(502, body="<p>", content_type="text/html", times=2)
    comments = f"{REPO}/issues/1/comments"
    statuses = [ask(server, "GET", comments).status_code, ask(server, "POST", comments, json={"body": "x"}).status_code]
    statuses += [ask(server, "GET", comments).status_code for _ in range(2)]
    assert statuses == [502, 403, 502, 200]
    assert server.bodies(1) == ["x"]
    assert server.violations == []


def test_answer_passes_when_it_is_anothers(server: GitHubStandIn) -> None:
    server.fail(200, body="<html>Log in</html>", content_type="text/html", is_foreign=True)
    assert ask(server, "GET", f"{REPO}/pulls").text == "<html>Log in</html>"
    assert server.violations == []


def test_state_is_told_when_asked_for_in_a_process(tmp_path: Path) -> None:
    state = {
        "pull_requests": [{"number": 7, "branch": "x", "head_repository": "o/r", "state": "open", "base": "z"}],
        "comments": [{"id": 9, "number": 7, "body": "hello", "login": "octocat"}],
    }
    (tmp_path / "load.json").write_text(json.dumps(state))
    places = {"--port-file": "address", "--load": "load.json", "--dump": "dump.json"}
    options = [part for option, name in places.items() for part in (option, str(tmp_path / name))]
    command = [sys.executable, "-m", "tests.standins.github", "--repository", "o/r", "--token", "s3cret", *options]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until((tmp_path / "address").exists, "the address")
            url = (tmp_path / "address").read_text()
            headers = {"Authorization": "token s3cret"}
            comments = f"{url}/repos/o/r/issues/7/comments"
            sent = requests.post(comments, json={"body": "hi"}, headers=headers, timeout=TIMEOUT_S)
            assert sent.status_code == 201
            assert requests.get(f"{url}/nowhere", headers=headers, timeout=TIMEOUT_S).status_code == 500
            told = requests.get(f"{url}/_state", timeout=TIMEOUT_S).json()
        finally:
            _, errors = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, errors) == (0, "")
    assert json.loads((tmp_path / "dump.json").read_text()) == told
    hello, hi = told["comments"]
    assert told["pull_requests"] == state["pull_requests"]
    assert hello == state["comments"][0]
    assert hi == {"id": 10, "number": 7, "body": "hi", "login": "github-actions[bot]"}
    assert told["requests"] == ["POST /repos/o/r/issues/7/comments", "GET /nowhere"]
    assert told["violations"] == ["GET /nowhere: request: Path not found for https://api.github.com/nowhere"]


def test_description_is_closed_and_small() -> None:
    document = json.loads(DESCRIPTION_PATH.read_text())
    for reference in find_references(document):
        _, _, kind, name = reference.split("/")
        assert name in document["components"][kind]
    assert DESCRIPTION_PATH.stat().st_size < 300_000
    assert document["info"]["version"] in (extract_openapi.__doc__ or "")


def test_description_is_the_same_when_it_is_extracted_again(tmp_path: Path) -> None:
    document = json.loads(DESCRIPTION_PATH.read_text())
    whole = json.loads(DESCRIPTION_PATH.read_text())
    whole["paths"]["/zen"] = {"get": {"responses": {"200": {"description": "wise words"}}}}
    whole["components"]["schemas"]["zen"] = {"type": "string"}
    whole["paths"]["/user"]["delete"] = {}
    whole["paths"]["/user"]["get"]["summary"] = "for people"
    assert extract(whole) == document
    license_text = (DESCRIPTION_PATH.parent / LICENSE_NAME).read_bytes()
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        for name, content in (("generated/api.github.com.json", json.dumps(whole).encode()), ("LICENSE", license_text)):
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    extract_openapi.main(str(tmp_path / "package.tgz"), tmp_path)
    assert (tmp_path / DESCRIPTION_NAME).read_bytes() == DESCRIPTION_PATH.read_bytes()
    assert (tmp_path / LICENSE_NAME).read_bytes() == license_text
    assert b"MIT License" in license_text
