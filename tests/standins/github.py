"""A stand-in for GitHub's REST API: one repository's pull requests, comments and statuses, in memory, on loopback.

Its commits are those of a git repository, where it is given one.

Every request and response is held against GitHub's own description (github_openapi.json, made by extract_openapi.py).
What breaks it is kept in `violations` and answered with status 500. It also behaves as GitHub does where the
description is silent: links to pages by the repository's number, a filter that it cannot read is no filter, a
repository's own token has no user.

    python -m tests.standins.github --port-file F [--load STATE.json] [--dump STATE.json]

writes its address to F, and ends, writing its state, when its standard input does.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from tests.standins.answers import (
    Comment,
    Fault,
    PullRequest,
    Status,
    answer,
    is_bot,
    owner_of,
    refuse,
    refuse_body,
    show_combined,
    show_comment,
    show_pull_request,
    show_status,
)
from tests.standins.contract import read_contract
from tests.standins.extract_openapi import DESCRIPTION_NAME

DESCRIPTION_PATH = Path(__file__).parent / DESCRIPTION_NAME
REPOSITORY_ID = 1296269
BOT = "github-actions[bot]"
MAX_DESCRIPTION_CHARS = 140
NOT_ACCESSIBLE = "Resource not accessible by integration"


class GitHubStandIn:
    """The server; it runs from entering to leaving the context."""

    def __init__(self, repository: str = "octo-lab/force-build", token: str = "t0k3n", login: str = BOT) -> None:
        self.repository = repository
        self.token = token
        self.login = login  # whose token it is
        self.pull_requests: list[PullRequest] = []
        self.comments: list[Comment] = []
        self.statuses: list[Status] = []
        self.git_dir: Path | None = None
        self.requests: list[str] = []
        self.violations: list[str] = []
        self._faults: list[Fault] = []
        self._next = 1  # number of a pull request, id of a comment
        self._contract = read_contract(DESCRIPTION_PATH)
        self._lock = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=_QuietHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._operations: dict[str, Callable[..., Response]] = {
            "pulls/list": self._list_pull_requests,
            "issues/list-comments": self._list_comments,
            "issues/create-comment": self._create_comment,
            "issues/update-comment": self._update_comment,
            "issues/delete-comment": self._delete_comment,
            "repos/create-commit-status": self._create_status,
            "repos/get-combined-status-for-ref": self._get_combined_status,
            "users/get-authenticated": self._get_user,
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The address that takes the place of https://api.github.com."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def add_pull_request(
        self, branch: str, base: str = "main", *, head_repository: str | None = "", state: str = "open"
    ) -> int:
        """Open a pull request and return its number. `head_repository`: "" is this very one, None one that is gone."""
        head = self.repository if head_repository == "" else head_repository
        self.pull_requests.append(PullRequest(self._take_number(), branch, head, state, base))
        return self.pull_requests[-1].number

    def add_comment(self, number: int, body: str, login: str | None = "octocat") -> int:
        """Comment on a pull request and return the comment's id. `login`: x[bot] is a bot, None is gone."""
        self.comments.append(Comment(self._take_number(), number, body, login))
        return self.comments[-1].id

    def fail(self, status: int, message: str = "", *, times: int = 1, **settings: Any) -> None:
        """Answer the next requests with an error; see `Fault` for more settings."""
        settings.setdefault("body", json.dumps({"message": message} if message else {}))
        self._faults += [Fault(status, **settings) for _ in range(times)]

    def bodies(self, number: int) -> list[str]:
        """Return the texts of a pull request's comments."""
        return [comment.body for comment in self.comments if comment.number == number]

    def said_of(self, sha: str) -> dict[str, str]:
        """Return name → state of a commit's statuses, the newest of each."""
        return {status.context: status.state for status in self.statuses if status.sha == sha}

    def dump(self) -> dict[str, Any]:
        """Return all that there is and was, as JSON takes it."""
        return {
            "pull_requests": [asdict(pull_request) for pull_request in self.pull_requests],
            "comments": [asdict(comment) for comment in self.comments],
            "statuses": [asdict(status) for status in self.statuses],
            "requests": self.requests,
            "violations": self.violations,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over the pull requests, comments and statuses of a dump."""
        self.pull_requests = [PullRequest(**item) for item in state.get("pull_requests", [])]
        self.comments = [Comment(**item) for item in state.get("comments", [])]
        self.statuses = [Status(**item) for item in state.get("statuses", [])]
        self._next = 1 + max([0, *(p.number for p in self.pull_requests), *(c.id for c in self.comments)])

    def _take_number(self) -> int:
        self._next += 1
        return self._next - 1

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        with self._lock:
            own = f"/repositories/{REPOSITORY_ID}/"
            if environ["PATH_INFO"].startswith(own):
                environ["PATH_INFO"] = f"/repos/{self.repository}/{environ['PATH_INFO'].removeprefix(own)}"
            request = Request(environ)
            response = answer(200, self.dump()) if request.path == "/_state" else self._answer_checked(request)
            return response(environ, start_response)

    def _answer_checked(self, request: Request) -> Response:
        asked = f"{request.method} {request.full_path.rstrip('?')}"
        self.requests.append(asked)
        faults = [f"request: {fault}" for fault in self._contract.find_request_faults(request)]
        if not faults:
            try:
                response, is_foreign = self._respond(request)
                if is_foreign:
                    return response
                faults = [f"response: {fault}" for fault in self._contract.find_response_faults(request, response)]
            except Exception as error:  # else nobody would read of it
                faults = [f"the stand-in failed: {error!r}"]
        if not faults:
            return response
        self.violations += [f"{asked}: {fault}" for fault in faults]
        return refuse(500, "; ".join(faults))

    def _respond(self, request: Request) -> tuple[Response, bool]:
        """Return the response, and whether it is another's than GitHub's."""
        fault = next((fault for fault in self._faults if fault.method in ("", request.method)), None)
        if fault is None:
            return self._do(request), False
        self._faults.remove(fault)
        if fault.is_late:
            self._do(request)
        response = Response(fault.body, fault.status, fault.headers, content_type=fault.content_type)
        return response, fault.is_foreign

    def _do(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() not in ("bearer", "token") or token != self.token:
            return refuse(401, "Bad credentials" if token else "Requires authentication")
        operation, names = self._contract.route(request)
        repository = f"{names.pop('owner', '')}/{names.pop('repo', '')}"
        if repository not in ("/", self.repository):
            return refuse(404, "Not Found")
        numbers = {name: int(value) for name, value in names.items() if name.endswith(("_number", "_id"))}
        return self._operations[operation](request, **(names | numbers))

    def _list_pull_requests(self, request: Request) -> Response:
        state, head = request.args.get("state", "open"), request.args.get("head", "")
        owner, colon, branch = head.partition(":")
        found = [
            pull_request
            for pull_request in reversed(self.pull_requests)
            if state in ("all", pull_request.state)
            and (not colon or branch == pull_request.branch)
            and (not colon or owner.casefold() == owner_of(pull_request.head_repository).casefold())
        ]
        return self._answer_page(
            request, [show_pull_request(self._contract, self.repository, pull_request) for pull_request in found]
        )

    def _list_comments(self, request: Request, issue_number: int) -> Response:
        if not self._has_pull_request(issue_number):
            return refuse(404, "Not Found")
        found = [comment for comment in self.comments if comment.number == issue_number]
        return self._answer_page(request, [self._show(comment) for comment in found])

    def _create_comment(self, request: Request, issue_number: int) -> Response:
        if not self._has_pull_request(issue_number):
            return refuse(404, "Not Found")
        body = json.loads(request.data)["body"]
        if refusal := refuse_body(body):
            return refusal
        self.add_comment(issue_number, body, self.login)
        return answer(201, self._show(self.comments[-1]))

    def _update_comment(self, request: Request, comment_id: int) -> Response:
        comment = self._find_comment(comment_id)
        body = json.loads(request.data)["body"]
        if comment is None:
            return refuse(404, "Not Found")
        if refusal := refuse_body(body):
            return refusal
        comment.body = body
        return answer(200, self._show(comment))

    def _delete_comment(self, request: Request, comment_id: int) -> Response:
        comment = self._find_comment(comment_id)
        if comment is None:
            return refuse(404, "Not Found")
        self.comments.remove(comment)
        return Response(status=204)

    def _create_status(self, request: Request, sha: str) -> Response:
        if not self._find_commit(sha):
            return refuse(422, f"No commit found for SHA: {sha}")
        said = json.loads(request.data)
        status = Status(
            sha, said.get("context", "default"), said["state"], said.get("description"), said.get("target_url")
        )
        if len(status.description or "") > MAX_DESCRIPTION_CHARS:
            error = {"resource": "Status", "field": "description", "code": "custom"}
            message = f"description is too long (maximum is {MAX_DESCRIPTION_CHARS} characters)"
            return refuse(422, "Validation Failed", errors=[{**error, "message": message}])
        self.statuses.append(status)
        return answer(201, show_status(self._contract, self._place, status))

    def _get_combined_status(self, request: Request, ref: str) -> Response:
        sha = self._find_commit(ref)
        if not sha:
            return refuse(404, "Not Found")
        return answer(200, show_combined(self._contract, self._place, sha, self.statuses))

    def _find_commit(self, revision: str) -> str:
        """Return the full name of a commit, nothing where git knows none."""
        if self.git_dir is None:
            return ""
        command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
        return subprocess.run(command, cwd=self.git_dir, capture_output=True, text=True).stdout.strip()

    def _get_user(self, request: Request) -> Response:
        if is_bot(self.login):
            return refuse(403, NOT_ACCESSIBLE)
        user = self._contract.example("private-user-response-with-public-and-private-profile-information")
        return answer(200, {**user, "login": self.login, "user_view_type": "private"})

    def _show(self, comment: Comment) -> dict[str, Any]:
        return show_comment(self._contract, self._place, comment)

    @property
    def _place(self) -> str:
        return f"{self.url}/repos/{self.repository}"

    def _has_pull_request(self, number: int) -> bool:
        return any(pull_request.number == number for pull_request in self.pull_requests)

    def _find_comment(self, comment_id: int) -> Comment | None:
        return next((comment for comment in self.comments if comment.id == comment_id), None)

    def _answer_page(self, request: Request, items: list[Any]) -> Response:
        size = min(int(request.args.get("per_page", 30)), 100)
        page, last = int(request.args.get("page", 1)), max(1, -(-len(items) // size))
        links = {"prev": page - 1, "next": page + 1, "last": last, "first": 1}
        known = {rel: n for rel, n in links.items() if 1 <= n <= last and (n < page) == (rel in ("prev", "first"))}
        path = f"{self.url}/repositories/{REPOSITORY_ID}/{request.path.split('/', 4)[4]}"
        shown = [
            f'<{path}?{urlencode({**request.args, "page": n})}>; rel="{rel}"' for rel, n in known.items() if n != page
        ]
        headers = {"Link": ", ".join(shown)} if shown else {}
        return answer(200, items[(page - 1) * size : page * size], headers)


class _QuietHandler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing of each request."""


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.standins.github")
    parser.add_argument("--port-file", type=Path, required=True, help="where to write the address")
    parser.add_argument("--load", type=Path, help="a state to start from")
    parser.add_argument("--dump", type=Path, help="where to write the state in the end")
    parser.add_argument("--repository", default="octo-lab/force-build")
    parser.add_argument("--token", default="t0k3n")
    parser.add_argument("--login", default=BOT, help="whose token it is")
    options = parser.parse_args()
    with GitHubStandIn(options.repository, options.token, options.login) as server:
        if options.load:
            server.load(json.loads(options.load.read_text()))
        partial = options.port_file.with_suffix(".partial")
        partial.write_text(server.url)
        os.replace(partial, options.port_file)  # who waits for the file never reads half of it
        sys.stdin.read()
    if options.dump:
        options.dump.write_text(json.dumps(server.dump(), indent=1))


if __name__ == "__main__":
    main()
