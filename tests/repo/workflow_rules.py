"""What keeps the workflows and actions safe, whoever edits them: each rule yields what breaks it, with its place."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from tests.repo.workflow_files import LEVELS, File, Place, Rule, list_jobs, list_workflows

EVENTS = {"push", "pull_request", "workflow_dispatch", "workflow_call"}
# The only jobs that may write, and what; whoever calls such a job grants it.
WRITES = {
    ("experiments.yml", "image"): "packages",
    ("image.yml", "build"): "packages",
    ("experiments.yml", "results"): "contents",
    ("experiments.yml", "report"): "pull-requests",
    ("report.yml", "comment"): "pull-requests",
    ("experiments.yml", "verdict"): "statuses",
}
HOSTED = re.compile(r"ubuntu-(latest|\d\d\.\d\d)")
# False where a fork asks for a pull; whatever it brings, jobs with one of these never see it.
GUARDS = (
    "github.event_name != 'pull_request'",
    "github.event_name != 'pull_request' || github.event.pull_request.head.repo.full_name == github.repository",
)
CHECKOUT_INPUTS = {"fetch-depth", "persist-credentials"}  # with `ref` or `repository` another's code could come


def find_loose_permissions(files: Sequence[File]) -> Iterator[str]:
    """Yield permissions that are given to all jobs, that nobody says why of, and writing where it is not settled."""
    for file in list_workflows(files):
        if file.document.get("permissions") != {}:
            yield f"{file.path}: permissions at the top are not {{}}"
        for name, job in file.jobs.items():
            granted = job.get("permissions")
            if not isinstance(granted, dict):
                yield f"{file.at('jobs', name)}: {name} does not say its permissions one by one"
                continue
            for scope, level in granted.items():
                place = ("jobs", name, "permissions", scope)
                if level not in LEVELS or (level == "write" and WRITES.get((file.name, name)) != scope):
                    yield f"{file.at(*place)}: {name} may not have {scope}: {level}"
                if not file.comment(*place):
                    yield f"{file.at(*place)}: nothing says why {name} has {scope}: {level}"


def find_unpinned(files: Sequence[File]) -> Iterator[str]:
    """Yield what is used without a full commit and its version, and what is not there."""
    paths = {file.path.removesuffix("/action.yml") for file in files}
    for file in files:
        for place, used in file.uses():
            if used.startswith("./"):
                if used.removeprefix("./") not in paths:
                    yield f"{file.at(*place)}: {used} is not there"
            elif not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", used):
                yield f"{file.at(*place)}: {used} is not pinned to a full commit"
            elif not re.fullmatch(r"v\d+\.\d+\.\d+", file.comment(*place)):
                yield f"{file.at(*place)}: no comment says which version {used} is"


def find_several_pins(files: Sequence[File]) -> Iterator[str]:
    """Yield actions that are used at more than one commit, or as more than one version."""
    pins: dict[str, set[str]] = {}
    for file in files:
        for place, used in file.uses():
            if not used.startswith("./"):
                name, _, ref = used.partition("@")
                pins.setdefault(name, set()).add(f"{ref} ({file.comment(*place)})")
    yield from (f"{name} is pinned to {', '.join(sorted(refs))}" for name, refs in pins.items() if len(refs) > 1)


def find_missing_timeouts(files: Sequence[File]) -> Iterator[str]:
    """Yield jobs that may run for ever."""
    for file, name, job in list_jobs(files):
        if "steps" in job and "timeout-minutes" not in job:
            yield f"{file.at('jobs', name)}: {name} has no timeout-minutes"


def find_missing_concurrency(files: Sequence[File]) -> Iterator[str]:
    """Yield what no group keeps from running twice.

    A workflow that an event starts has a group at its top; jobs that write, and those of called workflows, have their
    own: at the top of a called workflow it would count for the caller's other calls, too.
    """
    for file in list_workflows(files):
        if ("concurrency" in file.document) == file.is_called:
            yield f"{file.path}: {'a called workflow has' if file.is_called else 'has no'} concurrency at its top"
        for name, job in file.jobs.items():
            if "steps" in job and "concurrency" not in job and (file.is_called or _may_write(job)):
                yield f"{file.at('jobs', name)}: {name} has no concurrency"


def find_bad_groups(files: Sequence[File]) -> Iterator[str]:
    """Yield groups in which jobs wait for themselves, or in which one that waits is dropped though nobody says it may.

    Of those that wait in a group GitHub keeps the newest alone; one that holds the run or the commit has no others.
    """
    seen: set[str] = set()
    for file, place, found in _groups(files):
        if not isinstance(found, dict) or set(found) != {"group", "cancel-in-progress"}:
            yield f"{file.at(*place)}: wants group and cancel-in-progress"
            continue
        group = found["group"]
        if group in seen:
            yield f"{file.at(*place)}: {group} is another's group, too"
        seen.add(group)
        is_alone = "github.run_id" in group or "github.sha" in group
        if found["cancel-in-progress"] is not True and not is_alone and not file.comment(*place, "group"):
            yield f"{file.at(*place)}: nothing says why one that waits in {group} may be dropped"


def find_foreign_events(files: Sequence[File]) -> Iterator[str]:
    """Yield events in whose runs others' words or code meet our token, and all that nobody thought about."""
    for file in list_workflows(files):
        for event in file.events:
            if event not in EVENTS:
                yield f"{file.path}: starts on {event}"


def find_missing_guards(files: Sequence[File]) -> Iterator[str]:
    """Yield jobs with steps that may write, or run on a machine of ours, and do not keep forks out."""
    for file, name, job in list_jobs(files):
        is_ours = not HOSTED.fullmatch(str(job.get("runs-on", "")))
        if "steps" in job and (is_ours or _may_write(job)) and not _is_guarded(str(job.get("if", ""))):
            yield f"{file.at('jobs', name)}: {name} would run for a fork's pull request"


def find_expressions_in_scripts(files: Sequence[File]) -> Iterator[str]:
    """Yield scripts that GitHub writes values into: whoever chose the value would write the script."""
    for file in files:
        for place, step in file.steps():
            for key in ("run", "shell", "working-directory"):
                if "${{" in str(step.get(key, "")):
                    yield f"{file.at(*place, key)}: an expression stands in {key}; pass it through env"


def find_whole_contexts(files: Sequence[File]) -> Iterator[str]:
    """Yield contexts that are passed on as a whole: with secrets in them, or longer than a variable can be."""
    for file in files:
        for place, text in file.texts():
            for name in re.findall(r"\btoJSON\(\s*(\w+)\s*\)", text, re.IGNORECASE):
                yield f"{file.at(*place)}: all of {name} is passed on"


def find_wide_secrets(files: Sequence[File]) -> Iterator[str]:
    """Yield secrets outside of single steps and the `secrets` of calls, and those that are inherited in bulk."""
    for file in files:
        for place, text in file.texts():
            if place[-1] == "secrets" and text == "inherit":
                yield f"{file.at(*place)}: secrets are inherited"
            is_secret = "${{" in text and re.search(r"\bsecrets\b|github\.token", text)
            in_step = len(place) == 6 and place[2] == "steps" and place[4] in ("env", "with")
            in_call = len(place) == 4 and place[2] == "secrets"
            if is_secret and not in_step and not in_call:
                yield f"{file.at(*place)}: a secret is not for one step alone"


def find_bad_checkouts(files: Sequence[File]) -> Iterator[str]:
    """Yield checkouts that leave the token behind, or bring something else than the commit of the event."""
    for file in files:
        for place, step in file.steps():
            if step.get("uses", "").startswith("actions/checkout@"):
                inputs = step.get("with", {})
                if inputs.get("persist-credentials") is not False:
                    yield f"{file.at(*place)}: the token stays in the checkout"
                for name in sorted(set(inputs) - CHECKOUT_INPUTS):
                    yield f"{file.at(*place)}: checkout with {name}"


def find_sockets(files: Sequence[File]) -> Iterator[str]:
    """Yield what would hand the machine to a container."""
    for file in files:
        for number, line in enumerate(file.text.splitlines(), 1):
            if re.search(r"docker\.sock|--privileged|--pid[= ]host", line):
                yield f"{file.path}:{number}: a container gets the machine"


def find_silent_failures(files: Sequence[File]) -> Iterator[str]:
    """Yield failures that do not count, and nothing says why."""
    for file in files:
        parts = [(("jobs", name), job) for name, job in file.jobs.items()]
        for place, part in [*parts, *file.steps()]:
            if "continue-on-error" in part and not file.comment(*place, "continue-on-error"):
                yield f"{file.at(*place, 'continue-on-error')}: nothing says why it may fail"


SECURITY_RULES: tuple[Rule, ...] = (
    find_loose_permissions,
    find_unpinned,
    find_several_pins,
    find_missing_timeouts,
    find_missing_concurrency,
    find_bad_groups,
    find_foreign_events,
    find_missing_guards,
    find_expressions_in_scripts,
    find_whole_contexts,
    find_wide_secrets,
    find_bad_checkouts,
    find_sockets,
    find_silent_failures,
)


def _groups(files: Sequence[File]) -> Iterator[tuple[File, Place, Any]]:
    for file in list_workflows(files):
        parts: list[tuple[Place, dict[str, Any]]] = [(("jobs", name), job) for name, job in file.jobs.items()]
        for place, part in [((), file.document), *parts]:
            if "concurrency" in part:
                yield file, (*place, "concurrency"), part["concurrency"]


def _may_write(job: dict[str, Any]) -> bool:
    granted = job.get("permissions")
    return not isinstance(granted, dict) or "write" in granted.values()


def _is_guarded(condition: str) -> bool:
    """Say whether a condition is a guard, or holds only where one does."""
    text = re.sub(r"^\$\{\{(.*)\}\}$", r"\1", condition.strip()).strip()
    parts = _split(text, "&&")
    return text in GUARDS or (
        len(_split(text, "||")) == 1 and any(re.sub(r"^\((.*)\)$", r"\1", p) in GUARDS for p in parts)
    )


def _split(text: str, operator: str) -> list[str]:
    """Split an expression at an operator that stands in no parentheses."""
    parts, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and text.startswith(operator, index):
            parts.append(text[start:index].strip())
            start = index + len(operator)
    return [*parts, text[start:].strip()]
