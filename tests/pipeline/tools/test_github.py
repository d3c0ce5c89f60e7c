"""Comments of pull requests and statuses of commits, against a server that knows GitHub's own description."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.comments import build_body
from pipeline.errors import PublishError
from pipeline.events import OpenPullRequest
from pipeline.tools.github import GitHub
from pipeline.verdicts import Verdict
from tests.checkouts import make_checkout
from tests.standins.answers import show_pull_request
from tests.standins.contract import read_contract
from tests.standins.github import DESCRIPTION_PATH, NOT_ACCESSIBLE, GitHubStandIn

BODY = build_body("# Results\n\nbetter\n")
NEW_BODY = build_body("# Results\n\nworse\n")
HOSTILE_BRANCHES = [
    "main",
    "team/feature/x",
    "$(touch${IFS}pwned)",
    "`id`",
    "a b",
    "a#b",
    "a&state=closed",
    "a+b%20c%2Fd",
    "a:b",
    "a?per_page=1",
    "größe/模型-🙂",
    "<b>|x|</b>",
    "'\"",
    "-x",
]


@pytest.fixture
def server() -> Iterator[GitHubStandIn]:
    """GitHub, with a bot's token. Whatever broke GitHub's description fails the test."""
    with GitHubStandIn() as server:
        yield server
    assert server.violations == []


@pytest.fixture
def sleeps() -> list[float]:
    """The pauses that `github` made."""
    return []


@pytest.fixture
def github(server: GitHubStandIn, sleeps: list[float]) -> GitHub:
    """The client, which notes its pauses instead of making them."""
    return connect(server, sleeps)


def connect(server: GitHubStandIn, sleeps: list[float], token: str = "") -> GitHub:
    return GitHub(server.url, token or server.token, server.repository, sleep=sleeps.append)


def find(github: GitHub, branch: str) -> list[int]:
    """Return the numbers of the pull requests that are found."""
    return [pull.number for pull in github.find_pull_requests(branch)]


def refused(github: GitHub, number: int = 1) -> str:
    """Return the message and hint when a comment cannot be published."""
    with pytest.raises(PublishError) as caught:
        github.publish_comment(number, BODY)
    assert caught.value.exit_code == 8
    return caught.value.render()


def test_comment_is_created_then_updated_then_left_alone(server: GitHubStandIn, github: GitHub) -> None:
    number = server.add_pull_request("x")
    other = server.add_pull_request("y")
    assert github.publish_comment(number, BODY) == "created"
    assert github.publish_comment(number, NEW_BODY) == "updated"
    assert github.publish_comment(number, NEW_BODY) == "unchanged"
    assert server.bodies(number) == [NEW_BODY]
    assert server.bodies(other) == []


def test_no_request_is_made_but_what_is_needed(server: GitHubStandIn, github: GitHub) -> None:
    number = server.add_pull_request("x")
    github.publish_comment(number, BODY)
    github.publish_comment(number, NEW_BODY)
    github.publish_comment(number, NEW_BODY)
    (comment,) = server.comments
    read = f"GET /repos/{server.repository}/issues/{number}/comments?per_page=100"
    assert server.requests == [
        read,
        f"POST /repos/{server.repository}/issues/{number}/comments",
        read,
        f"PATCH /repos/{server.repository}/issues/comments/{comment.id}",
        read,
    ]


def test_comment_is_found_when_it_is_on_the_second_page(server: GitHubStandIn, github: GitHub) -> None:
    number = server.add_pull_request("x")
    others = [f"comment {count}" for count in range(150)]
    for text in others:
        server.add_comment(number, text)
    assert github.publish_comment(number, BODY) == "created"
    assert github.publish_comment(number, NEW_BODY) == "updated"
    assert server.bodies(number) == [*others, NEW_BODY]
    assert server.requests[-2].endswith("/comments?page=2&per_page=100")


def test_first_comment_stays_when_several_are_ours(server: GitHubStandIn, github: GitHub, sleeps: list[float]) -> None:
    number = server.add_pull_request("x")
    first = server.add_comment(number, BODY, server.login)
    server.add_comment(number, "nice!")
    server.add_comment(number, build_body("older"), server.login)
    server.add_comment(number, NEW_BODY, server.login)
    assert github.publish_comment(number, NEW_BODY) == "updated"
    assert [(comment.id, comment.body) for comment in server.comments if comment.body != "nice!"] == [(first, NEW_BODY)]
    assert server.bodies(number) == [NEW_BODY, "nice!"]
    assert sleeps == [1.0, 1.0]  # between changes, as GitHub asks


def test_others_are_deleted_when_the_first_comment_is_right(server: GitHubStandIn, github: GitHub) -> None:
    number = server.add_pull_request("x")
    server.add_comment(number, BODY, server.login)
    server.add_comment(number, BODY, server.login)
    assert github.publish_comment(number, BODY) == "updated"
    assert server.bodies(number) == [BODY]


@pytest.mark.parametrize(
    ("text", "login"),
    [
        (f"> {BODY}", "octocat"),
        (f"what is this?\n{BODY}", "octocat"),
        (BODY, "octocat"),
        (BODY, None),
        (f"> {BODY}", "another[bot]"),
    ],
)
def test_comment_of_another_stays_when_it_quotes_ours(
    server: GitHubStandIn, github: GitHub, text: str, login: str | None
) -> None:
    number = server.add_pull_request("x")
    server.add_comment(number, text, login)
    assert github.publish_comment(number, NEW_BODY) == "created"
    assert github.publish_comment(number, NEW_BODY) == "unchanged"
    assert server.bodies(number) == [text, NEW_BODY]


def test_only_comments_of_its_person_are_ours_when_the_token_is_a_persons(sleeps: list[float]) -> None:
    with GitHubStandIn(login="ada") as server:
        github = connect(server, sleeps)
        number = server.add_pull_request("x")
        server.add_comment(number, BODY, "octocat")
        assert github.publish_comment(number, BODY) == "created"
        assert github.publish_comment(number, NEW_BODY) == "updated"
        assert server.bodies(number) == [BODY, NEW_BODY]
        assert server.requests.count("GET /user") == 1
    assert server.violations == []


def test_comment_is_left_alone_when_only_line_ends_differ(server: GitHubStandIn, github: GitHub) -> None:
    number = server.add_pull_request("x")
    server.add_comment(number, BODY.rstrip().replace("\n", "\r\n"), server.login)
    assert github.publish_comment(number, BODY) == "unchanged"


def test_comment_is_carried_whole_when_its_text_is_hostile(server: GitHubStandIn, github: GitHub) -> None:
    number = server.add_pull_request("x")
    body = build_body("\"'\\ 🙂 ü \x00 \udce9 ${{ x }} %s {0} \r\n" * 100)
    assert github.publish_comment(number, body) == "created"
    assert server.bodies(number) == [body]
    assert github.publish_comment(number, body) == "unchanged"


@pytest.mark.parametrize("line", ["x" * 99, "🙂" * 99])
def test_comment_is_taken_when_the_report_is_huge(server: GitHubStandIn, github: GitHub, line: str) -> None:
    number = server.add_pull_request("x")
    assert github.publish_comment(number, build_body(f"{line}\n" * 5000)) == "created"


def test_comment_without_marker_is_refused(server: GitHubStandIn, github: GitHub) -> None:
    with pytest.raises(ValueError, match="never be found again"):
        github.publish_comment(1, "fine")
    assert server.requests == []


@pytest.mark.parametrize("branch", HOSTILE_BRANCHES)
def test_pull_requests_are_found_when_the_branch_has_any_name(
    server: GitHubStandIn, github: GitHub, branch: str
) -> None:
    decoy = server.add_pull_request("decoy")
    first = server.add_pull_request(branch)
    server.add_pull_request(f"{branch}x")
    server.add_pull_request(branch, state="closed")
    second = server.add_pull_request(branch)
    assert find(github, branch) == [second, first]
    assert decoy not in find(github, branch)


@pytest.mark.parametrize("base", HOSTILE_BRANCHES)
def test_pull_requests_have_their_own_bases_when_these_differ(server: GitHubStandIn, github: GitHub, base: str) -> None:
    first = server.add_pull_request("x", base)
    second = server.add_pull_request("x", "release")
    assert github.find_pull_requests("x") == [OpenPullRequest(second, "release"), OpenPullRequest(first, base)]
    assert len(server.requests) == 1


def test_only_pull_requests_from_here_are_found(server: GitHubStandIn, github: GitHub) -> None:
    server.add_pull_request("x", head_repository="mallory/force-build")
    server.add_pull_request("x", head_repository="octo-lab/fork-of-force-build")
    server.add_pull_request("x", head_repository=None)
    assert find(github, "x") == []
    mine = server.add_pull_request("x", head_repository=server.repository.title())
    assert find(github, "x") == [mine]


def test_only_pull_requests_from_here_are_found_when_github_shows_all(server: GitHubStandIn, github: GitHub) -> None:
    mine = server.add_pull_request("x")
    server.add_pull_request("y")
    server.add_pull_request("x", head_repository="octo-lab/fork-of-force-build")
    server.add_pull_request("x", head_repository=None)
    contract = read_contract(DESCRIPTION_PATH)
    shown = [show_pull_request(contract, server.repository, pull) for pull in server.pull_requests]
    server.fail(200, body=json.dumps(shown))
    assert find(github, "x") == [mine]


def test_pull_requests_are_found_when_there_are_several_pages(server: GitHubStandIn, github: GitHub) -> None:
    numbers = [server.add_pull_request("x") for _ in range(101)]
    assert find(github, "x") == numbers[::-1]


def test_comment_is_published_when_github_fails_twice_first(
    server: GitHubStandIn, github: GitHub, sleeps: list[float]
) -> None:
    number = server.add_pull_request("x")
    server.fail(502, body="<html>Unicorn!</html>", content_type="text/html", times=2)
    assert github.publish_comment(number, BODY) == "created"
    assert server.bodies(number) == [BODY]
    assert sleeps == [1.0, 2.0]


def test_pull_requests_are_found_when_github_fails_twice_first(server: GitHubStandIn, github: GitHub) -> None:
    number = server.add_pull_request("x")
    server.fail(503, "Service unavailable", times=2)
    assert find(github, "x") == [number]


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_comment_is_there_once_when_the_answer_was_lost(server: GitHubStandIn, github: GitHub, method: str) -> None:
    number = server.add_pull_request("x")
    for _ in range({"POST": 0, "PATCH": 1, "DELETE": 2}[method]):
        server.add_comment(number, BODY, server.login)
    server.fail(502, "Server Error", method=method, is_late=True)
    github.publish_comment(number, NEW_BODY)
    assert server.bodies(number) == [NEW_BODY]


def test_comment_is_published_when_somebody_else_deletes_the_double(server: GitHubStandIn, github: GitHub) -> None:
    number = server.add_pull_request("x")
    server.add_comment(number, BODY, server.login)
    server.add_comment(number, BODY, server.login)
    server.fail(404, "Not Found", method="DELETE", is_late=True)
    assert github.publish_comment(number, BODY) == "updated"
    assert server.bodies(number) == [BODY]


@pytest.mark.parametrize(
    ("status", "message", "headers", "pause_s"),
    [
        (403, "You have exceeded a secondary rate limit.", {"retry-after": "7"}, 7.0),
        (429, "Too many requests", {"retry-after": "0"}, 1.0),
        (403, "You have exceeded a secondary rate limit. Please wait.", {}, 60.0),
        (429, "", {}, 60.0),
        (503, "Service unavailable", {"retry-after": "9"}, 9.0),
    ],
)
def test_pause_is_what_github_asks_for_when_it_limits_requests(
    server: GitHubStandIn,
    github: GitHub,
    sleeps: list[float],
    status: int,
    message: str,
    headers: dict[str, str],
    pause_s: float,
) -> None:
    number = server.add_pull_request("x")
    server.fail(status, message, headers=headers, method="POST")
    assert github.publish_comment(number, BODY) == "created"
    assert sleeps == [pause_s]
    assert server.bodies(number) == [BODY]


def test_pause_lasts_until_the_limit_ends_when_github_names_the_time(
    server: GitHubStandIn, github: GitHub, sleeps: list[float]
) -> None:
    number = server.add_pull_request("x")
    headers = {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 30)}
    server.fail(403, "API rate limit exceeded for installation.", headers=headers)
    github.publish_comment(number, BODY)
    (pause_s,) = sleeps
    assert 2.0 < pause_s <= 31.0


def test_error_comes_at_once_when_the_limit_lasts_for_long(
    server: GitHubStandIn, github: GitHub, sleeps: list[float]
) -> None:
    server.add_pull_request("x")
    server.fail(403, "You have exceeded a secondary rate limit.", headers={"retry-after": "3600"})
    assert refused(github) == (
        "error: could not read the comments of pull request 1 of octo-lab/force-build: "
        "GitHub answered 403: You have exceeded a secondary rate limit.\n"
        "hint: GitHub limits how often it is asked; wait 3600 s"
    )
    assert sleeps == []


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (
            403,
            NOT_ACCESSIBLE,
            "GitHub answered 403: Resource not accessible by integration\n"
            "hint: give the job `permissions: pull-requests: write`; the token of a fork's pull request may only read",
        ),
        (
            403,
            "Unable to create comment because issue is locked.",
            "GitHub answered 403: Unable to create comment because issue is locked.\nhint: unlock the conversation",
        ),
        (
            401,
            "Bad credentials",
            "GitHub answered 401: Bad credentials\nhint: GITHUB_TOKEN is wrong or no longer valid",
        ),
        (
            404,
            "Not Found",
            "GitHub answered 404: Not Found\nhint: it is not there, or the token may not see it: "
            "the job needs `permissions: pull-requests: write`",
        ),
        (410, "Issues are disabled\nfor this repo", "GitHub answered 410: Issues are disabled for this repo"),
        (418, "", "GitHub answered 418: I'm a Teapot"),
        (499, "", "GitHub answered 499: no reason given"),
    ],
)
def test_error_says_what_was_asked_and_what_github_said_when_it_refuses(
    server: GitHubStandIn, github: GitHub, sleeps: list[float], status: int, message: str, expected: str
) -> None:
    server.add_pull_request("x")
    server.fail(status, message, method="POST")
    assert refused(github) == f"error: could not create a comment on pull request 1 of octo-lab/force-build: {expected}"
    assert sleeps == []


def test_error_names_the_step_when_each_of_them_is_refused(server: GitHubStandIn, github: GitHub) -> None:
    number = server.add_pull_request("x")
    first, second = (server.add_comment(number, BODY, server.login) for _ in range(2))
    server.fail(403, NOT_ACCESSIBLE, method="DELETE")
    assert f"could not delete comment {second} on pull request {number} of octo-lab/force-build: " in refused(github)
    server.comments[0].body = NEW_BODY
    server.fail(403, NOT_ACCESSIBLE, method="PATCH")
    assert f"could not update comment {first} on pull request {number} of octo-lab/force-build: " in refused(github)


def test_error_names_the_branch_when_pull_requests_cannot_be_listed(server: GitHubStandIn, github: GitHub) -> None:
    server.fail(403, NOT_ACCESSIBLE)
    with pytest.raises(PublishError) as caught:
        github.find_pull_requests("feature/x")
    assert caught.value.message == (
        "could not find the pull requests of branch 'feature/x' in octo-lab/force-build: "
        "GitHub answered 403: Resource not accessible by integration"
    )


def test_error_has_githubs_details_when_the_text_is_too_long(server: GitHubStandIn, github: GitHub) -> None:
    server.add_pull_request("x")
    with pytest.raises(PublishError) as caught:
        github.publish_comment(1, BODY + "x" * 65_536)
    assert caught.value.render() == (
        "error: could not create a comment on pull request 1 of octo-lab/force-build: "
        "GitHub answered 422: Validation Failed: Body is too long (maximum is 65536 characters)\n"
        "hint: GitHub does not take what was sent; the summary of the job has the report"
    )


def test_error_names_the_pull_request_when_there_is_none(server: GitHubStandIn, github: GitHub) -> None:
    assert "error: could not read the comments of pull request 77 of octo-lab/force-build: " in refused(github, 77)


def test_error_comes_after_five_attempts_when_github_keeps_failing(
    server: GitHubStandIn, github: GitHub, sleeps: list[float]
) -> None:
    server.add_pull_request("x")
    server.fail(502, "Server Error", times=9)
    assert refused(github) == (
        "error: could not read the comments of pull request 1 of octo-lab/force-build: "
        "GitHub answered 502: Server Error\nhint: GitHub has trouble; run the job again later"
    )
    assert len(server.requests) == 5
    assert sleeps == [1.0, 2.0, 4.0, 8.0]


def test_error_names_the_address_when_nobody_answers(sleeps: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    github = GitHub(url, "t0k3n", "octo-lab/force-build", sleep=sleeps.append)
    assert refused(github) == (
        f"error: could not read the comments of pull request 1 of octo-lab/force-build: {url}: Connection refused\n"
        "hint: look at GITHUB_API_URL, and whether this machine may reach it"
    )
    assert sleeps == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize("answer", ["<html>Log in</html>", "{", '{"message": "Welcome"}', '["x"]', "[]x", "[[]]"])
def test_error_asks_for_the_address_when_it_is_not_githubs(server: GitHubStandIn, github: GitHub, answer: str) -> None:
    server.fail(200, body=answer, is_foreign=True)
    text = refused(github)
    assert text.startswith(
        "error: could not read the comments of pull request 1 of octo-lab/force-build: no answer of GitHub's ("
    )
    assert text.endswith(f"hint: look at GITHUB_API_URL: is {server.url} GitHub's REST API?")
    assert text.count("\n") == 1


@pytest.mark.parametrize(("method", "what"), [("POST", "create a comment"), ("PATCH", "update comment 2")])
def test_error_asks_for_the_name_when_the_repository_has_moved(
    server: GitHubStandIn, github: GitHub, method: str, what: str
) -> None:
    number = server.add_pull_request("x")
    if method == "PATCH":
        server.add_comment(number, NEW_BODY, server.login)
    moved = {"location": f"{server.url}/repositories/1/issues/1/comments"}
    server.fail(307, "Moved Permanently", method=method, headers=moved)
    assert refused(github) == (
        f"error: could not {what} on pull request 1 of octo-lab/force-build: GitHub answered with something else\n"
        "hint: GITHUB_REPOSITORY is octo-lab/force-build: has it been renamed?"
    )


def test_token_is_hidden_when_an_answer_repeats_it(server: GitHubStandIn, github: GitHub) -> None:
    server.add_pull_request("x")
    server.fail(403, f"token {server.token} is not allowed\nhere")
    text = refused(github)
    assert server.token not in text
    assert "GitHub answered 403: token *** is not allowed here\n" in text


@pytest.mark.parametrize("token", ["t0k3", "t0k3n2", "ghp_" + "x" * 36])
def test_token_is_hidden_when_it_is_wrong(server: GitHubStandIn, sleeps: list[float], token: str) -> None:
    server.add_pull_request("x")
    text = refused(connect(server, sleeps, token))
    assert token not in text
    assert "GitHub answered 401: Bad credentials" in text


@pytest.mark.parametrize("token", ["ghp_a b", "ghp_\nx", "ghp_ü", "ghp_\x00"])
def test_token_is_hidden_when_no_request_can_carry_it(token: str) -> None:
    with pytest.raises(PublishError) as caught:
        GitHub("https://api.github.com", token, "octo-lab/force-build")
    assert caught.value.render() == (
        "error: GITHUB_TOKEN has characters that no token has\nhint: GITHUB_TOKEN is wrong or no longer valid"
    )


@pytest.mark.parametrize(
    "url", ["", "api.github.com", "ftp://x", "https://user:secret@x", "https://x?y", "https://x y"]
)
def test_error_names_the_variable_when_the_address_is_none(url: str) -> None:
    with pytest.raises(PublishError) as caught:
        GitHub(url, "t0k3n", "octo-lab/force-build")
    assert caught.value.render() == (f"error: GITHUB_API_URL is '{url}'\nhint: an address like https://api.github.com")


@pytest.mark.parametrize("name", ["", "force-build", "a/b/c", "a/..b?c", "ü/x", "a /b"])
def test_error_names_the_variable_when_the_repository_is_none(name: str) -> None:
    with pytest.raises(PublishError) as caught:
        GitHub("https://api.github.com", "t0k3n", name)
    assert caught.value.render() == f"error: GITHUB_REPOSITORY is '{name}'\nhint: owner/name"


def test_environment_says_where_and_as_whom(server: GitHubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", server.url)
    monkeypatch.setenv("GITHUB_TOKEN", f"{server.token}\n")
    monkeypatch.setenv("GITHUB_REPOSITORY", server.repository)
    number = server.add_pull_request("x")
    github = GitHub.from_environment()
    assert find(github, "x") == [number]
    assert github.publish_comment(number, BODY) == "created"


def test_error_names_the_variables_when_the_environment_lacks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    monkeypatch.setenv("GITHUB_REPOSITORY", "")
    with pytest.raises(PublishError) as caught:
        GitHub.from_environment()
    assert caught.value.render() == (
        "error: GITHUB_TOKEN and GITHUB_REPOSITORY not set in the environment\n"
        "hint: in a workflow: `env: GITHUB_TOKEN: ${{ github.token }}`; GITHUB_REPOSITORY is always there"
    )


# Commits and what is said of them


@pytest.fixture
def history(server: GitHubStandIn, tmp_path: Path) -> list[str]:
    """The commits of a branch `main`, the newest first, of which the last has a message of two lines."""
    checkout = make_checkout(tmp_path)
    commits = []
    for number in range(3):
        checkout.write("file", str(number))
        commits.insert(0, checkout.commit())
    server.git_dir = checkout.root
    return commits


def test_newest_status_is_found_when_one_name_has_several(
    server: GitHubStandIn, github: GitHub, history: list[str]
) -> None:
    for sha, context, state in (
        (history[1], "force/experiments", "failure"),
        (history[1], "other", "failure"),
        (history[0], "force/experiments", "error"),
        (history[1], "force/experiments", "success"),
    ):
        github.set_status(sha, context, Verdict(state, f"it is {state}", "https://github.com/o/r/actions/runs/1"))
    assert github.find_status(history[1], "force/experiments") == Verdict(
        "success", "it is success", "https://github.com/o/r/actions/runs/1"
    )
    assert github.find_status(history[2], "force/experiments") is None
    assert len(server.requests) == 6
    assert server.requests[-1].endswith(f"/commits/{history[2]}/status?per_page=100")


def test_status_is_cut_when_its_description_is_long(server: GitHubStandIn, github: GitHub, history: list[str]) -> None:
    github.set_status(history[0], "x", Verdict("failure", "ü" * 300, ""))
    assert [status.description for status in server.statuses] == ["ü" * 140]


def test_status_is_set_when_github_fails_twice_first(server: GitHubStandIn, github: GitHub, history: list[str]) -> None:
    server.fail(502, times=2)
    github.set_status(history[0], "x", Verdict("success", "fine", ""))
    assert server.said_of(history[0]) == {"x": "success"}


def test_error_names_the_permission_when_a_status_is_refused(
    server: GitHubStandIn, github: GitHub, history: list[str]
) -> None:
    server.fail(403, NOT_ACCESSIBLE)
    with pytest.raises(PublishError) as caught:
        github.set_status(history[0], "x", Verdict("success", "fine", ""))
    assert caught.value.message == (
        f"could not set the status of {history[0][:10]} in octo-lab/force-build: GitHub answered 403: {NOT_ACCESSIBLE}"
    )
    assert caught.value.hint.startswith("give the job `permissions: statuses: write`")


def test_error_has_githubs_words_when_a_commit_is_not_there(github: GitHub, history: list[str]) -> None:
    with pytest.raises(PublishError, match="GitHub answered 422: No commit found for SHA: " + "0" * 40):
        github.set_status("0" * 40, "x", Verdict("success", "fine", ""))
