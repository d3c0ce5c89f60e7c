"""What we ask of GitHub's REST API: which pull requests a branch has, the one comment of each, what is said of commits.

Whatever keeps an answer away is a PublishError that says what was asked and what GitHub said, never the token.
"""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.client import responses
from typing import Any, Literal, Self, TypeVar

import requests
from github import Auth, Github, GithubException, IncompletableObject
from github.Commit import Commit
from github.IssueComment import IssueComment
from github.PullRequest import PullRequest
from github.Requester import Requester

from pipeline.comments import is_ours
from pipeline.errors import PublishError, find_reason
from pipeline.events import OpenPullRequest
from pipeline.verdicts import Verdict

T = TypeVar("T")
Published = Literal["created", "updated", "unchanged"]

API_URL = "https://api.github.com"
PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # before the second attempt, the third …
MAX_PAUSE_S = 120.0  # a job that waits longer costs more than one that is run again
RATE_LIMIT_PAUSE_S = 60.0  # what GitHub asks for where it names no time
WRITES_PAUSE_S = 1.0  # what GitHub asks for between two changes
MAX_REASON_CHARS = 300
MAX_DESCRIPTION_CHARS = 140  # of a status; GitHub takes no more

UNREACHABLE = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)

HINTS = {
    401: "GITHUB_TOKEN is wrong or no longer valid",
    403: "give the job `permissions: {scope}: write`; the token of a fork's pull request may only read",
    404: "it is not there, or the token may not see it: the job needs `permissions: {scope}: write`",
    422: "GitHub does not take what was sent; the summary of the job has the report",
}


class GitHub:
    """One repository on GitHub, as the owner of a token sees it. What fails for the moment is tried again."""

    def __init__(
        self, api_url: str, token: str, repository: str, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        _check(api_url, token, repository)
        self._repository_name = repository
        self._api_url = api_url
        self._token = token
        self._sleep = sleep
        self._client = Github(
            auth=Auth.Token(token),
            base_url=api_url.rstrip("/"),
            user_agent="force-build",
            per_page=100,
            lazy=True,  # an object is asked for only when something is read that is not known yet
            retry=None,  # we try whole actions again: to repeat a lost "create" by itself could make two comments
            seconds_between_requests=None,
            seconds_between_writes=None,
        )
        self._repository = self._client.get_repo(repository)
        self._login: str | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """Return the repository that a workflow runs for. Raises PublishError where a variable is missing."""
        missing = [name for name in ("GITHUB_TOKEN", "GITHUB_REPOSITORY") if not os.environ.get(name)]
        if missing:
            hint = "in a workflow: `env: GITHUB_TOKEN: ${{ github.token }}`; GITHUB_REPOSITORY is always there"
            raise PublishError(f"{' and '.join(missing)} not set in the environment", hint)
        api_url = os.environ.get("GITHUB_API_URL") or API_URL
        return cls(api_url, os.environ["GITHUB_TOKEN"].strip(), os.environ["GITHUB_REPOSITORY"])

    def find_pull_requests(self, branch: str) -> list[OpenPullRequest]:
        """Return the open pull requests of a branch of this very repository, the newest first."""
        return self._persist(lambda: self._find_pull_requests(branch))

    def publish_comment(self, number: int, body: str) -> Published:
        """Make a pull request's one comment say `body`, made with `build_body`, and return what that took.

        Of several comments of ours the first stays. One that a person wrote is never ours, whatever it quotes.
        """
        if not is_ours(body):
            raise ValueError("a comment without its marker would never be found again")
        return self._persist(lambda: self._publish(number, body))

    def set_status(self, sha: str, context: str, verdict: Verdict) -> None:
        """Let a commit have a status of the name `context`, which branch rules can require."""
        commit = self._refer_to(sha)
        self._persist(
            lambda: self._ask(
                f"set the status of {sha[:10]} in {self._repository_name}",
                lambda: commit.create_status(
                    verdict.state, verdict.url, verdict.description[:MAX_DESCRIPTION_CHARS], context
                ),
                "statuses",
            )
        )

    def find_status(self, sha: str, context: str) -> Verdict | None:
        """Return the newest status of the name `context` that a commit has."""
        what = f"read the status of {sha[:10]} in {self._repository_name}"
        url = f"{self._repository.url}/commits/{sha}/status"
        # PyGithub's own method asks for thirty names.
        query = {"per_page": 100}
        _, combined = self._persist(
            lambda: self._ask(
                what, lambda: self._client.requester.requestJsonAndCheck("GET", url, parameters=query), "statuses"
            )
        )
        found = [status for status in combined["statuses"] if status["context"] == context]
        return (
            Verdict(found[0]["state"], found[0]["description"] or "", found[0]["target_url"] or "") if found else None
        )

    def _refer_to(self, sha: str) -> Commit:
        """Return a commit without asking for it."""
        known = {"sha": sha, "url": f"{self._repository.url}/commits/{sha}"}
        return self._client.create_from_raw_data(Commit, known)

    def _find_pull_requests(self, branch: str) -> list[OpenPullRequest]:
        head = f"{self._repository_name.partition('/')[0]}:{branch}"
        pulls = self._repository.get_pulls(state="open", head=head)
        found = self._ask(
            f"find the pull requests of branch '{branch}' in {self._repository_name}",
            lambda: [(_read_pull(pull), pull.head.ref, _name_source(pull)) for pull in pulls],
        )
        # GitHub shows all where it cannot read the filter, and an owner may have two forks of one repository.
        here = self._repository_name.casefold()
        return [pull for pull, ref, source in found if (ref, source.casefold()) == (branch, here)]

    def _publish(self, number: int, body: str) -> Published:
        ours = self._find_comments(number)
        if not ours:
            self._create(number, body)
            return "created"
        first, *others = ours
        is_new = _normalise(first.body) != _normalise(body)
        if is_new:
            self._update(number, first.id, body)
        for comment in others:
            self._sleep(WRITES_PAUSE_S)
            self._delete(number, comment.id)
        return "updated" if is_new or others else "unchanged"

    def _find_comments(self, number: int) -> list["_Comment"]:
        """Return our comments on a pull request, the oldest first: a bot's, or those of the person with our token."""
        comments = self._repository.get_issue(number).get_comments()
        found = self._ask(
            f"read the comments of {self._place(number)}",
            lambda: [_read_comment(comment) for comment in comments],
        )
        marked = [comment for comment in found if is_ours(comment.body)]
        return [comment for comment in marked if comment.is_from_bot or comment.login == self._read_login()]

    def _read_login(self) -> str:
        """Return the login of the token's owner; a repository's own token has none."""
        if self._login is None:
            try:
                self._login = self._ask("read whose token it is", lambda: self._client.get_user().login)
            except _RefusedError as error:
                if error.status != HTTPStatus.FORBIDDEN:
                    raise
                self._login = ""
        return self._login

    def _create(self, number: int, body: str) -> None:
        what = f"create a comment on {self._place(number)}"
        comment = self._ask(what, lambda: self._repository.get_issue(number).create_comment(body))
        self._check_answer(what, comment)

    def _update(self, number: int, comment_id: int, body: str) -> None:
        what = f"update comment {comment_id} on {self._place(number)}"
        comment = self._repository.get_issue(number).get_comment(comment_id)
        self._ask(what, lambda: comment.edit(body))
        self._check_answer(what, comment)

    def _delete(self, number: int, comment_id: int) -> None:
        comment = self._repository.get_issue(number).get_comment(comment_id)
        try:
            self._ask(f"delete comment {comment_id} on {self._place(number)}", comment.delete)
        except _RefusedError as error:
            if error.status != HTTPStatus.NOT_FOUND:  # else somebody was faster
                raise

    def _place(self, number: int) -> str:
        return f"pull request {number} of {self._repository_name}"

    def _check_answer(self, what: str, comment: IssueComment) -> None:
        """Refuse an answer that is neither an error nor a comment, as that of a repository that has moved."""
        if comment.body is None:
            hint = f"GITHUB_REPOSITORY is {self._repository_name}: has it been renamed?"
            raise PublishError(f"could not {what}: GitHub answered with something else", hint)

    def _persist(self, action: Callable[[], T]) -> T:
        """Do something that may be done twice; where it fails for the moment, wait and do it again."""
        for pause_s in PAUSES_S:
            try:
                return action()
            except _PassingError as error:
                pause_s = max(pause_s, error.pause_s)
                if pause_s > MAX_PAUSE_S:
                    raise
                self._sleep(pause_s)
        return action()

    def _ask(self, what: str, request: Callable[[], T], scope: str = "pull-requests") -> T:
        """Make a request through PyGithub, which needs `scope`: write, and translate all that it raises."""
        try:
            return request()
        except Exception as error:  # PyGithub checks with `assert`, and reads answers without checking
            raise self._translate(f"could not {what}", error, scope) from None

    def _translate(self, failed: str, error: Exception, scope: str) -> PublishError:
        if isinstance(error, GithubException) and not isinstance(error, IncompletableObject):
            return self._translate_answer(failed, error, scope)
        if isinstance(error, UNREACHABLE):
            hint = "look at GITHUB_API_URL, and whether this machine may reach it"
            return _PassingError(self._hide(f"{failed}: {self._api_url}: {find_reason(error)}"), hint)
        hint = f"look at GITHUB_API_URL: is {self._api_url} GitHub's REST API?"
        reason = f"no answer of GitHub's ({repr(error)[:MAX_REASON_CHARS]})"
        return PublishError(self._hide(f"{failed}: {reason}"), hint)

    def _translate_answer(self, failed: str, error: GithubException, scope: str) -> PublishError:
        message = self._hide(f"{failed}: GitHub answered {error.status}: {_read_reason(error)}")
        pause_s = _read_pause(error)
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _PassingError(message, "GitHub has trouble; run the job again later", pause_s)
        if pause_s:
            return _PassingError(message, f"GitHub limits how often it is asked; wait {pause_s:.0f} s", pause_s)
        hint = "unlock the conversation" if "locked" in message else HINTS.get(error.status, "").format(scope=scope)
        return _RefusedError(message, hint, error.status)

    def _hide(self, text: str) -> str:
        """Return a text as one line, without the token."""
        return " ".join(text.replace(self._token, "***").split())


@dataclass(frozen=True)
class _Comment:
    id: int
    body: str
    login: str
    is_from_bot: bool


class _RefusedError(PublishError):
    """GitHub says no."""

    def __init__(self, message: str, hint: str, status: int) -> None:
        super().__init__(message, hint)
        self.status = status


class _PassingError(PublishError):
    """A failure that may be over after a while."""

    def __init__(self, message: str, hint: str, pause_s: float = 0.0) -> None:
        super().__init__(message, hint)
        self.pause_s = pause_s


def _check(api_url: str, token: str, repository: str) -> None:
    """Refuse what no request can be made of. Raises PublishError."""
    if not re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w./-]*)?", api_url, re.ASCII):
        raise PublishError(f"GITHUB_API_URL is '{api_url}'", f"an address like {API_URL}")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII):
        raise PublishError(f"GITHUB_REPOSITORY is '{repository}'", "owner/name")
    if not re.fullmatch(r"[!-~]+", token):
        raise PublishError("GITHUB_TOKEN has characters that no token has", HINTS[401])


def _read_comment(comment: IssueComment) -> _Comment:
    user: Any = comment.user  # None where the account is gone
    if user is None:
        return _Comment(comment.id, comment.body or "", "ghost", False)
    return _Comment(comment.id, comment.body or "", user.login, user.type == "Bot")


def _read_pull(pull: PullRequest) -> OpenPullRequest:
    return OpenPullRequest(pull.number, pull.base.ref)


def _name_source(pull: PullRequest) -> str:
    """Return the repository that a pull request comes from, nothing where it is gone."""
    source: Any = pull.head.repo
    return source.full_name if source is not None else ""


def _normalise(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _read_reason(error: GithubException) -> str:
    """Return GitHub's own words."""
    data = error.data if isinstance(error.data, dict) else {}
    details = [item.get("message") or item.get("code") for item in data.get("errors") or [] if isinstance(item, dict)]
    words = [str(word) for word in (data.get("message"), *details) if word]
    return ": ".join(words)[:MAX_REASON_CHARS] or responses.get(error.status, "no reason given")


def _read_pause(error: GithubException) -> float:
    """Return how long GitHub wants us to wait, in seconds, 0 where it limits nothing."""
    headers = error.headers or {}
    message = str(error.data.get("message", "")) if isinstance(error.data, dict) else ""
    is_limit = error.status == HTTPStatus.TOO_MANY_REQUESTS or Requester.isRateLimitError(message)
    if not is_limit and "retry-after" not in headers:
        return 0.0
    if headers.get("retry-after", "").isdigit():
        return max(1.0, float(headers["retry-after"]))
    if headers.get("x-ratelimit-remaining") == "0" and headers.get("x-ratelimit-reset", "").isdigit():
        return max(1.0, float(headers["x-ratelimit-reset"]) - time.time() + 1)
    return RATE_LIMIT_PAUSE_S
